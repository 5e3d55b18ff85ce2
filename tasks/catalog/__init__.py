"""The catalogue: SQL tables and views, and every query the flows make.

`engine` connects, `schema` creates and upgrades, `tables` names the columns, `views` is what users query;
`plan`, `commit`, `models` and `runs` hold the reads and writes of one subject each.
"""
