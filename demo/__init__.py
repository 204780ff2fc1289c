"""A sync from beginning to end on one machine: connector, database, first questions by SQL.

connector.py runs the installed command and reads its messages, load.py fills the tables of a
DuckDB file, compare.py sets them against what the simulator holds, show.py prints.
"""
