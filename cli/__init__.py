"""The command line `fashion-clip`, one file a group of commands; nothing imports it.

Heavy packages are imported inside the commands that need them: `--help` answers at once.
"""
