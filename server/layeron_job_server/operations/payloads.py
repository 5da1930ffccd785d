"""The rules of JSON payloads and results (I-JSON, RFC 7493), the same at every door."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from layeron_job_server.domain import json_rules

_DEPTH_MAX = 20
_SHOWN_MAX = 60
# A number literal that may be out of range: 16 digits or more, or an exponent.
_LONG_NUMBER = re.compile(rb"\d{16}|\d[eE]")


def problem(text: bytes, *, bytes_max: int) -> str | None:
    """What is wrong with this JSON text, to follow the field's name; None if nothing is."""
    if len(text) > bytes_max:
        return f"is {len(text)} bytes; the limit is {bytes_max}"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"is not UTF-8 JSON: {error}"
    # Shallow, without escapes and long numbers, and with no name that was lost in reading: nothing can be wrong.
    if (
        text.count(b"{") + text.count(b"[") <= _DEPTH_MAX
        and b"\\u" not in text
        and not _LONG_NUMBER.search(text)
        and (text.count(b":") <= 1 or orjson.dumps(value) == text)
    ):
        return None
    try:
        # Again, with integers as integers (orjson reads those beyond 64 bits as floats) and with every name.
        value = json.loads(text, object_pairs_hook=_object)
    except _RepeatedName as error:
        return f"has an object with the name {error} twice"
    except (RecursionError, ValueError):  # very deep, or a number of very many digits: the rules refuse either way
        pass
    return json_rules.check(value, depth_max=_DEPTH_MAX)


class _RepeatedName(Exception):
    """An object has two members of one name."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(members)
    if len(read) < len(members):
        for name, _ in members:
            if name not in read:
                raise _RepeatedName(json.dumps(name[:_SHOWN_MAX]))
            del read[name]
    return read
