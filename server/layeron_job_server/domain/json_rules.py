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
    path: list[object] = []  # the key of each member that is being looked at, outermost first
    open_members = [_members_of(value)]
    wrong = _problem(value, depth=0, depth_max=depth_max)
    while open_members and wrong is None:
        for key, member in open_members[-1]:
            path.append(key)
            wrong = _key_problem(key) or _problem(member, depth=len(open_members), depth_max=depth_max)
            if wrong is not None:
                break
            if isinstance(member, dict | list):
                open_members.append(_members_of(member))
                break
            path.pop()
        else:
            open_members.pop()
            del path[-1:]
    return None if wrong is None else f"{wrong}{_shown(path)}"


def _members_of(value: object) -> Iterator[tuple[object, object]]:
    match value:
        case dict():
            return iter(value.items())
        case list():
            return iter(enumerate(value))
    return iter(())


def _problem(value: object, *, depth: int, depth_max: int) -> str | None:
    match value:
        case str():
            forbidden = _forbidden_in(value)
            return forbidden and f"has {forbidden}"
        case int() if not -INTEGER_MAX <= value <= INTEGER_MAX:
            return "has an integer beyond ±(2^53-1), to be sent as a string,"
        case float() if not math.isfinite(value):
            return "has a number that is not finite"
        case dict() | list() if depth == depth_max:
            return f"is nested deeper than {depth_max}"
    return None


def _key_problem(key: object) -> str | None:
    forbidden = _forbidden_in(key) if isinstance(key, str) else None
    return forbidden and f"has a key with {forbidden}"


def _forbidden_in(text: str) -> str | None:
    found = _FORBIDDEN.search(text)
    if found is None:
        return None
    return "U+0000" if found[0] == "\0" else "a lone surrogate"


def _shown(path: list[object]) -> str:
    """` at '/a/0'`, in characters that every encoding can carry; nothing for the value itself."""
    pointer = "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)
    if len(pointer) > _SHOWN_MAX:
        pointer = f"{pointer[:_SHOWN_MAX]}…"
    shown = _FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", pointer)
    return f" at '{shown}'" if path else ""
