"""The rules of JSON payloads and results (I-JSON, RFC 7493), the same at every door."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from layeron_job_server.domain import json_rules

_DEPTH_MAX = 20
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
    if text.count(b"{") + text.count(b"[") <= _DEPTH_MAX and b"\\u" not in text and not _LONG_NUMBER.search(text):
        return None  # shallow, without escapes and long numbers: nothing left that could be wrong
    return json_rules.check(_with_exact_integers(text, value), depth_max=_DEPTH_MAX)


def _with_exact_integers(text: bytes, value: Any) -> Any:
    """The value with integers as integers: orjson reads those beyond 64 bits as floats."""
    try:
        return json.loads(text)
    except (RecursionError, ValueError):  # very deep, or a number of very many digits: the rules refuse either way
        return value
