"""What a case writes, made concrete, and whether an answer is what a case expects.

In texts, `${name}` is a variable: alone it is the value itself. A map whose one key begins with `$` is made or matched:

    made      {$repeat: [x, n]}      a text n times, or a list of x n times
              {$json: text}          what this JSON says, to the last digit
              {$now_ms: n}           the time in n ms, as RFC 3339
    matched   {$is: kind}            run_id, time or text (not an empty one)
              {$between: [a, b]}     a number from a to b
              {$has: text}           a text with this one in it
              {$includes: [x, y]}    a list with elements that match these, in any place
              {$length: n}           a text, list or map of this length
              {$only: {…}}           a map with these keys and no others
              {$one_of: [x, y]}      what matches one of these
              {$not: x}              what does not match this

A map is matched by the keys it names, a list by all its elements, anything else by being equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Variables = Mapping[str, Any]

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_KINDS: Final = {
    "run_id": re.compile("run_[0-7][0-9a-hjkmnp-tv-z]{25}"),
    "time": re.compile(r"\d{4}(-\d\d){2}T\d\d:\d\d:\d\d(\.\d+)?Z"),
    "text": re.compile("(?s:.+)"),
}


def made(written: Any, variables: Variables) -> Any:
    """What a case writes with its variables put in and its values made. KeyError for a variable that is not set."""
    match written:
        case {"$repeat": [what, int(count)]}:
            one = made(what, variables)
            return one * count if isinstance(one, str) else [one] * count
        case {"$json": str(text)}:
            return json.loads(made(text, variables))
        case {"$now_ms": offset}:
            return (datetime.now(UTC) + timedelta(milliseconds=offset)).isoformat()
        case dict():
            return {made(key, variables): made(value, variables) for key, value in written.items()}
        case list():
            return [made(one, variables) for one in written]
        case str():
            whole = _VARIABLE.fullmatch(written)
            return variables[whole[1]] if whole else _VARIABLE.sub(lambda found: str(variables[found[1]]), written)
    return written


def differences(expected: Any, seen: Any, at: str = "") -> Iterator[str]:
    """Where an answer is not what is expected, as "place: what"; `expected` has its values made."""
    match expected:
        case dict() if len(expected) == 1 and next(iter(expected)).startswith("$"):
            ((name, argument),) = expected.items()
            yield from _MATCHERS[name](argument, seen, at)
        case dict():
            if not isinstance(seen, dict):
                yield _unlike("a map", seen, at)
                return
            for key, value in expected.items():
                if key in seen:
                    yield from differences(value, seen[key], f"{at}.{key}".lstrip("."))
                else:
                    yield f"{at or 'the answer'}: has no {key!r}, only {sorted(seen)}"
        case list():
            if not isinstance(seen, list) or len(seen) != len(expected):
                yield _unlike(f"{len(expected)} elements", seen, at)
                return
            for place, (value, element) in enumerate(zip(expected, seen, strict=True)):
                yield from differences(value, element, f"{at}.{place}".lstrip("."))
        case _ if not _equal(expected, seen):
            yield _unlike(repr(expected), seen, at)


def found(path: str, answer: Any) -> Any:
    """What is at a path such as "attempts.0.ended_at". KeyError if nothing is."""
    value = answer
    for step in path.split("."):
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (LookupError, TypeError, ValueError):
            raise KeyError(f"no {path!r} in {_short(answer)}") from None
    return value


def milliseconds(earlier: str, later: str) -> float:
    """The time from one RFC 3339 time to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)) / timedelta(milliseconds=1)


def _is(kind: str, seen: Any, at: str) -> Iterator[str]:
    if not isinstance(seen, str) or not _KINDS[kind].fullmatch(seen):
        yield _unlike(f"a {kind}", seen, at)


def _between(limits: list[float], seen: Any, at: str) -> Iterator[str]:
    if not _is_number(seen) or not limits[0] <= seen <= limits[1]:
        yield _unlike(f"a number from {limits[0]:g} to {limits[1]:g}", seen, at)


def _has(text: str, seen: Any, at: str) -> Iterator[str]:
    if not isinstance(seen, str) or text not in seen:
        yield _unlike(f"a text with {text!r}", seen, at)


def _includes(wanted: list[Any], seen: Any, at: str) -> Iterator[str]:
    for one in wanted:
        if not isinstance(seen, list) or all(any(differences(one, element)) for element in seen):
            yield _unlike(f"a list with {_short(one)}", seen, at)


def _length(length: int, seen: Any, at: str) -> Iterator[str]:
    if not isinstance(seen, str | list | dict) or len(seen) != length:
        yield _unlike(f"the length {length}", seen, at)


def _only(wanted: dict[str, Any], seen: Any, at: str) -> Iterator[str]:
    yield from differences(wanted, seen, at)
    more = sorted(seen.keys() - wanted.keys()) if isinstance(seen, dict) else []
    if more:
        yield f"{at or 'the answer'}: has also {more}"


def _one_of(wanted: list[Any], seen: Any, at: str) -> Iterator[str]:
    if all(any(differences(one, seen)) for one in wanted):
        yield _unlike(f"one of {_short(wanted)}", seen, at)


def _not(unwanted: Any, seen: Any, at: str) -> Iterator[str]:
    if not any(differences(unwanted, seen)):
        yield _unlike(f"anything but {_short(unwanted)}", seen, at)


_MATCHERS: Final[Mapping[str, Callable[[Any, Any, str], Iterator[str]]]] = {
    "$is": _is,
    "$between": _between,
    "$has": _has,
    "$includes": _includes,
    "$length": _length,
    "$only": _only,
    "$one_of": _one_of,
    "$not": _not,
}


def _equal(expected: Any, seen: Any) -> bool:
    """Numbers are equal as JSON has them: 1 and 1.0 are, 1 and true are not."""
    if _is_number(expected) and _is_number(seen):
        return bool(expected == seen)
    return type(expected) is type(seen) and expected == seen


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unlike(expected: str, seen: Any, at: str) -> str:
    return f"{at or 'the answer'}: {_short(seen)} is not {expected}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
