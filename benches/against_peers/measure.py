"""Runs a program to its end: its seconds, its peak memory, what it printed.

Linux counts to a process the peak of the process that started it, so this
program must itself stay small: it imports nothing beyond the standard library.
"""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One process that succeeded."""

    printed: str
    seconds: float
    memory: int


class Failure(Exception):
    """A process that did not, in a few words."""


def reason(status: int, errors: Path) -> str:
    """The signal that ended it, or the last line that it wrote."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"ended by signal {-code}" + (" (out of memory or of time)" if code == -9 else "")
    lines = [line.strip() for line in errors.read_text(errors="replace").splitlines()]
    written = [line for line in lines if ("rror" in line or "xception" in line)] or lines
    return written[-1][:200] if written else f"exit code {code}"


def run(command: list, log: Path, limit: float, environment: dict | None = None) -> Run:
    """Runs a command; stderr goes to the log, and past the limit it is killed."""
    start = time.perf_counter()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    watch = threading.Timer(limit, process.kill)
    watch.start()
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    watch.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if status != 0:
        raise Failure(reason(status, log))
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(printed, seconds, usage.ru_maxrss * unit)
