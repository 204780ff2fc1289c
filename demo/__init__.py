"""A sync from beginning to end on one machine: connector, database, models, report.

`connector.py` runs the installed command and reads its messages, `load.py` fills the tables of a
DuckDB file, `transform.py` builds the models of analytics/, `compare.py` compares the tables with
the simulator's truth, and `report.py` draws the models.
"""
