"""What the commands print, and the codes they end with."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from layeron_job import (
    DeadlineExceeded,
    JobError,
    Overloaded,
    Run,
    RunDetails,
    RunNotFound,
    Task,
    TaskNotFound,
    Transition,
    Unavailable,
)


class ExitCode(enum.IntEnum):
    """What a script may go by."""

    OK = 0
    FAILED = 1  # the run that was waited for did not succeed
    USAGE = 2  # the command or one of its values is wrong
    REFUSED = 3  # the server, or this machine, does not allow it as things stand
    NOT_FOUND = 4  # there is no such run or task
    UNAVAILABLE = 5  # the server or the database cannot be reached, or is overloaded


_STYLES: Final = {
    "queued": "cyan",
    "scheduled": "blue",
    "running": "yellow",
    "retrying": "magenta",
    "succeeded": "green",
    "dead_lettered": "red",
    "canceled": "bright_black",
}


def complain(message: str, code: ExitCode) -> NoReturn:
    """Say what is wrong on stderr and end with the code."""
    print(f"layeron-job: {message}", file=sys.stderr)
    raise typer.Exit(code)


def exit_code_of(error: JobError) -> ExitCode:
    """How a command ends that the server refused."""
    match error:
        case RunNotFound() | TaskNotFound():
            return ExitCode.NOT_FOUND
        case Unavailable() | Overloaded() | DeadlineExceeded():
            return ExitCode.UNAVAILABLE
    return ExitCode.REFUSED


def print_json(value: Any) -> None:
    """One entry as a line of JSON."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    print(json.dumps(plain, default=_as_json, ensure_ascii=False), flush=True)


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} is not JSON")


def console() -> Console:
    """Tables on stdout; as wide as they need to be when nobody looks, so that nothing is cut in a pipe."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=500)


def print_runs(runs: Sequence[Run]) -> None:
    """A line for each run."""
    table = _table("run", "task", "status", "attempt", "created", "due", "name")
    for run in runs:
        due = ago(run.due_at) if run.status in ("scheduled", "retrying") else ""
        table.add_row(run.run_id, run.task, _status(run), str(run.attempt), ago(run.created_at), due, Text(run.name))
    console().print(table)


def print_run(details: RunDetails) -> None:
    """A run with its history."""
    run, out = details.run, console()
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(run):
        facts.add_row(Text(name, style="bold"), value)
    out.print(facts)
    if details.attempts:
        table = _table("attempt", "status", "granted", "took", "error", "retry", "worker")
        for attempt in details.attempts:
            error = f"{attempt.error_type}: {attempt.error_message}" if attempt.error_type else ""
            took = attempt.ended_at - (attempt.begun_at or attempt.granted_at) if attempt.ended_at else None
            table.add_row(
                str(attempt.number),
                attempt.status,
                ago(attempt.granted_at),
                "" if took is None else f"{took.total_seconds():.3f} s",
                Text(error),
                ago(attempt.retry_at) if attempt.retry_at else "",
                Text(attempt.worker_build or attempt.session_id),
            )
        out.print(table)
        for attempt in details.attempts:
            if attempt.log_tail:
                out.print(Text(f"log of attempt {attempt.number}\n{attempt.log_tail}", style="dim"))
    table = _table("#", "from", "to", "at", "why", "note", "by")
    for transition in details.transitions:
        table.add_row(*_transition_cells(transition))
    out.print(table)


def _facts(run: Run) -> list[tuple[str, Text | str]]:
    facts: list[tuple[str, Text | str]] = [("run", run.run_id), ("task", run.task), ("status", _status(run))]
    optional = [
        ("name", run.name),
        ("key", run.idempotency_key),
        ("labels", ", ".join(f"{key}={value}" for key, value in run.labels.items())),
        ("due", ago(run.due_at)),
        ("held", run.held_reason),
        ("cancel asked", ago(run.cancel_requested_at)),
        ("replays", run.origin_id if run.origin == "replay" else ""),
        ("replayed by", run.replayed_by),
    ]
    facts += [(name, Text(value)) for name, value in optional if value]
    facts.append(("payload", Text(json.dumps(run.payload, ensure_ascii=False))))
    if run.status == "succeeded":
        facts.append(("result", Text(json.dumps(run.result, ensure_ascii=False))))
    return facts


def transition_line(run_id: str, task: str, transition: Transition) -> Text:
    """A change, for people who watch."""
    at, to, why, note = transition.at, transition.to_status, transition.reason_code, transition.note
    line = Text(f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d}  {run_id}  {task}  ")
    line.append(f"{to:13}", style=_STYLES.get(to, ""))
    return line.append(f"  {why}{f'  {note}' if note else ''}")


def _transition_cells(transition: Transition) -> list[Text | str]:
    at = transition.at
    return [
        str(transition.seq),
        transition.from_status or "",
        Text(transition.to_status, style=_STYLES.get(transition.to_status, "")),
        f"{at.astimezone():%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}",
        transition.reason_code,
        Text(transition.note),
        Text(transition.actor),
    ]


def print_tasks(tasks: Sequence[Task]) -> None:
    """A line for each task."""
    table = _table("task", "queue", "priority", "attempts", "timeout", "revision", "paused")
    for task in tasks:
        paused = f"{ago(task.paused_at)} {task.pause_reason}".strip() if task.paused_at else ""
        table.add_row(
            task.name,
            task.queue,
            task.priority,
            str(task.retry.attempts),
            f"{task.timeout.total_seconds():g} s",
            str(task.revision),
            Text(paused),
        )
    console().print(table)


def ago(when: datetime | None) -> str:
    """How long ago or ahead a time is."""
    if when is None:
        return ""
    away = (datetime.now(when.tzinfo) - when).total_seconds()
    size = abs(away)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if size >= length:
            text = f"{size / length:.1f}{unit}"
            break
    else:
        text = f"{size:.1f}s"
    return f"{text} ago" if away >= 0 else f"in {text}"


def _status(run: Run) -> Text:
    return Text(run.status, style=_STYLES.get(run.status, ""))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("run", "status"))
    return table
