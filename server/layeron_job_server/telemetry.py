"""Logs of the server's process."""

from __future__ import annotations

import logging
import sys


def set_up_logs(level: str) -> None:
    """Log to stderr from this level on."""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
