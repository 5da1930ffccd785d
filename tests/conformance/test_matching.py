"""What cases write is made and matched as `matching` says, and what does not match is told with its place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from conformance.matching import differences, found, made, milliseconds


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        ({"a": 1}, {"a": 1.0, "b": 2}),
        ([1, {"a": None}], [1, {"a": None, "b": 1}]),
        ({"$is": "run_id"}, "run_01m89k75rdf8frmywaajrrm8gj"),
        ({"$is": "time"}, "2026-11-25T14:54:37.837888Z"),
        ({"$is": "text"}, "two\nlines"),
        ({"$between": [1, 2]}, 2),
        ({"$has": "b"}, "abc"),
        ({"$includes": [{"a": 2}]}, [{"a": 1}, {"a": 2}]),
        ({"$length": 2}, {"a": 1, "b": 2}),
        ({"$only": {"a": {"$is": "text"}}}, {"a": "x"}),
        ({"$one_of": [1, {"$has": "x"}]}, "xy"),
        ({"$not": {"a": 1}}, {"a": 2}),
    ],
)
def test_what_is_as_expected_has_no_differences(expected: Any, seen: Any) -> None:
    assert list(differences(expected, seen)) == []


@pytest.mark.parametrize(
    ("expected", "seen", "place"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a.1"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": 1}, {"b": 1}, "the answer"),
        ({"a": None}, {}, "the answer"),
        ({"a": None}, {"a": ""}, "a"),
        ({"a": 1}, {"a": True}, "a"),
        ({"a": "1"}, {"a": 1}, "a"),
        ({"a": {}}, {"a": []}, "a"),
        ({"$is": "run_id"}, "run_1", "the answer"),
        ({"$is": "time"}, "2026-11-25 14:54:37", "the answer"),
        ({"$is": "text"}, "", "the answer"),
        ({"a": {"$between": [1, 2]}}, {"a": 2.1}, "a"),
        ({"$between": [0, 1]}, True, "the answer"),
        ({"$has": "x"}, "abc", "the answer"),
        ({"$includes": [1, 3]}, [1, 2], "the answer"),
        ({"$length": 2}, "abc", "the answer"),
        ({"$only": {"a": 1}}, {"a": 1, "b": 1}, "the answer"),
        ({"$one_of": [1, 2]}, 3, "the answer"),
        ({"a": {"$not": 1}}, {"a": 1}, "a"),
    ],
)
def test_a_difference_is_told_with_its_place(expected: Any, seen: Any, place: str) -> None:
    (difference,) = differences(expected, seen)
    assert difference.startswith(f"{place}: ")


def test_variables_and_values_are_put_in_anywhere() -> None:
    written = {"${a}": [{"$repeat": ["${b}", 3]}, {"$repeat": [{"n": 1}, 2]}, "x${b}y", "${n}"]}
    assert made(written, {"a": "key", "b": "é", "n": 7}) == {"key": ["ééé", [{"n": 1}, {"n": 1}], "xéy", 7]}
    assert made({"$json": "[9007199254740993, 1.0]"}, {}) == [9007199254740993, 1.0]
    with pytest.raises(KeyError):
        made("${nothing}", {})


def test_a_time_is_made_from_now() -> None:
    before = datetime.now(UTC).isoformat()
    assert milliseconds(before, made({"$now_ms": 5000}, {})) == pytest.approx(5000, abs=4000)


def test_a_path_leads_through_maps_and_lists() -> None:
    assert found("a.1.b", {"a": [0, {"b": 2}]}) == 2
    for wrong in ("a.2", "a.b", "c", "a.1.b.c"):
        with pytest.raises(KeyError):
            found(wrong, {"a": [0, {"b": 2}]})
