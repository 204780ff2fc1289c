"""Errors that every part of the connector may raise."""

from __future__ import annotations

import traceback

from airbyte_cdk import AirbyteTracedException, FailureType


def config_error(message: str) -> AirbyteTracedException:
    """Return an error that the user resolves by changing the configuration or the input files.

    :param message: what is wrong and what to do, without any value of the configuration
    """
    return AirbyteTracedException(
        message=message, internal_message=message, failure_type=FailureType.config_error
    )


def as_traced(where: str, error: BaseException) -> AirbyteTracedException:
    """Return an error that is described already; a bug as one that shows where it happened.

    Without any value of a row.
    """
    if isinstance(error, AirbyteTracedException):
        return error
    frames = "".join(traceback.format_tb(error.__traceback__))
    return AirbyteTracedException(
        message=f"An unexpected error occurred in {where}: {type(error).__name__}. This is a bug "
        "in the connector. The next sync reads only what is missing.",
        internal_message=f"{type(error).__name__} at\n{frames}",
        failure_type=FailureType.system_error,
    )
