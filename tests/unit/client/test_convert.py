"""The border to the contract: nothing that the contract has is lost, and what cannot be sent is named."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2, task_pb2
from layeron_job import Attempt, Client, Item, Retry, Run, Task, TaskDefinition, Transition, convert
from layeron_job.runs import RunFilter

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def stamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def names(message: type[Message], *, but: set[str] | None = None) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields} - (but or set())


@pytest.mark.parametrize(
    ("message", "model", "renamed"),
    [
        (run_pb2.Run, Run, {"payload_json", "result_json"}),
        (run_pb2.Transition, Transition, set()),
        (task_pb2.Task, Task, set()),
        (task_pb2.TaskDefinition, TaskDefinition, set()),
        (pb.EnqueueRequest, Item, {"namespace", "payload_json", "json_form"}),
    ],
)
def test_every_field_of_the_contract_has_one_here(message: type[Message], model: type[Any], renamed: set[str]) -> None:
    assert {field.name for field in fields(model)} == names(message, but=renamed)


def test_every_field_of_an_attempt_and_of_a_filter_has_one_here() -> None:
    attempt = {field.name for field in fields(Attempt)}
    assert attempt == names(run_pb2.Attempt, but={"progress_json"}) | {"progress"}
    assert set(RunFilter.__annotations__) == names(pb.RunFilter, but={"statuses"}) | {"status"}
    assert set(inspect.signature(convert.run_filter).parameters) == set(RunFilter.__annotations__)


def test_enqueue_takes_what_an_item_has_with_the_same_defaults() -> None:
    parameters = inspect.signature(Client.enqueue).parameters
    assert [name for name in parameters if name != "self"] == [field.name for field in fields(Item)]
    defaults = {name: parameter.default for name, parameter in parameters.items() if name not in ("self", "task")}
    assert defaults == {field.name: field.default for field in fields(Item) if field.name != "task"}


def test_an_item_is_sent_with_everything_it_says() -> None:
    item = Item(
        "send",
        {"to": "ü"},
        delay=1.5,
        run_at=NOON,
        start_by=NOON.astimezone(timezone(timedelta(hours=2))),
        idempotency_key="key",
        idempotency_window="while_active",
        idempotency_ttl=timedelta(hours=1),
        retry=Retry(attempts=7),
        timeout=0.25,
        labels={"a": "b"},
        priority="low",
        name="Ada",
        payload_encoding="sealed",
        trace_context={"traceparent": "00-1-2-3"},
    )
    assert json_format.MessageToDict(convert.enqueue_request(item, "run_1"), preserving_proto_field_name=True) == {
        "task": "send",
        "payload_json": "eyJ0byI6IsO8In0=",
        "run_id": "run_1",
        "delay": "1.500s",
        "run_at": "2030-01-01T12:00:00Z",
        "start_by": "2030-01-01T12:00:00Z",
        "idempotency_key": "key",
        "idempotency_window": "IDEMPOTENCY_WINDOW_WHILE_ACTIVE",
        "idempotency_ttl": "3600s",
        "retry": json_format.MessageToDict(Retry(attempts=7).to_proto(), preserving_proto_field_name=True),
        "timeout": "0.250s",
        "labels": {"a": "b"},
        "priority": "PRIORITY_LOW",
        "name": "Ada",
        "payload_encoding": "sealed",
        "trace_context": {"traceparent": "00-1-2-3"},
    }


def test_an_item_of_only_a_task_sends_nothing_else() -> None:
    plain = pb.EnqueueRequest(task="send", run_id="run_1")
    assert convert.enqueue_request(Item("send"), "run_1") == convert.plain_request("send", None, "run_1") == plain


def test_a_payload_is_compact_utf8_json() -> None:
    assert convert.json_bytes({"ü": [1, 2.5, True, None, "😀"]}) == '{"ü":[1,2.5,true,null,"😀"]}'.encode()
    falsy: Any
    for falsy in (0, "", [], {}, False):
        assert json.loads(convert.plain_request("send", falsy, "").payload_json) == falsy


def circle() -> list[Any]:
    one: list[Any] = []
    one.append(one)
    return one


def deep() -> list[Any]:
    outer: list[Any] = []
    for _ in range(100_000):
        outer = [outer]
    return outer


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"a": {1, 2}}, TypeError),
        (b"bytes", TypeError),
        ({(1, 2): "a tuple as key"}, TypeError),
        (math.nan, ValueError),
        ([-math.inf], ValueError),
        ("\ud800", ValueError),
        (circle(), ValueError),
        (deep(), ValueError),
    ],
    ids=["set", "bytes", "tuple key", "nan", "inf", "surrogate", "circle", "deep"],
)
def test_a_payload_that_is_not_json_is_refused_by_name(payload: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^payload is not JSON: "):
        convert.json_bytes(payload)


def test_a_refused_payload_is_not_shown() -> None:
    with pytest.raises(ValueError, match="lone surrogate") as caught:
        convert.json_bytes({"password": "hunter2\ud800"})
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_payload_is_not_in_a_repr() -> None:
    run = convert.run(run_pb2.Run(payload_json=b'"hunter2"', result_json=b'"hunter2"'))
    assert (run.payload, run.result) == ("hunter2", "hunter2")
    assert "hunter2" not in repr(run)
    assert "hunter2" not in repr(Item("send", "hunter2"))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Item("t", run_at=datetime(2030, 1, 1)), "run_at must be a datetime with a time zone"),  # noqa: DTZ001 (that is what is refused)
        (lambda: Item("t", start_by=1.0), "start_by must be a datetime with a time zone, not 1.0"),  # type: ignore[arg-type] # that is what is refused
        (lambda: Item("t", delay="5"), "delay must be seconds or a timedelta, not '5'"),  # type: ignore[arg-type] # that is what is refused
        (lambda: Item("t", timeout=math.nan), "timeout must be seconds or a timedelta, not nan"),
        (lambda: Item("t", delay=1e300), "delay must be seconds or a timedelta, not 1e\\+300"),
        (lambda: Item("t", priority="urgent"), "priority must be one of high, normal, low, not 'urgent'"),  # type: ignore[arg-type] # that is what is refused
        (lambda: Item("t", idempotency_window=""), "idempotency_window must be one of ttl, while_active, forever"),  # type: ignore[arg-type] # that is what is refused
        (lambda: Item("t", idempotency_key=""), "idempotency_key must not be empty"),
    ],
)
def test_a_field_that_cannot_be_sent_is_named(make: Callable[[], Item], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        convert.enqueue_request(make(), "run_1")


def test_an_empty_text_does_not_widen_a_filter() -> None:
    for name in ("task", "idempotency_key", "queue", "origin_id"):
        empty: dict[str, Any] = {name: ""}
        with pytest.raises(ValueError, match=f"^{name} must not be empty"):
            convert.run_filter(**empty)
    with pytest.raises(ValueError, match=r"^status must be one of queued, .*canceled, not 'done'"):
        convert.run_filter(status=["queued", "done"])
    assert convert.run_filter(task=None, status=None, labels=None) == pb.RunFilter()
    assert convert.run_filter(status="queued") == convert.run_filter(status=["queued"])


def test_words_of_a_newer_server_are_kept_as_numbers() -> None:
    run = convert.run(run_pb2.Run(status=99, priority=9, held_reason=8, origin=7))  # type: ignore[arg-type] # unknown on purpose
    assert (run.status, run.priority, run.held_reason, run.origin) == (
        "unknown_99",
        "unknown_9",
        "unknown_8",
        "unknown_7",
    )
    assert not run.is_terminal
    transition = convert.transition(run_pb2.Transition(to_status=6, reason_code=99))  # type: ignore[arg-type] # unknown on purpose
    assert (transition.from_status, transition.to_status, transition.reason_code) == ("", "dead_lettered", "UNKNOWN_99")


def test_what_is_not_set_is_none_of_times_and_json_and_else_empty() -> None:
    run = convert.run(run_pb2.Run())
    empty = {field.name: getattr(run, field.name) for field in fields(Run)}
    assert empty.pop("retry") == Retry()
    none = {name for name, value in empty.items() if value is None}
    assert none == {"payload", "result", "start_by"} | {name for name in empty if name.endswith("_at")}
    assert not any(empty.values())


def test_times_are_in_utc() -> None:
    run = convert.run(run_pb2.Run(created_at=stamp(NOON), due_at=stamp(NOON + timedelta(microseconds=1))))
    assert run.created_at == NOON
    assert run.created_at.tzinfo is UTC
    assert run.due_at == NOON + timedelta(microseconds=1)
    assert run.started_at is None


@pytest.mark.parametrize("value", [None, True, 0, -3, 1.5, "text", [1, [None]], {"a": {"b": [2.25, False]}}])
def test_json_is_read_as_python_has_it(value: Any) -> None:
    assert convert.run(run_pb2.Run(payload_json=json.dumps(value).encode())).payload == value


def test_an_attempt_has_its_progress_as_python_does() -> None:
    attempt = convert.attempt(run_pb2.Attempt(number=2, status=6, progress_json=b'{"done":3}'))  # type: ignore[arg-type] # lost
    assert (attempt.number, attempt.status, attempt.progress) == (2, "lost", {"done": 3})
    assert convert.attempt(run_pb2.Attempt()).progress is None


def test_a_token_of_a_watch_never_skips_a_change_that_was_not_seen() -> None:
    answer = pb.WatchRunsResponse(changes=[pb.RunChange(run_id=f"run_{n}") for n in range(3)], resume_token="new")
    assert [(change.run_id, change.resume_token) for change in convert.run_changes(answer, before="old")] == [
        ("run_0", "old"),
        ("run_1", "old"),
        ("run_2", "new"),
    ]
    assert convert.run_changes(pb.WatchRunsResponse(resume_token="new"), before="old") == []
