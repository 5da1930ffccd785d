"""Pages of run ids by filter, newest first, built with SQLAlchemy from the few indexes that serve them.

Never a run of another namespace: every list begins with the tasks of the namespace, and takes the newest of each along
an index of (task, run) or (task, status, run). A range of creation bounds that walk, as run ids begin with their time;
the few whose chosen id is minutes off their creation are looked up apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from layeron_job.ids import lowest_uuid7_at
from layeron_job_server.domain.errors import FilterTooBroad
from layeron_job_server.domain.run import TERMINAL

from .database import Connection, Database, transaction
from .queries import RunFilter
from .tables import ended_runs, namespaces, open_runs, queues, run_labels, runs, tasks

_TIMEOUT_MS = 2_000
_ID_SLACK: Final = timedelta(minutes=3)  # runs.id_skewed is true beyond it
_ID_SKEW_MAX: Final = timedelta(days=1)  # what enqueue accepts
_DIALECT: Final = dialect.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's own


async def page(database: Database, namespace: str, wanted: RunFilter, *, before: UUID | None, limit: int) -> list[UUID]:
    """Ids of up to `limit` runs that match, before the given one. Raises FilterTooBroad after two seconds."""
    return await database.read(partial(_page, namespace=namespace, wanted=wanted, before=before, limit=limit))


async def _page(
    connection: Connection, *, namespace: str, wanted: RunFilter, before: UUID | None, limit: int
) -> list[UUID]:
    try:
        async with transaction(connection, readonly=True):
            await connection.execute(f"set local statement_timeout = {_TIMEOUT_MS}")
            task_ids = await _fetch(connection, _task_ids(namespace, wanted))
            return await _fetch(connection, _newest(task_ids, wanted, before, limit)) if task_ids else []
    except asyncpg.QueryCanceledError as error:
        raise FilterTooBroad from error


async def _fetch(connection: Connection, query: Select[Any]) -> list[Any]:
    """The query's only column."""
    compiled = query.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    arguments = [compiled.params[name] for name in compiled.positiontup or ()]
    return [row[0] for row in await connection.fetch(compiled.string, *arguments)]


def _task_ids(namespace: str, wanted: RunFilter) -> Select[Any]:
    query = (
        select(tasks.c.task_id)
        .join(namespaces, namespaces.c.namespace_id == tasks.c.namespace_id)
        .where(namespaces.c.name == namespace)
    )
    return query if wanted.task is None else query.where(tasks.c.name == wanted.task)


def _newest(task_ids: Sequence[int], wanted: RunFilter, before: UUID | None, limit: int) -> Select[Any]:
    """The newest of what each task (and status) has: each is a short walk along one index."""
    parts = [_labeled(task_ids, wanted, before)] if wanted.labels else _parts(task_ids, wanted, before, limit)
    if wanted.has_range:
        parts.append(_skewed(task_ids, wanted, before))
    newest = [part.order_by(part.selected_columns[0].desc()).limit(limit) for part in parts]
    if len(newest) == 1:
        return newest[0]
    merged = union_all(*(select(part.subquery().c.run_id) for part in newest)).subquery()
    return select(merged.c.run_id).order_by(merged.c.run_id.desc()).limit(limit)


def _labeled(task_ids: Sequence[int], wanted: RunFilter, before: UUID | None) -> Select[Any]:
    """Along the first label's index; the other conditions are looked up for each run."""
    (key, value), *others = wanted.labels
    column = run_labels.c.run_id
    namespace_id = select(tasks.c.namespace_id).where(tasks.c.task_id == task_ids[0]).scalar_subquery()
    return select(column).where(
        run_labels.c.namespace_id == namespace_id,
        run_labels.c.key == key,
        run_labels.c.value == value,
        *_bounds(column, wanted, before, slack=_ID_SLACK),
        exists().where(
            runs.c.run_id == column,
            runs.c.task_id == func.any(_array(task_ids)),
            *_rest(replace(wanted, labels=tuple(others))),
        ),
        *_in_status(column, wanted),
    )


def _skewed(task_ids: Sequence[int], wanted: RunFilter, before: UUID | None) -> Select[Any]:
    """Runs of a range whose ids do not tell when they were made."""
    column = runs.c.run_id
    return select(column).where(
        runs.c.task_id == func.any(_array(task_ids)),
        runs.c.id_skewed,
        *_bounds(column, wanted, before, slack=_ID_SKEW_MAX),
        *_rest(wanted, skewed=True),
        *_in_status(column, wanted),
    )


def _in_status(column: ColumnElement[UUID], wanted: RunFilter) -> list[ColumnElement[bool]]:
    if not wanted.statuses:
        return []
    open_now = exists().where(open_runs.c.run_id == column, open_runs.c.status.in_(wanted.statuses))
    ended = exists().where(ended_runs.c.run_id == column, ended_runs.c.status.in_(wanted.statuses))
    return [or_(open_now, ended)]


def _parts(task_ids: Sequence[int], wanted: RunFilter, before: UUID | None, limit: int) -> list[Select[Any]]:
    of = func.unnest(_array(task_ids)).table_valued("task_id").render_derived(name="of")
    open_statuses = [status for status in wanted.statuses if status not in TERMINAL]
    ended_statuses = [status for status in wanted.statuses if status in TERMINAL]
    parts: list[Select[Any]] = []
    if not wanted.statuses:
        column = runs.c.run_id
        walk = select(column).where(
            runs.c.task_id == of.c.task_id, *_bounds(column, wanted, before, slack=_ID_SLACK), *_rest(wanted)
        )
        parts.append(_of_each(of, walk, limit))
    if open_statuses:
        column = open_runs.c.run_id
        walk = select(column).where(open_runs.c.task_id == of.c.task_id, open_runs.c.status.in_(open_statuses))
        parts.append(_of_each(of, _with_runs(walk, column, wanted, before), limit))
    if ended_statuses:
        column = ended_runs.c.run_id
        having = func.unnest(_array(ended_statuses, Text)).table_valued("status").render_derived(name="having_status")
        walk = select(column).where(ended_runs.c.task_id == of.c.task_id, ended_runs.c.status == having.c.status)
        each = of.join(having, true())
        parts.append(_of_each(each, _with_runs(walk, column, wanted, before), limit))
    return parts


def _of_each(each: Any, walk: Select[Any], limit: int) -> Select[Any]:
    """The newest `limit` of a walk, for each row of `each`."""
    newest = walk.order_by(walk.selected_columns[0].desc()).limit(limit).lateral("walk")
    return select(newest.c.run_id).select_from(each.join(newest, true()))


def _with_runs(walk: Select[Any], column: ColumnElement[UUID], wanted: RunFilter, before: UUID | None) -> Select[Any]:
    rest = _rest(wanted)
    walk = walk.where(*_bounds(column, wanted, before, slack=_ID_SLACK))
    return walk.where(exists().where(runs.c.run_id == column, *rest)) if rest else walk


def _array(values: Sequence[Any], kind: Any = Integer) -> Any:
    """The values as one argument, however many there are."""
    return bindparam(None, list(values), type_=ARRAY(kind))


def _bounds(
    column: ColumnElement[UUID], wanted: RunFilter, before: UUID | None, *, slack: timedelta
) -> list[ColumnElement[bool]]:
    """Bounds on the id itself, which may be so far off the time of creation."""
    bounds = []
    if before is not None:
        bounds.append(column < before)
    if wanted.created_from is not None:
        bounds.append(column >= _lowest_id(wanted.created_from, -slack))
    if wanted.created_before is not None:
        bounds.append(column < _lowest_id(wanted.created_before, slack))
    return bounds


def _rest(wanted: RunFilter, *, skewed: bool = False) -> list[ColumnElement[bool]]:
    """Conditions on the run itself."""
    rest: list[ColumnElement[bool]] = []
    if wanted.has_range and not skewed:
        rest.append(~runs.c.id_skewed)
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


def _lowest_id(moment: datetime, shift: timedelta) -> UUID:
    """The bound of ids of a moment, shifted; a moment at the end of time is not shifted."""
    try:
        return lowest_uuid7_at(moment + shift)
    except OverflowError:
        return lowest_uuid7_at(moment)
