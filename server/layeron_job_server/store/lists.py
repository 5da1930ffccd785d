"""Pages of run ids by filter, newest first, built with SQLAlchemy from the few indexes that serve them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, text, union_all
from sqlalchemy.exc import DBAPIError

from layeron_job_server.domain.errors import DatabaseAway, FilterTooBroad

from .database import CONNECTION_ERRORS, Database
from .queries import RunFilter
from .tables import ended_runs, namespaces, open_runs, queues, run_labels, runs, tasks

_OPEN = frozenset({"queued", "scheduled", "running", "retrying"})
_TIMEOUT_MS = 2_000


async def page(database: Database, namespace: str, wanted: RunFilter, *, before: UUID | None, limit: int) -> list[UUID]:
    """Ids of up to `limit` runs that match, before the given one. Raises FilterTooBroad after two seconds."""
    try:
        async with database.engine.begin() as connection:
            await connection.execute(text(f"set local statement_timeout = {_TIMEOUT_MS}"))
            found = await connection.execute(_task_ids(namespace, wanted))
            task_ids = [row[0] for row in found]
            if not task_ids:
                return []
            rows = await connection.execute(_page(task_ids, wanted, before, limit))
            return [row[0] for row in rows]
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None else None
        if isinstance(cause, asyncpg.QueryCanceledError):
            raise FilterTooBroad from error
        if isinstance(cause, CONNECTION_ERRORS):
            raise DatabaseAway from error
        raise
    except CONNECTION_ERRORS as error:
        raise DatabaseAway from error


def _task_ids(namespace: str, wanted: RunFilter) -> Select[int]:
    query = (
        select(tasks.c.task_id)
        .join(namespaces, namespaces.c.namespace_id == tasks.c.namespace_id)
        .where(namespaces.c.name == namespace)
    )
    return query if wanted.task is None else query.where(tasks.c.name == wanted.task)


def _page(task_ids: Sequence[int], wanted: RunFilter, before: UUID | None, limit: int) -> Select[UUID]:
    """The newest of what each task (and status) has: every part is a short walk along one index."""
    walks = (
        [_labeled(task_ids, wanted, before)]
        if wanted.labels
        else [part for task_id in task_ids for part in _parts(task_id, wanted, before)]
    )
    parts = [walk.order_by(walk.selected_columns[0].desc()).limit(limit).subquery().select() for walk in walks]
    merged = union_all(*parts).subquery()
    return select(merged.c.run_id).order_by(merged.c.run_id.desc()).limit(limit)


def _labeled(task_ids: Sequence[int], wanted: RunFilter, before: UUID | None) -> Select[UUID]:
    """Along the first label's index; the other conditions are looked up for each run."""
    (key, value), *others = wanted.labels
    column = run_labels.c.run_id
    namespace_id = select(tasks.c.namespace_id).where(tasks.c.task_id == task_ids[0]).scalar_subquery()
    query = select(column).where(
        run_labels.c.namespace_id == namespace_id,
        run_labels.c.key == key,
        run_labels.c.value == value,
        *_bounds(column, wanted, before),
        exists().where(
            runs.c.run_id == column, runs.c.task_id.in_(task_ids), *_rest(replace(wanted, labels=tuple(others)))
        ),
    )
    if not wanted.statuses:
        return query
    open_now = exists().where(open_runs.c.run_id == column, open_runs.c.status.in_(wanted.statuses))
    ended = exists().where(ended_runs.c.run_id == column, ended_runs.c.status.in_(wanted.statuses))
    return query.where(or_(open_now, ended))


def _parts(task_id: int, wanted: RunFilter, before: UUID | None) -> list[Select[UUID]]:
    parts: list[Select[UUID]] = []
    open_statuses = [status for status in wanted.statuses if status in _OPEN]
    if not wanted.statuses:
        column = runs.c.run_id
        parts.append(select(column).where(runs.c.task_id == task_id, *_bounds(column, wanted, before), *_rest(wanted)))
    if open_statuses:
        column = open_runs.c.run_id
        query = select(column).where(open_runs.c.task_id == task_id, open_runs.c.status.in_(open_statuses))
        parts.append(_with_runs(query, column, wanted, before))
    for status in wanted.statuses:
        if status not in _OPEN:
            column = ended_runs.c.run_id
            query = select(column).where(ended_runs.c.task_id == task_id, ended_runs.c.status == status)
            parts.append(_with_runs(query, column, wanted, before))
    return parts


def _with_runs(
    query: Select[UUID], column: ColumnElement[UUID], wanted: RunFilter, before: UUID | None
) -> Select[UUID]:
    rest = _rest(wanted)
    query = query.where(*_bounds(column, wanted, before))
    return query.where(exists().where(runs.c.run_id == column, *rest)) if rest else query


def _bounds(column: ColumnElement[UUID], wanted: RunFilter, before: UUID | None) -> list[ColumnElement[bool]]:
    """Bounds on the id itself. A chosen run id may be a day off its creation, so the times bound it loosely."""
    bounds = []
    if before is not None:
        bounds.append(column < before)
    if wanted.created_from is not None:
        bounds.append(column >= _uuid7_at(wanted.created_from, days=-1))
    if wanted.created_before is not None:
        bounds.append(column < _uuid7_at(wanted.created_before, days=1))
    return bounds


def _rest(wanted: RunFilter) -> list[ColumnElement[bool]]:
    """Conditions on the run itself."""
    rest: list[ColumnElement[bool]] = []
    if wanted.created_from is not None:
        rest.append(runs.c.created_at >= wanted.created_from)
    if wanted.created_before is not None:
        rest.append(runs.c.created_at < wanted.created_before)
    if wanted.idempotency_key is not None:
        rest.append(runs.c.idempotency_key == wanted.idempotency_key)
    if wanted.origin_id is not None:
        rest.append(runs.c.origin_id == wanted.origin_id)
    if wanted.queue is not None:
        of_name = select(queues.c.queue_id).where(
            queues.c.namespace_id == runs.c.namespace_id, queues.c.name == wanted.queue
        )
        rest.append(runs.c.queue_id.in_(of_name))
    for key, value in wanted.labels:
        rest.append(
            exists().where(
                and_(
                    run_labels.c.namespace_id == runs.c.namespace_id,
                    run_labels.c.key == key,
                    run_labels.c.value == value,
                    run_labels.c.run_id == runs.c.run_id,
                )
            )
        )
    return rest


def _uuid7_at(moment: datetime, *, days: int) -> UUID:
    unix_ms = max(0, int(moment.timestamp() * 1000) + days * 86_400_000)
    return UUID(int=min(unix_ms, (1 << 48) - 1) << 80)
