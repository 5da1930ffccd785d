"""Run, attempt and session ids: a TypeID (prefix, "_", 26 characters of Crockford's base 32) over a UUIDv7.

Newer ids sort after older ones, as text and as UUIDs.
"""

from __future__ import annotations

import os
import random
import time
from datetime import datetime
from uuid import UUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
# What is not of the alphabet becomes "!", which int() refuses.
_TO_BASE32_DIGITS = bytes(
    "0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(byte))].encode()[0] if chr(byte) in _ALPHABET else ord("!")
    for byte in range(256)
)
_SUFFIX_LENGTH = 26

# Ids need to differ, and are no secrets. A forked process must not go on with its parent's numbers.
_chance = random.Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chance.seed)


def new_uuid7(unix_ms: int | None = None) -> UUID:
    """A UUIDv7 (RFC 9562) of now, or of the given milliseconds since 1970.

    Its first 60 bits are the time, to a quarter of a microsecond, so that the ids a process makes are in order.
    """
    moment, rest = divmod(time.time_ns() if unix_ms is None else unix_ms * 1_000_000, 1_000_000)
    high = (moment << 16) | 0x7000 | (rest * 4096 // 1_000_000)
    return UUID(int=(high << 64) | (0b10 << 62) | _chance.getrandbits(62))


def unix_ms_of(uuid7: UUID) -> int:
    """The milliseconds since 1970 at which a UUIDv7 was made."""
    return uuid7.int >> 80


def lowest_uuid7_at(moment: datetime) -> UUID:
    """What no UUIDv7 of that moment or later is less than."""
    unix_ms = min(max(0, int(moment.timestamp() * 1000)), (1 << 48) - 1)
    return UUID(int=unix_ms << 80)


def encode(prefix: str, value: UUID) -> str:
    """The id of a UUID, such as "run_01jd…"."""
    number = value.int
    pairs = _PAIRS
    return (
        f"{prefix}_{pairs[number >> 120]}{pairs[number >> 110 & 1023]}{pairs[number >> 100 & 1023]}"
        f"{pairs[number >> 90 & 1023]}{pairs[number >> 80 & 1023]}{pairs[number >> 70 & 1023]}"
        f"{pairs[number >> 60 & 1023]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def decode(prefix: str, text: str) -> UUID:
    """The UUID of an id. Raises ValueError for another prefix, length, alphabet or range."""
    head, _, suffix = text.partition("_")
    if len(suffix) != _SUFFIX_LENGTH or head != prefix:
        raise ValueError(_form(prefix))
    try:
        return UUID(int=int(suffix.encode().translate(_TO_BASE32_DIGITS), 32))
    except ValueError:
        raise ValueError(_form(prefix)) from None


def _form(prefix: str) -> str:
    return f"must be '{prefix}_' and {_SUFFIX_LENGTH} characters of {_ALPHABET}, the first of them at most 7"


def new_run_id() -> str:
    """A fresh run id."""
    return encode("run", new_uuid7())


def attempt_id(run_id: str, number: int) -> str:
    """The id of a run's attempt: "att_", the run id's suffix, "_" and the number."""
    return f"att_{run_id[4:]}_{number}"
