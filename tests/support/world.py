"""Very many runs in all statuses, and a naive model of them that says what any filter must find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import orjson

from layeron_job.ids import new_uuid7
from layeron_job_server.domain.run import RunStatus
from layeron_job_server.store.queries import RunFilter
from support.core import Core, Worker

DAY = timedelta(days=1)
NAMESPACES = ("default", "theirs")
TASKS = {"mail": "default", "report": "bulk", "sync": "bulk"}
LABELS = {"team": ("a", "b", "c"), "city": ("Köln", "Zürich"), "tier": ("1",)}
KEYS = ("k1", "k2", "k3")
STATUSES = tuple(str(status) for status in RunStatus)


@dataclass(frozen=True, slots=True)
class Row:
    """What the model knows of a run."""

    run_id: UUID
    namespace: str
    task: str
    queue: str
    status: str
    created_at: datetime
    idempotency_key: str | None
    origin_id: UUID | None
    labels_json: bytes | None

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return orjson.loads(self.labels_json or b"{}")


def matches(row: Row, wanted: RunFilter) -> bool:
    """Whether a filter means this run."""
    return (
        wanted.task in (None, row.task)
        and (not wanted.statuses or row.status in wanted.statuses)
        and all(row.labels.get(key) == value for key, value in wanted.labels)
        and wanted.idempotency_key in (None, row.idempotency_key)
        and wanted.queue in (None, row.queue)
        and (wanted.created_from is None or wanted.created_from <= row.created_at)
        and (wanted.created_before is None or row.created_at < wanted.created_before)
        and wanted.origin_id in (None, row.origin_id)
    )


class World:
    """A core with some three hundred runs of both namespaces in all statuses, and what the model knows of them."""

    def __init__(self, core: Core, chance: Random) -> None:
        self.core = core
        self.rows: list[Row] = []
        self._chance = chance
        self._workers: dict[str, Worker] = {}

    async def make(self) -> None:
        """Runs of the last three weeks; some are replays, and one task moves to another queue on the way."""
        for namespace in NAMESPACES:
            for task, queue in TASKS.items():
                await self.core.register(task, queue=queue, namespace=namespace)
            self._workers[namespace] = await self.core.worker(*TASKS, namespace=namespace)
        await asyncio.gather(*[self._live() for _ in range(200)])
        await self.core.register("sync", queue="default")
        self.core.system.tasks.forget("default", "sync")
        await asyncio.gather(*[self._live() for _ in range(80)])
        await self._replay(20)
        await self._spread()
        self.rows = [Row(*row) for row in await self.core.fetch(_ROWS)]

    async def _live(self) -> None:
        """One run, as far as chance takes it."""
        chance, namespace = self._chance, self._chance.choice(NAMESPACES)
        labels = {key: chance.choice(values) for key, values in LABELS.items() if chance.random() < 0.5}
        key = {"idempotency_key": chance.choice(KEYS), "key_window": "while_active"} if chance.random() < 0.3 else {}
        status = chance.choice(STATUSES)
        answer = await self.core.request(
            chance.choice(list(TASKS)),
            namespace=namespace,
            run_id=new_uuid7(int(chance.uniform(_NOW_MS - 21 * 86_400_000, _NOW_MS))),
            delay=DAY if status == "scheduled" else timedelta(0),
            labels=labels,
            **key,
        )
        if not answer.created or status in ("queued", "scheduled"):
            return
        worker = self._workers[namespace]
        if status == "canceled" and chance.random() < 0.5:
            await self.core.cancel(answer.run_id, namespace=namespace)
            return
        grant = await worker.grant(answer.run_id)
        if status == "succeeded":
            await worker.succeed(grant)
        elif status == "canceled":
            await self.core.cancel(answer.run_id, namespace=namespace)
            await worker.fail(grant)
        elif status != "running":
            await worker.fail(grant, retryable=status == "retrying")

    async def _replay(self, number: int) -> None:
        ended = await self.core.fetch(
            "select run_id, n.name from ended_runs join runs using (run_id) join namespaces n using (namespace_id) "
            "order by run_id limit $1",
            number,
        )
        for run_id, namespace in ended:
            for _ in range(self._chance.choice([1, 1, 2])):
                await self.core.replay(
                    run_id, namespace=namespace.decode() if isinstance(namespace, bytes) else namespace
                )

    async def _spread(self) -> None:
        """Let runs be as old as their ids say, give or take the day by which a chosen id may differ."""
        rows = await self.core.fetch("select run_id from runs")
        seconds = [
            (row[0].int >> 80) / 1000 + self._chance.choice([0, self._chance.uniform(-86_300, 86_300)]) for row in rows
        ]
        async with self.core.database.connection() as connection:
            await connection.execute(
                "update runs r set created_at = to_timestamp(c.seconds) "
                "from unnest($1::uuid[], $2::float8[]) as c (run_id, seconds) where r.run_id = c.run_id",
                [row[0] for row in rows],
                seconds,
            )

    def expected(self, namespace: str, wanted: RunFilter) -> list[UUID]:
        """What a list must answer."""
        found = [row.run_id for row in self.rows if row.namespace == namespace and matches(row, wanted)]
        return sorted(found, reverse=True)

    def some(self, pick: Callable[[Row], Any]) -> list[Any]:
        """The different values of something over all runs."""
        return sorted({value for row in self.rows if (value := pick(row)) is not None})

    def filters(self) -> dict[str, Callable[[], Any]]:
        """For each field of a filter a value by chance."""
        chance = self._chance
        times, origins = self.some(lambda row: row.created_at), self.some(lambda row: row.origin_id)
        labels = [(key, value) for key, values in LABELS.items() for value in (*values, "none of these")]
        return {
            "task": lambda: chance.choice([*TASKS, "unknown"]),
            "statuses": lambda: tuple(chance.sample(STATUSES, chance.randint(1, len(STATUSES)))),
            "labels": lambda: tuple(chance.sample(labels, chance.randint(1, 3))),
            "idempotency_key": lambda: chance.choice([*KEYS, "unknown"]),
            "queue": lambda: chance.choice(["default", "bulk", "unknown"]),
            "created_from": lambda: chance.choice(times),
            "created_before": lambda: chance.choice(times),
            "origin_id": lambda: chance.choice([*origins, uuid4()]),
        }


_NOW_MS = new_uuid7().int >> 80
_ROWS = """
select r.run_id, n.name, t.name, q.name, coalesce(o.status, e.status), r.created_at, r.idempotency_key, r.origin_id,
  r.labels
from runs r join tasks t using (task_id) join queues q on q.queue_id = r.queue_id
  join namespaces n on n.namespace_id = r.namespace_id
  left join open_runs o using (run_id) left join ended_runs e using (run_id)
"""
