"""The rules of JSON values (I-JSON, RFC 7493), on parsed values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

INTEGER_MAX: Final = 2**53 - 1

_SHOWN_MAX: Final = 200
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")


def check(value: object, *, depth_max: int = 20) -> str | None:
    """The first thing that is wrong, with its JSON pointer (RFC 6901), to follow the field's name; None if nothing is.

    A scalar has depth 0, `[]` has depth 1. Nothing that a value holds can exhaust stack or memory: there is no
    recursion, and a pointer is put together, at most 200 characters long, only once something is wrong.
    """
    wrong = _problem(value, 0, depth_max)
    path: list[object] = []  # the keys that lead to the members being walked
    walked = [_members_of(value)]
    while wrong is None and walked:
        for key, member in walked[-1]:
            wrong = _key_problem(key) or _problem(member, len(walked), depth_max)
            if wrong is not None or isinstance(member, (dict, list)):
                path.append(key)
                walked.append(_members_of(member))
                break
        else:
            walked.pop()
            del path[-1:]
    return None if wrong is None else f"{wrong}{_shown(path)}"


def _members_of(value: object) -> Iterator[tuple[object, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())


def _problem(value: object, depth: int, depth_max: int) -> str | None:
    if isinstance(value, str):
        return f"has {_name_of(found[0])}" if (found := _FORBIDDEN.search(value)) else None
    if isinstance(value, int):
        return None if -INTEGER_MAX <= value <= INTEGER_MAX else "has an integer beyond ±(2^53-1) (send it as a string)"
    if isinstance(value, float):
        return None if math.isfinite(value) else "has a number that is not finite"
    if isinstance(value, (dict, list)) and depth >= depth_max:
        return f"is nested deeper than {depth_max}"
    return None


def _key_problem(key: object) -> str | None:
    found = _FORBIDDEN.search(key) if isinstance(key, str) else None
    return f"has a key with {_name_of(found[0])}" if found else None


def _name_of(forbidden: str) -> str:
    return "U+0000" if forbidden == "\0" else "a lone surrogate"


def _shown(path: list[object]) -> str:
    """` at '/a/0'`, in characters that every encoding can carry; nothing for the value itself."""
    pointer = "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)
    if len(pointer) > _SHOWN_MAX:
        pointer = f"{pointer[:_SHOWN_MAX]}…"
    shown = _FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", pointer)
    return f" at '{shown}'" if path else ""
