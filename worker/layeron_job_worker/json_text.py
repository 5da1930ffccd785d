"""The JSON that a worker sends, by the contract's rules.

Integers within ±(2^53-1), finite numbers, no U+0000, a depth of at most 20.
"""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from typing import Any, Final

import orjson

_DEPTH_MAX: Final = 20


def encode(value: Any) -> bytes:
    """A value as JSON. Raises TypeError for what JSON, or its rules in the contract, cannot carry."""
    encoded = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    # orjson writes a number that is not finite as null. Only where one of these is seen is there anything to look for.
    if b"null" in encoded or b"\\u0000" in encoded or encoded.count(b"[") + encoded.count(b"{") > _DEPTH_MAX:
        problem = _problem(value)
        if problem is not None:
            raise TypeError(problem)
    return encoded


def _problem(value: Any) -> str | None:
    """What breaks a rule in a value that is known to be JSON. A scalar has depth 0, `[]` has depth 1."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, float) and not math.isfinite(part):
            return "a number is not finite"
        if isinstance(part, str) and "\0" in part:
            return "a text has U+0000"
        members = _members(part)
        if members is None:
            continue
        if depth == _DEPTH_MAX:
            return f"it is nested deeper than {_DEPTH_MAX}"
        waiting.extend((member, depth + 1) for member in members)
    return None


def _members(part: Any) -> list[Any] | None:
    """What is in it, keys too; None for a scalar."""
    if isinstance(part, dict):
        return [*part, *part.values()]
    if isinstance(part, list | tuple):
        return list(part)
    if is_dataclass(part) and not isinstance(part, type):
        return [getattr(part, name) for name in part.__dataclass_fields__]
    return None
