"""The input files: configuration, catalog and state."""

import json
from pathlib import Path
from typing import Any

from airbyte_cdk import models

from source_listrak.config import NOT_AN_OBJECT
from source_listrak.errors import config_error
from source_listrak.tables import TABLES

_USE_JQ = "The documentation has commands that make this file of the connector's output."


def read_json(path: str | Path, what: str) -> Any:
    """Return the content of an input file, in UTF-8, UTF-16 or UTF-32, with or without its mark.

    :param what: what errors call the file, such as "configuration"
    :raises AirbyteTracedException: a configuration error: no such file, or no JSON
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise config_error(f"Cannot read the {what} file {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        is_output = getattr(error, "msg", "") == "Extra data"
        hint = f" It contains several values. {_USE_JQ}" if is_output else ""
        raise config_error(f"The {what} file is not valid JSON.{hint}") from None


def read_config(config_path: str | Path) -> dict[str, Any]:
    """Return the content of a configuration file, not yet validated.

    :raises AirbyteTracedException: a configuration error: no such file, no JSON, no JSON object
    """
    values = read_json(config_path, "configuration")
    if not isinstance(values, dict):
        raise config_error(NOT_AN_OBJECT)
    return values


def read_catalog(catalog_path: str | Path) -> models.ConfiguredAirbyteCatalog:
    """Return the configured catalog in a file.

    :raises AirbyteTracedException: a configuration error: the file does not contain one
    """
    content = read_json(catalog_path, "catalog")
    try:
        return models.ConfiguredAirbyteCatalogSerializer.load(content)
    except ValueError as error:
        problem = f"does not contain a configured catalog: {' '.join(str(error).split())[:300]}"
        if isinstance(content, dict) and "catalog" in content:
            problem = f"contains the output of discover, not streams to read. {_USE_JQ}"
    raise config_error(f"The catalog file {problem}")


def read_state(state_path: str | Path) -> list[models.AirbyteStateMessage]:
    """Return the states in a file; none for an empty path or an empty file.

    :raises AirbyteTracedException: a configuration error: the file contains something else
    """
    content = read_json(state_path, "state") if state_path else None
    try:
        return [models.AirbyteStateMessageSerializer.load(state) for state in content or []]
    except (TypeError, ValueError):
        raise config_error("The state file does not contain a list of Airbyte states.") from None


def selected_tables(catalog: models.ConfiguredAirbyteCatalog) -> dict[str, bool]:
    """Return the tables of a catalog by name, and whether each is read incrementally.

    :raises AirbyteTracedException: the catalog contains a table twice, or an unknown one
    """
    names = [item.stream.name for item in catalog.streams]
    wrong = sorted({name for name in names if name not in TABLES or names.count(name) > 1})
    if wrong:
        problem = f"The catalog contains streams that are unknown or repeated: {', '.join(wrong)}"
        raise config_error(f"{problem}. Refresh the connection's schema.")
    modes = {item.stream.name: item.sync_mode for item in catalog.streams}
    return {name: modes[name] == models.SyncMode.incremental for name in TABLES if name in modes}


def states_by_stream(messages: list[models.AirbyteStateMessage]) -> dict[str, dict[str, Any]]:
    """Return the states by stream, regardless of namespace."""
    return {
        state.stream_descriptor.name: vars(state.stream_state)
        for message in messages
        for state in (message.global_.stream_states if message.global_ else [message.stream])
        if state is not None and state.stream_state is not None
    }
