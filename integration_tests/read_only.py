"""Runs a module as `python -m` does, where nothing can be written to any file system.

    python -m integration_tests.read_only MODULE ARGUMENT ...

Python reports each access to files before it happens; those that would write are refused as a
read-only file system refuses them.
"""

from __future__ import annotations

import errno
import os
import runpy
import sys
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkdtemp", "tempfile.mkstemp"}


def refuse(event: str, args: tuple[Any, ...]) -> None:
    """Refuse to write, except to devices."""
    opens = event == "open" and isinstance(args[0], (str, bytes)) and args[2] & WRITING
    if event in CHANGES or (opens and not os.fsdecode(args[0]).startswith("/dev/")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.addaudithook(refuse)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
