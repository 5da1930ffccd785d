"""Requests are the same when their JSON means the same, however it is written (RFC 8785)."""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layeron_job_server.domain.retry import Custom, Exponential, RetryPolicy, to_json
from layeron_job_server.operations.fingerprint import fingerprint

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


def _written(value: Any, chance: Random) -> str:
    """The value as JSON text in some of the many ways there are."""
    space = chance.choice(["", "", " ", "\n\t"])
    if isinstance(value, dict):
        members = list(value.items())
        chance.shuffle(members)
        return f"{{{space}{f'{space},'.join(f'{_text(k, chance)}:{space}{_written(v, chance)}' for k, v in members)}}}"
    if isinstance(value, list):
        return f"[{f',{space}'.join(_written(member, chance) for member in value)}{space}]"
    if isinstance(value, str):
        return _text(value, chance)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return _number(value, chance)


def _text(value: str, chance: Random) -> str:
    way = chance.randrange(3)
    if way == 2:
        units = value.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'
    return json.dumps(value, ensure_ascii=bool(way))


def _number(value: float, chance: Random) -> str:
    ways = [repr(value), f"{value:.17e}", f"{value:.17E}"]
    if float(value).is_integer() and abs(value) < 2**53:
        ways += [str(int(value)), f"{int(value)}.0", f"{int(value)}e0", f"{int(value) * 10}e-1"]
    return chance.choice(ways)


def _meaning(value: Any) -> Any:
    """Something that is equal exactly when two JSON values mean the same: true is not 1, but 1.0 is."""
    if isinstance(value, dict):
        return "object", frozenset((key, _meaning(member)) for key, member in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_meaning, value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number", float(value) + 0.0
    return type(value).__name__, value


@given(_VALUES, st.randoms(use_true_random=False))
@example({"é": 1, "￿": 2, "\U0001f600": 3}, Random(1))
@example([1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1], Random(2))
@example('\x7f\x1f\b\f\n\r\t"\\/<>&\u2028', Random(3))
def test_the_way_a_payload_is_written_makes_no_other_request(value: Any, chance: Random) -> None:
    written = _written(value, chance).encode()
    assert _meaning(orjson.loads(written)) == _meaning(value), "the test itself writes wrongly"
    assert fingerprint("work", written) == fingerprint("work", json.dumps(value).encode())


@given(_VALUES, _VALUES)
@example(1, True)
@example("1", 1)
@example(None, "null")
@example([], {})
@example({"a": 1, "b": 2}, {"a": 2, "b": 1})
@example([1, 2], [2, 1])
@example("e\u0301", "é")
def test_another_meaning_makes_another_request(one: Any, other: Any) -> None:
    same = fingerprint("work", orjson.dumps(one)) == fingerprint("work", orjson.dumps(other))
    assert same is (_meaning(one) == _meaning(other))


@pytest.mark.parametrize("zero", [b"0", b"-0", b"0.0", b"-0.0", b"0e5", b"-0E-1"])
def test_there_is_one_zero(zero: bytes) -> None:
    assert fingerprint("work", b"[%s]" % zero) == fingerprint("work", b"[0]")


def test_everything_that_changes_what_a_run_does_makes_another_request() -> None:
    retry = to_json(RetryPolicy())
    variants = [
        fingerprint("work", b"1"),
        fingerprint("other", b"1"),
        fingerprint("work", b"2"),
        fingerprint("work", b"1", retry=retry),
        fingerprint("work", b"1", retry=to_json(RetryPolicy(4))),
        fingerprint("work", b"1", retry=to_json(RetryPolicy(backoff=Exponential(multiplier=2.5)))),
        fingerprint("work", b"1", retry=to_json(RetryPolicy(backoff=Custom(())))),
        fingerprint("work", b"1", timeout_ms=1),
        fingerprint("work", b"1", timeout_ms=2),
        fingerprint("work", b"1", replays=UUID(int=1)),
        fingerprint("work", b"1", replays=UUID(int=2)),
    ]
    assert len(set(variants)) == len(variants)


def test_what_belongs_to_the_request_never_passes_for_a_payload() -> None:
    """Neither part may run over into the other."""
    assert fingerprint("work", b'{"task":"work"}') != fingerprint("work", b'{"task":"work","timeout_ms":1}')
    assert fingerprint("a", b'"b"') != fingerprint("ab", b'""')


def test_a_fingerprint_is_a_version_and_sha_256_and_never_changes() -> None:
    """Keys that are kept forever are compared with it years later."""
    of = fingerprint("work", b'{"b":[1.50,"\\u00e9"],"a":null}', retry=to_json(RetryPolicy()), timeout_ms=300_000)
    canonical = (
        '{"retry":{"exponential":[5000,300000,2],"jitter":0.1,"max_attempts":3,"max_elapsed":null,"non_retryable":[]},'
        '"task":"work","timeout_ms":300000}\n{"a":null,"b":[1.5,"é"]}'
    )
    assert of == b"\x01" + hashlib.sha256(canonical.encode()).digest()
    assert fingerprint("work", b"null") == b"\x01" + hashlib.sha256(b'{"task":"work"}\nnull').digest()
