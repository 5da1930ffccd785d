"""The tasks of a worker: handlers of the right shape, defaults within their limits, told to the server as they are."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest

from layeron.job.v1 import task_pb2 as pb
from layeron_job.retry import Retry
from layeron_job_worker.registry import task_handler


async def only_payload(payload: Any) -> None: ...
async def with_context(payload: Any, ctx: Any) -> None: ...
async def with_default(payload: Any, ctx: Any = None) -> None: ...
async def with_other_default(payload: Any, limit: int = 3) -> None: ...
async def second_by_any_name(payload: Any, whatever: Any) -> None: ...
async def starred(*everything: Any) -> None: ...
def in_a_thread(payload: Any) -> None: ...
async def with_key(payload: Any, *, key: Any = None) -> None: ...
async def bound(client: Any, payload: Any, ctx: Any) -> None: ...


class Deliverer:
    async def __call__(self, payload: Any, ctx: Any) -> None: ...

    async def method(self, payload: Any) -> None: ...


@pytest.mark.parametrize(
    ("handler", "is_async", "takes_context"),
    [
        (only_payload, True, False),
        (with_context, True, True),
        (with_default, True, True),
        (with_other_default, True, False),
        (second_by_any_name, True, True),
        (starred, True, True),
        (in_a_thread, False, False),
        (with_key, True, False),
        (functools.partial(bound, object()), True, True),
        (Deliverer(), True, True),
        (Deliverer().method, True, False),
        (lambda payload, ctx: None, False, True),
    ],
)
def test_a_handler_is_called_the_way_it_is_written(handler: Any, is_async: bool, takes_context: bool) -> None:
    made = task_handler("work", handler)
    assert (made.is_async, made.takes_context) == (is_async, takes_context)


async def no_parameter() -> None: ...
async def three(payload: Any, ctx: Any, more: Any) -> None: ...
async def needs_a_key(payload: Any, *, key: Any) -> None: ...
async def keys_only(**keys: Any) -> None: ...


@pytest.mark.parametrize("handler", [no_parameter, three, needs_a_key, keys_only])
def test_a_handler_of_another_shape_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"a handler takes \(payload\) or \(payload, ctx\), not "):
        task_handler("work", handler)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="not a callable object"):
        task_handler("work", 5)  # type: ignore[arg-type]  # the mistake that this is about


@pytest.mark.parametrize(
    ("options", "field", "limit"),
    [
        ({"name": ""}, "task name", "1,64"),
        ({"name": "a b"}, "task name", "A-Za-z0-9_-"),
        ({"name": "a\n"}, "task name", "1,64"),
        ({"name": "n" * 65}, "task name", "1,64"),
        ({"queue": "Default"}, "queue", "a-z0-9-"),
        ({"queue": "q" * 64}, "queue", "1,63"),
        ({"priority": "urgent"}, "priority", "high, normal, low"),
        ({"timeout": 0}, "timeout", "1 ms to 7 days"),
        ({"timeout": timedelta(days=7, seconds=1)}, "timeout", "1 ms to 7 days"),
        ({"timeout": float("nan")}, "timeout", "1 ms to 7 days"),
    ],
)
def test_a_bad_value_is_named_with_its_limit(options: dict[str, Any], field: str, limit: str) -> None:
    with pytest.raises(ValueError, match=field) as refused:
        task_handler(**{"name": "work", "handler": only_payload, **options})
    assert limit in str(refused.value)


def test_the_server_is_told_all_defaults_that_were_given() -> None:
    made = task_handler("n" * 64, only_payload, retry=Retry(attempts=5), timeout=1.5, queue="q" * 63, priority="high")
    told = made.to_proto()
    assert (told.name, told.queue, told.priority) == ("n" * 64, "q" * 63, pb.PRIORITY_HIGH)
    assert told.timeout.ToTimedelta() == timedelta(seconds=1.5)
    assert told.retry.max_attempts == 5


def test_defaults_that_were_not_given_are_left_to_the_server() -> None:
    told = task_handler("work", only_payload).to_proto()
    assert (told.queue, told.priority) == ("default", pb.PRIORITY_NORMAL)
    assert not told.HasField("retry")
    assert not told.HasField("timeout")
