"""A worker as the main program of its process: its signals, its garbage collector, and an end that comes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from layeron_job_worker.executor import Attempt

logger = logging.getLogger("layeron_job_worker")

# EX_TEMPFAIL: handlers were left running in threads when the process ended. Their attempts were reported.
HANDLERS_LEFT_EXIT: Final = 75
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals(told: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call `told` on the running event loop instead of ending the process."""
    loop = asyncio.get_running_loop()
    for name in _SIGNALS:
        loop.add_signal_handler(name, told)
    try:
        yield
    finally:
        for name in _SIGNALS:
            loop.remove_signal_handler(name)


def settle_memory() -> None:
    """Spare the garbage collector what is there now, modules and handlers: it will not become garbage."""
    gc.collect()
    gc.freeze()


def leave_threads(left: Sequence[Attempt]) -> None:
    """End the process with HANDLERS_LEFT_EXIT if handlers are left in threads: Python would wait for them for ever."""
    if not left:
        return
    for attempt in left:
        context = attempt.context
        logger.error("attempt %d of %s (%s) did not stop", context.attempt, context.run_id, context.task)
    logger.error("handlers left in threads: %d; the process ends with code %d", len(left), HANDLERS_LEFT_EXIT)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(HANDLERS_LEFT_EXIT)
