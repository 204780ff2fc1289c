"""Run the connector and read what it writes: for tests, the demo and benchmarks.

setups.py      the account, clocks, tables, configuration and catalog that most runs share
messages.py    the messages of a run, and comparisons of records
process.py     the connector as a process; launch.py starts it with other settings than its own
inprocess.py   a source in this process, against a simulator or a service without a socket
connection.py  syncs in a row, whose records are committed as Airbyte's destinations do
"""
