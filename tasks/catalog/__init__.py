"""The catalogue: SQL tables and views, and every query the flows make.

`engine` connects, `schema` creates and upgrades, `tables` names the columns, `views` is what users query;
`plan` (what is to do), `ledger` (who does it), `commit` (what came of it), `quarantine`, `models` and `runs`
hold the reads and writes of one subject each; `outcome`, `inserts`, `vectors` and `heartbeat` serve them.
"""
