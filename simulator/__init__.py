"""A Listrak SOAP service to run the connector against: for demos, tests and benchmarks.

account.py    what exists, as pure functions; begins with a worked example
series.py     things in order of time, and the search for those in a range of dates
counts.py     counters, computed the fast way
tables.py     the tables: operation, columns in their order, values. Add a table here
truth.py      every record, and every counter, worked out the slow way
service.py    SOAP: request in, page of rows out
faults.py     wrong answers of every kind
movement.py   the clock, and what happens while a client reads
endpoint.py   service, faults and movement together: ``answer(operation, body)``
server.py     the same over HTTP: ``Simulator``; process.py, in a process of its own
"""

from simulator.account import Account, AccountConfig
from simulator.config import Move, SimulatorConfig
from simulator.endpoint import Endpoint, RequestRecord
from simulator.faults import FAULTS, FaultSpec
from simulator.process import SimulatorProcess
from simulator.server import Simulator
from simulator.tables import TABLES
from simulator.truth import Truth, row_counts

__all__ = [
    "FAULTS",
    "TABLES",
    "Account",
    "AccountConfig",
    "Endpoint",
    "FaultSpec",
    "Move",
    "RequestRecord",
    "Simulator",
    "SimulatorConfig",
    "SimulatorProcess",
    "Truth",
    "row_counts",
]
