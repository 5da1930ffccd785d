"""The worker's health as the age of a file, and the program that judges it.

    LAYERON_JOB_WORKER_HEALTH_FILE=/tmp/worker.health     tells the worker to keep it
    python -m layeron_job_worker.health /tmp/worker.health --max-age 30

The file's time of change is when the worker last did both: it heard from its server, and it got an answer to a pull
from NATS, or had no free slot to pull for. It needs no port, and a worker that hangs or is stopped lets it grow old.
The program ends with 0 while the file is young enough and with 1 if it is too old or not there.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

VARIABLE: Final = "LAYERON_JOB_WORKER_HEALTH_FILE"
_EVERY_SECONDS: Final = 1.0
_MAX_AGE_SECONDS: Final = 30.0

logger = logging.getLogger("layeron_job_worker")


async def keep_file(path: Path, well_at: Callable[[], float]) -> None:
    """Give the file the time when the worker was last well (monotonic; 0: never), every second, for good."""
    told, failed = 0.0, False
    while True:
        at = well_at()
        if at > told:
            told = at
            try:
                _touch(path, time.time() - (time.monotonic() - at))
                failed = False
            except OSError as error:
                if not failed:  # said once, not every second
                    logger.warning("the health file cannot be written: %s", error)
                failed = True
        await asyncio.sleep(_EVERY_SECONDS)


def _touch(path: Path, at: float) -> None:
    path.touch()
    os.utime(path, (at, at))


def age_of(path: Path) -> float | None:
    """For how many seconds the worker of this file has not been well; None if there is no file."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if the worker is well."""
    parser = argparse.ArgumentParser(prog="python -m layeron_job_worker.health", description="Is the worker well?")
    parser.add_argument("file", type=Path)
    parser.add_argument("--max-age", type=float, default=_MAX_AGE_SECONDS, metavar="SECONDS", help="default: 30")
    asked = parser.parse_args(arguments)
    age = age_of(asked.file)
    if age is None:
        print(f"{asked.file} is not there: the worker was never well", file=sys.stderr)  # noqa: T201 (a program's answer)
        return 1
    if age > asked.max_age:
        print(f"the worker was last well {age:.0f} s ago", file=sys.stderr)  # noqa: T201 (as above)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
