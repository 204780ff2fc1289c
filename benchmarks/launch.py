"""Runs a command from a small process, and writes what it cost: `launch.py <file> <command>`.

Linux counts the memory of the process that starts another one towards the peak of the other. That
of the benchmark, which has the simulator and the connector imported, would hide most of the peaks.
"""

from __future__ import annotations

import os
import sys
import time

if __name__ == "__main__":
    path, *command = sys.argv[1:]
    began = time.monotonic()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.monotonic() - began
    cpu = usage.ru_utime + usage.ru_stime
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{wall} {cpu} {usage.ru_maxrss / 1024}")
    sys.exit(os.waitstatus_to_exitcode(status) != 0)
