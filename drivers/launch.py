"""Starts the connector as the command `source-listrak` does, but with the settings of its caller.

    python -m drivers.launch '{"now": "2024-01-01T00:00:00+00:00"}' read --config ...

The first argument is a JSON object; each of its fields may be left out.

* `now`: the present instant
* `state_interval`: seconds between two states
* `retries`: fields of `RetryPolicy`, for `read` and, with a deadline, for `check`
* `limits`: fields of `Limits`
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any

from source_listrak import Settings
from source_listrak.run import run
from source_listrak.soap.client import RetryPolicy
from source_listrak.soap.wire import Limits

CHECK_SECONDS = 2.0
"""How long `check` retries where `retries` are given."""


def settings_from(values: dict[str, Any]) -> Settings:
    """Return the settings that a JSON object describes."""
    settings = Settings()
    if "now" in values:
        now = datetime.fromisoformat(values["now"])
        settings = replace(settings, now=lambda: now)
    if "state_interval" in values:
        settings = replace(settings, state_interval=values["state_interval"])
    if "retries" in values:
        policy = RetryPolicy(**values["retries"])
        settings = replace(
            settings, read_policy=policy, check_policy=replace(policy, deadline=CHECK_SECONDS)
        )
    if "limits" in values:
        settings = replace(settings, limits=Limits(**values["limits"]))
    return settings


if __name__ == "__main__":
    run(sys.argv[2:], settings_from(json.loads(sys.argv[1])))
