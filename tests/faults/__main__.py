"""Breaks the whole system in every way a seed thinks of, and checks that nothing was lost. See docs/reliability.md.

    python -m faults --seed 7 --minutes 2
    python -m faults --seed 1-20 --minutes 2     several seeds, and their totals

Ends with 1 if any promise was broken; the histories and logs of that seed then stay in the folder that is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import report, trial

_CLONE_NEWNS = 0x20000
_QUICK_MINUTES = 0.5


def main() -> int:
    """Run the seeds of the command line; the exit code."""
    arguments = _arguments()
    minutes = _QUICK_MINUTES if arguments.quick else arguments.minutes
    _own_mounts()
    trials = []
    for seed in _seeds(arguments.seed):
        kept = (arguments.keep or Path("build/faults")) / f"seed-{seed}"
        done = asyncio.run(trial.run(seed, minutes, kept))
        trials.append(done)
        if done.is_clean and not arguments.keep:
            shutil.rmtree(kept)
        print(f"seed {seed}: {'clean' if done.is_clean else 'BROKEN'}; again: {report.again(done)}", flush=True)
        if not done.is_clean:
            print(report.findings(done, kept), flush=True)
    print(report.table(trials))
    return 0 if all(one.is_clean for one in trials) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", default="1", help="a number, several (1,5,9) or a range (1-20)")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long each seed works and is broken")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the histories of clean seeds too, here")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_MINUTES * 60:g} seconds, to see that it works")
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds.extend(range(int(first), int(last or first) + 1))
    return seeds


def _own_mounts() -> None:
    """Nobody else sees what is mounted from here on, and it is gone with this process, however that ends."""
    if sys.platform == "linux" and os.geteuid() == 0 and ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
