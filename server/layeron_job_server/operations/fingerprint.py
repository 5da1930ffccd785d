"""What makes two requests the same: SHA-256 over canonical JSON (RFC 8785) of all that changes what a run does.

Times, labels, names and trace context do not count.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from uuid import UUID

import orjson
import rfc8785

_VERSION = b"\x01"
# A number with an exponent, or a whole one with a fraction: RFC 8785 writes 1e+21 and 1, orjson 1e21 and 1.0.
_WRITTEN_DIFFERENTLY = re.compile(rb"\d[eE]|\d\.0(?!\d)")


def fingerprint(
    task: str, payload: bytes, *, retry: Any = None, timeout_ms: int | None = None, replays: UUID | None = None
) -> bytes:
    """A version byte and 32 bytes. `payload` is checked JSON text; the others only if the caller set them."""
    rest: dict[str, Any] = {"task": task}
    if retry is not None:
        rest["retry"] = retry
    if timeout_ms is not None:
        rest["timeout_ms"] = timeout_ms
    if replays is not None:
        rest["replays"] = str(replays)
    digest = hashlib.sha256(_canonical(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)))
    digest.update(b"\n")
    digest.update(_canonical(payload))
    return _VERSION + digest.digest()


def _canonical(text: bytes) -> bytes:
    value = orjson.loads(text)
    if text.isascii() and b"\\u" not in text:
        # orjson sorts keys by their UTF-8 and RFC 8785 by their UTF-16: for ASCII that is the same. Both write the
        # shortest digits that mean the number.
        written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        if not _WRITTEN_DIFFERENTLY.search(written):
            return written
    return rfc8785.dumps(value)
