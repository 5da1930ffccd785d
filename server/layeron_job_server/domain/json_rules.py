"""The rules of JSON values (I-JSON, RFC 7493), on parsed values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

INTEGER_MAX: Final = 2**53 - 1


def check(value: object, *, depth_max: int = 20) -> str | None:
    """The first thing that is wrong, with its JSON pointer, to follow the field's name; None if nothing is.

    A scalar has depth 0, `[]` has depth 1. Walks without recursion, so that no depth can overflow the stack.
    """
    waiting: list[tuple[str, object, int]] = [("", value, 0)]
    while waiting:
        path, item, depth = waiting.pop()
        wrong = _scalar_problem(item)
        if wrong is not None:
            return f"has {wrong} at '{path or '/'}'"
        if isinstance(item, dict | list):
            if depth == depth_max:
                return f"is nested deeper than {depth_max} at '{path or '/'}'"
            for key, child in _children(item):
                if isinstance(key, str) and (wrong := _text_problem(key)):
                    return f"has a key with {wrong} at '{path or '/'}'"
                waiting.append((f"{path}/{key}", child, depth + 1))
    return None


def _children(item: dict[str, object] | list[object]) -> Iterator[tuple[object, object]]:
    yield from item.items() if isinstance(item, dict) else enumerate(item)


def _scalar_problem(item: object) -> str | None:
    match item:
        case bool() | None:
            return None
        case str():
            return _text_problem(item)
        case int() if abs(item) > INTEGER_MAX:
            return "an integer beyond ±(2^53-1); send it as a string"
        case float() if not math.isfinite(item):
            return "a number that is not finite"
    return None


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "U+0000"
    return "a lone surrogate" if any("\ud800" <= character <= "\udfff" for character in text) else None
