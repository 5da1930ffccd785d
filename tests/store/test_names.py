"""Namespaces and queues: as many as a server keeps consumers for, and not one more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from layeron_job_server.domain.errors import FieldViolation, InvalidRequest
from layeron_job_server.operations import tasks
from layeron_job_server.store.tasks import TaskDefinition
from support.core import Core, open_core


async def _no_consumers(_queues: Sequence[tuple[str, str]]) -> None:
    """There is no NATS here."""


async def _register(core: Core, *queues: str, namespace: str = "default") -> list[str]:
    definitions = [TaskDefinition(f"of-{queue}", queue, b"{}", 1_000, 2) for queue in queues]
    return [task.queue for task in await tasks.register(core.system, _no_consumers, namespace, definitions)]


async def _refusal(core: Core, *queues: str, namespace: str = "default") -> tuple[FieldViolation, ...]:
    with pytest.raises(InvalidRequest) as caught:
        await _register(core, *queues, namespace=namespace)
    return caught.value.violations


async def test_a_queue_too_many_is_refused_by_name_and_limit(database_url: str) -> None:
    """Promise 9."""
    async with open_core(database_url, queues_per_namespace_max=3) as core:
        assert await _register(core, "a", "b") == ["a", "b"]
        problem = "is new, and its namespace may have 3 (the limit is queues_per_namespace_max)"
        assert await _refusal(core, "b", "c", "d") == (FieldViolation("tasks[2].queue", problem),)
        assert await core.fetch("select name from queues order by 1") == [("a",), ("b",)]
        assert await _register(core, "c", "a") == ["c", "a"]
        assert await _register(core, "a", "b", "c", namespace="another") == ["a", "b", "c"]


async def test_a_namespace_too_many_is_refused_by_limit(database_url: str) -> None:
    """Promise 9."""
    async with open_core(database_url, namespaces_max=2) as core:
        for namespace in ("one", "two", "one"):
            assert await _register(core, "a", namespace=namespace) == ["a"]
        problem = "is new, and there are 2 already (the limit is namespaces_max)"
        assert await _refusal(core, "a", namespace="three") == (FieldViolation("namespace", problem),)
        assert await core.fetch("select name from namespaces order by 1") == [("one",), ("two",)]


async def test_what_there_is_stays_usable_under_a_lower_limit(core: Core, database_url: str) -> None:
    await _register(core, "a", "b", "c")
    await _register(core, "a", namespace="another")
    async with open_core(database_url, namespaces_max=1, queues_per_namespace_max=1) as strict:
        assert await _register(strict, "c", "a") == ["c", "a"]
        [violation] = await _refusal(strict, "c", "d")
        assert violation.field == "tasks[1].queue"


async def test_servers_that_register_at_once_make_no_more_than_there_may_be(database_url: str) -> None:
    limits: dict[str, Any] = {"namespaces_max": 2, "queues_per_namespace_max": 3}
    async with open_core(database_url, **limits) as core, open_core(database_url, **limits) as other:
        await _register(core, "q0")
        answers = await asyncio.gather(
            *[_register(server, f"q{number}") for number in range(8) for server in (core, other)],
            *[_register(server, "q0", namespace=f"n{number}") for number in range(8) for server in (core, other)],
            return_exceptions=True,
        )
        assert sum(isinstance(answer, InvalidRequest) for answer in answers) == 2 * (8 - 3) + 2 * (8 - 1)
        assert sum(isinstance(answer, list) for answer in answers) == 2 * 3 + 2 * 1
        assert await core.value("select count(*) from namespaces") == 2
        assert await core.value("select count(*) from queues") == 3 + 1
