"""How far a batch is: told to a function, or drawn as a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO, TypeAlias

Progress: TypeAlias = Callable[[int, int | None], object]
"""Called with how many are done, and of how many if that is known."""

_WIDTH: Final = 24
_REDRAW_SECONDS: Final = 0.1


@contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """What to tell of progress. True is a bar on stderr, if that is a terminal."""
    if progress is True:
        if not sys.stderr.isatty():
            yield None
            return
        bar = ProgressBar(sys.stderr)
        try:
            yield bar
        finally:
            bar.close()
    else:
        yield progress or None


class ProgressBar:
    """One line that is written over and over, at most ten times a second."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._began = self._drawn = clock()
        self._line = ""

    def __call__(self, done: int, total: int | None) -> None:
        now = self._clock()
        rate = done / max(now - self._began, 1e-9)
        if total:
            filled = min(_WIDTH, _WIDTH * done // total)
            self._line = f"[{'=' * filled:{_WIDTH}}] {done:,} of {total:,} runs, {rate:,.0f}/s"
        else:
            self._line = f"{done:,} runs, {rate:,.0f}/s"
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._draw()

    def close(self) -> None:
        """Draw how far it came, and leave the line."""
        if self._line:
            self._draw()
            self._stream.write("\n")

    def _draw(self) -> None:
        self._stream.write(f"\r{self._line}\x1b[K")  # and clear what an older, longer line left
        self._stream.flush()
