"""Errors that every part of the connector may raise."""

import errno
import os
import traceback

from airbyte_cdk import AirbyteTracedException, FailureType


def config_error(message: str) -> AirbyteTracedException:
    """Return an error that the user resolves by changing the configuration or the input files.

    :param message: what is wrong and what to do, without any value of the configuration
    """
    return AirbyteTracedException(message, message, FailureType.config_error)


def as_traced(where: str, error: BaseException) -> AirbyteTracedException:
    """Return an error that is described already, or one about the machine or a bug.

    Without any value of a row. A bug shows where it happened.
    """
    if isinstance(error, AirbyteTracedException):
        return error
    if condition := _condition(error):
        message = (
            f"The machine or container of the connector reports: {condition}. Correct this, and "
            "run the connector again; it will read only what is missing."
        )
        return AirbyteTracedException(message, message, FailureType.transient_error)
    name, frames = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
    message = (
        f"An unexpected error occurred in {where}: {name}. This is a bug in the connector. The "
        "next sync will read only what is missing."
    )
    return AirbyteTracedException(f"{name} at\n{frames}", message, FailureType.system_error)


def _condition(error: BaseException) -> str | None:
    """Return what an error says about the machine; None for a bug."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM)
    # Python has no class for this.
    return str(error) if str(error) == "can't start new thread" else None
