"""The rules of JSON: what every client in every language can read back exactly."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layeron_job_server.domain.json_rules import INTEGER_MAX, check

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


@given(values)
def test_what_breaks_no_rule_passes(value: object) -> None:
    assert check(value, depth_max=50) is None


@given(values, st.sampled_from([2**53, math.nan, "\0", "\ud800"]))
def test_what_breaks_a_rule_is_found_wherever_it_is(value: object, bad: object) -> None:
    assert check([value, {"a": [value, {"b": bad}], "c": value}], depth_max=50).endswith(" at '/1/a/1/b'")  # type: ignore[union-attr] # never None


@pytest.mark.parametrize("number", [INTEGER_MAX, -INTEGER_MAX, 0, True, 1e308, 5e-324, -0.0, 2.0**53])
def test_numbers_that_every_reader_gets_exactly_pass(number: float) -> None:
    assert check(number) is None
    assert check([number]) is None


@pytest.mark.parametrize("number", [INTEGER_MAX + 1, -INTEGER_MAX - 1, 10**5000], ids=["above", "below", "far"])
def test_an_integer_beyond_two_to_the_53_is_refused(number: int) -> None:
    assert check(number) == "has an integer beyond ±(2^53-1) (send it as a string)"
    assert check({"n": number}) == "has an integer beyond ±(2^53-1) (send it as a string) at '/n'"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    assert check([0, number]) == "has a number that is not finite at '/1'"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("a\0", "U+0000"), ("\ud800", "a lone surrogate"), ("x\udfffx", "a lone surrogate")],
)
def test_text_that_cannot_be_stored_or_sent_is_refused_in_strings_and_keys(text: str, wrong: str) -> None:
    assert check(text) == f"has {wrong}"
    assert check([text]) == f"has {wrong} at '/0'"
    found = check({text: 1})
    assert found is not None
    assert found.startswith(f"has a key with {wrong} at '/")
    assert found.isprintable()
    found.encode()


def test_text_beyond_the_basic_plane_passes() -> None:
    assert check({"\U0001f600": "\ud7ff\ue000\U0010ffff"}) is None


@pytest.mark.parametrize("depth", [0, 1, 19, 20])
def test_twenty_levels_pass(depth: int) -> None:
    assert check(nested(depth)) is None


def test_the_twenty_first_level_is_refused() -> None:
    assert check(nested(21)) == "is nested deeper than 20 at '" + "/k/0" * 10 + "'"
    assert check([], depth_max=1) is None
    assert check([], depth_max=0) == "is nested deeper than 0"
    assert check([[]], depth_max=1) == "is nested deeper than 1 at '/0'"


def test_no_depth_exhausts_the_stack() -> None:
    assert check(nested(100_000)) is not None
    assert check(nested(100_000), depth_max=200_000) is None


def test_the_first_of_several_is_named() -> None:
    assert check({"a": [1, 2**60], "b": 2**60, "c": "\0"}) == check({"a": [1, 2**60]})


def test_the_pointer_is_a_json_pointer() -> None:
    assert check({"a/b": {"~": [math.inf]}}) == "has a number that is not finite at '/a~1b/~0/0'"
    assert check({"": math.inf}) == "has a number that is not finite at '/'"


def test_a_long_key_costs_neither_memory_nor_a_long_answer() -> None:
    value = json.loads('{"' + "k" * 100_000 + '": [' + "0," * 50_000 + "1e999]}")
    tracemalloc.start()
    found = check(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert len(found) < 300
    assert peak < 1_000_000
