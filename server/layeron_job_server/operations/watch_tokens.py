"""Where a watch goes on: tokens that are good for one namespace and run, or one namespace and filter, and no other.

A token is a digest of what is watched, then for a run the seq that was seen last, for a filter its age and place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import time
from typing import Any, Final, TypeAlias
from uuid import UUID

from layeron_job_server.domain.errors import FieldViolation, InvalidRequest, WatchTokenExpired
from layeron_job_server.store.queries import RunFilter

# Where a watch stands in the order of all changes: transaction, run, seq of the last one that was seen. (Not of the
# last transaction there was: after a crash PostgreSQL may use its number again.)
Place: TypeAlias = tuple[int, UUID, int]

_VALID_SECONDS: Final = 24 * 3600
_CLOCKS_DIFFER_SECONDS: Final = 300  # at most, between two servers
_NOT_OF_RUN: Final = "is not of a watch of this run"
_NOT_OF_FILTER: Final = "is not of a watch of this filter"
_DIGEST_BYTES: Final = 8
_OF_RUN: Final = struct.Struct(">i")  # seq
_OF_FILTER: Final = struct.Struct(">qq16si")  # made at, transaction, run, seq


def of_run(namespace: str, run_id: UUID, seq: int) -> str:
    """The token of a run's watch that has seen this seq; -1 for none."""
    return _write((namespace, run_id), _OF_RUN.pack(seq))


def seq_of(token: str, namespace: str, run_id: UUID) -> int:
    """The last seq that was seen. Raises InvalidRequest."""
    (seq,) = _read(token, (namespace, run_id), _OF_RUN, _NOT_OF_RUN)
    if seq < -1:
        raise _invalid(_NOT_OF_RUN)
    return int(seq)


def of_filter(namespace: str, wanted: RunFilter, place: Place) -> str:
    """The token of a filter's watch that stands here now."""
    xid, run_id, seq = place
    return _write((namespace, wanted), _OF_FILTER.pack(int(time.time()), xid, run_id.bytes, seq))


def place_of(token: str, namespace: str, wanted: RunFilter, *, now: Place) -> Place:
    """Where the watch stood. Raises InvalidRequest, also for a place after `now`, and WatchTokenExpired."""
    made_at, xid, run_id, seq = _read(token, (namespace, wanted), _OF_FILTER, _NOT_OF_FILTER)
    if xid < 0 or seq < 0:
        raise _invalid(_NOT_OF_FILTER)
    age = time.time() - made_at
    if age > _VALID_SECONDS:
        raise WatchTokenExpired
    if age < -_CLOCKS_DIFFER_SECONDS or xid > now[0]:
        raise from_the_future()
    return xid, UUID(bytes=run_id), seq


def from_the_future() -> InvalidRequest:
    """The error for a token of what has not happened yet."""
    return _invalid("lies in the future of this database: watch without it")


def _write(watched: object, rest: bytes) -> str:
    return base64.urlsafe_b64encode(_digest(watched) + rest).decode()


def _read(token: str, watched: object, form: struct.Struct, problem: str) -> tuple[Any, ...]:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(problem) from None
    if len(raw) != _DIGEST_BYTES + form.size or raw[:_DIGEST_BYTES] != _digest(watched):
        raise _invalid(problem)
    return form.unpack_from(raw, _DIGEST_BYTES)


def _digest(watched: object) -> bytes:
    return hashlib.sha256(repr(watched).encode()).digest()[:_DIGEST_BYTES]


def _invalid(problem: str) -> InvalidRequest:
    return InvalidRequest([FieldViolation("resume_token", problem)])
