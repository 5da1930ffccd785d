"""Tells logs and metrics what has become of runs, after the commit and a batch at a time.

Nothing here fails what it tells of. Lines are those of `docs/operations.md`: lost attempts and dead letters for
everybody, all else at DEBUG, where a batch costs a line for each of its runs.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import orjson

from layeron_job.ids import encode
from layeron_job.tracing import remote
from layeron_job_server.domain.errors import JobError
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.store import traces
from layeron_job_server.store.attempts import Change, Grant, Success
from layeron_job_server.store.runs import Made, NewRun
from layeron_job_server.store.tasks import Task

from .system import System

log = logging.getLogger("layeron_job_server.runs")


async def enqueued(system: System, made: Sequence[tuple[NewRun, Made]]) -> None:
    """These runs were made."""
    tasks = await _tasks(system, {new.task_id for new, _ in made})
    for task_id, count in Counter(new.task_id for new, _ in made).items():
        if task := tasks.get(task_id):
            system.telemetry.metrics.runs_enqueued.add(count, task.namespace, task.name)
    if log.isEnabledFor(logging.DEBUG):
        for new, answer in made:
            _say(logging.DEBUG, new.run_id, 0, tasks.get(new.task_id), answer.status, new.trace_context)


async def granted(system: System, grants: Iterable[Grant]) -> None:
    """These attempts were granted to workers."""
    waited: defaultdict[int, list[float]] = defaultdict(list)
    for grant in grants:
        waited[grant.task_id].append(grant.waited_seconds)
    tasks = await _tasks(system, waited.keys())
    for task_id, seconds in waited.items():
        if task := tasks.get(task_id):
            system.telemetry.metrics.pickup_latency.record((task.namespace, task.name), seconds)
    if log.isEnabledFor(logging.DEBUG):
        for grant in grants:
            _say(logging.DEBUG, grant.run_id, grant.attempt, tasks.get(grant.task_id), "running", grant.trace_context)


async def succeeded(system: System, reports: Sequence[Success], task_ids: Mapping[UUID, int]) -> None:
    """The attempts of those of these reports that `task_ids` names have succeeded, and their runs."""
    ran: defaultdict[int, list[float]] = defaultdict(list)
    for report in reports:
        task_id = task_ids.get(report.fence.run_id)
        if task_id is not None:
            ran[task_id].append(report.ran_ms / 1000)
    tasks = await _tasks(system, ran.keys())
    metrics = system.telemetry.metrics
    for task_id, seconds in ran.items():
        if task := tasks.get(task_id):
            metrics.attempts.add(len(seconds), task.namespace, task.name, "succeeded")
            metrics.runs_ended.add(len(seconds), task.namespace, task.name, "succeeded")
            metrics.attempt_duration.record((task.namespace, task.name, "succeeded"), seconds)
    if log.isEnabledFor(logging.DEBUG):
        contexts = await _contexts(system, list(task_ids))
        for report in reports:
            run_id, number, _ = report.fence
            if run_id in task_ids:
                task = tasks.get(task_ids[run_id])
                _say(logging.DEBUG, run_id, number, task, "succeeded", contexts.get(run_id))


async def changed(system: System, changes: Sequence[Change]) -> None:
    """These runs took a step other than a success: their attempts ended, or they did, or both."""
    tasks = await _tasks(system, {change.before.task_id for change in changes})
    _count(system, changes, tasks)
    levels = [_level(change) for change in changes]
    loud = [change for change, level in zip(changes, levels, strict=True) if log.isEnabledFor(level)]
    if not loud:
        return
    contexts = await _contexts(system, [change.step.run.run_id for change in loud])
    for change in loud:
        run, outcome = change.step.run, change.step.outcome
        status = run.status.value if outcome is None else f"{run.status.value} (the attempt {outcome.value})"
        _say(
            _level(change), run.run_id, run.attempt, tasks.get(change.before.task_id), status, contexts.get(run.run_id)
        )


def _count(system: System, changes: Sequence[Change], tasks: Mapping[int, Task]) -> None:
    metrics = system.telemetry.metrics
    ran: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for change in changes:
        task = tasks.get(change.before.task_id)
        if task is None:
            continue
        if change.step.run.status.is_terminal:
            metrics.runs_ended.add(1, task.namespace, task.name, change.step.run.status.value)
        if change.step.outcome is not None:
            labels = (task.namespace, task.name, change.step.outcome.value)
            metrics.attempts.add(1, *labels)
            if change.ending.ran_ms:
                ran[labels].append(change.ending.ran_ms / 1000)
    for labels, seconds in ran.items():
        metrics.attempt_duration.record(labels, seconds)


def _level(change: Change) -> int:
    if change.step.outcome is AttemptStatus.LOST:
        return logging.WARNING
    return logging.INFO if change.step.run.status == "dead_lettered" else logging.DEBUG


def _say(level: int, run_id: UUID, attempt: int, task: Task | None, status: str, trace_context: bytes | None) -> None:
    fields: dict[str, object] = {"run_id": encode("run", run_id), "attempt": attempt, "status": status}
    if task is not None:
        fields.update(task=task.name, namespace=task.namespace)
    span = remote(orjson.loads(trace_context)) if trace_context else None
    if span is not None:
        fields.update(trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}")
    log.log(level, "%s is %s", fields["run_id"], status, extra=fields)


async def _tasks(system: System, task_ids: Iterable[int]) -> Mapping[int, Task]:
    """What is known of these tasks; nothing where the database has just gone away."""
    try:
        return await system.tasks.by_ids(set(task_ids))
    except JobError:
        return {}


async def _contexts(system: System, run_ids: Sequence[UUID]) -> Mapping[UUID, bytes]:
    try:
        return await system.database.read(lambda c: traces.of_runs(c, run_ids))
    except JobError:
        return {}
