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
_FRACTION_OR_EXPONENT = re.compile(rb"\d[.eE]")


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
    # orjson sorts keys by their UTF-8 and RFC 8785 by their UTF-16, and they may write fractions differently;
    # for ASCII text with whole numbers both write the same.
    if text.isascii() and b"\\u" not in text and not _FRACTION_OR_EXPONENT.search(text):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return rfc8785.dumps(value)
