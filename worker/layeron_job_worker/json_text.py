"""The JSON that a worker sends: UTF-8, integers within ±(2^53-1), finite numbers."""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """A value as JSON. Raises TypeError for what JSON, or its rules in the contract, cannot carry."""
    encoded = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    # orjson writes a number that is not finite as null, so only where there is a null is there anything to look for.
    if b"null" in encoded and _has_infinity(value):
        raise TypeError("a number is not finite")
    return encoded


def _has_infinity(value: Any) -> bool:
    """Whether there is a NaN or an infinity in a value that is known to be JSON."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float):
            if not math.isfinite(part):
                return True
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
        elif is_dataclass(part) and not isinstance(part, type):
            waiting.extend(getattr(part, name) for name in part.__dataclass_fields__)
    return False
