"""The promises under faults: one seed of the program, short enough for every change. `make faults` runs more."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_nothing_is_lost_doubled_or_stuck_while_everything_is_broken(tmp_path: Path) -> None:
    """Promises 1 to 8, for 45 seconds of work and faults."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "faults", "--seed", "1", "--minutes", "0.75", "--keep", str(tmp_path)),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        cwd=TESTS.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    assert "seed 1: clean" in told.decode()
