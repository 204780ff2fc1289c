"""A Listrak SOAP service to run the connector against: for demos, tests and benchmarks."""

from integration_tests.simulator.account import Account, AccountConfig
from integration_tests.simulator.config import SimulatorConfig
from integration_tests.simulator.faults import FAULTS, FaultSpec
from integration_tests.simulator.process import SimulatorProcess
from integration_tests.simulator.server import RequestRecord, Simulator
from integration_tests.simulator.truth import TABLES, Truth, row_counts

__all__ = [
    "FAULTS",
    "TABLES",
    "Account",
    "AccountConfig",
    "FaultSpec",
    "RequestRecord",
    "Simulator",
    "SimulatorConfig",
    "SimulatorProcess",
    "Truth",
    "row_counts",
]
