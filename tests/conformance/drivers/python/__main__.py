"""Does what cases say, through the Python client (`call`) or worker (`work`). See tests/conformance/README.md.

PYTHONPATH=tests python -m conformance.drivers.python call
"""

from __future__ import annotations

import asyncio
import logging
import sys

from .calling import call
from .working import work

_DOING = {"call": call, "work": work}

if len(sys.argv) != 2 or sys.argv[1] not in _DOING:
    sys.exit("usage: driver call|work")
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
asyncio.run(_DOING[sys.argv[1]]())
