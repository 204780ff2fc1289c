"""Writes docs/errors.md from the table of faults: `python -m unit_tests.soap.docs_table`."""

from __future__ import annotations

from pathlib import Path

from source_listrak.soap.faults import FAULTS, Action, Fault
from source_listrak.soap.pace import FAILURES_THAT_MEAN_AN_OUTAGE
from source_listrak.soap.transport import CHECK_POLICY, READ_POLICY

TABLE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"

_DONE = {
    Action.STOP: "Stops the whole sync at once and never asks again.",
    Action.SKIP: "Skips this message alone, names it in a warning, remembers it in the state; the "
    "sync succeeds, and the next one asks it again from the start date.",
    Action.RETRY: "Tries again; then this slice fails, the stream reads on and ends incomplete.",
    Action.REFUSE: "Does not try again: this slice fails, the stream reads on and ends incomplete.",
}
_PARTICULAR = {
    "unavailable": " All requests pause, and half as many are in flight.",
    "rate_limited": " All requests pause, and half as many are in flight.",
    "outage": "Tries no other slice.",
    "interrupted": "Sends no more requests, writes the last state, ends within 5 seconds.",
}


def _row(fault: Fault) -> str:
    done = _PARTICULAR.get(fault.name, "")
    if not done or done.startswith(" "):
        done = _DONE[fault.action] + done
    cells = (fault.when, done, fault.message, f"`{fault.failure_type.value}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table() -> str:
    """Return the page."""
    rows = "\n".join(map(_row, FAULTS))
    return f"""# Errors

Every answer of Listrak other than rows is decided once, by the text of its body before its HTTP
status. What the person reads is followed by the request that failed (operation, message or list,
page), never by a row, an e-mail address or the password.

A request is tried again with growing, jittered waits, or after the time that a `Retry-After`
header names: at least {READ_POLICY.attempts} attempts over at least {READ_POLICY.seconds:g} seconds
before it is given up. A check gives up after {CHECK_POLICY.deadline:g} seconds.
{FAILURES_THAT_MEAN_AN_OUTAGE} requests in a row that failed for good, with no success between, are
an outage: the rest of the sync is not tried.

A stream with a failed slice ends incomplete with one error, the process with a code other than 0,
and the state does not count the slice: the next sync reads only what is missing.

| What comes | What the connector does | What the person reads | Type |
| --- | --- | --- | --- |
{rows}

A wrong configuration is a `config_error` that names the field, before any request.

This page is generated: `python -m unit_tests.soap.docs_table`.
"""


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
