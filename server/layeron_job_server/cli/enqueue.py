"""`layeron-job enqueue`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

import typer

from layeron_job import Client, Enqueued, Retry

from .options import Address, Json, Namespace, call, duration_option, json_value, labels, moment_option
from .output import ExitCode, print_json


def enqueue(
    task: Annotated[str, typer.Argument(help="The registered task to run.")],
    payload: Annotated[str, typer.Argument(help="JSON, @file, or - for stdin.", metavar="[PAYLOAD]")] = "null",
    delay: Annotated[timedelta | None, duration_option("--delay", "Start so long from now: 90s, 5m, 2h, 3d.")] = None,
    run_at: Annotated[datetime | None, moment_option("--at", "Start at this time: 2026-12-24T18:00:00Z.")] = None,
    start_by: Annotated[
        datetime | None, moment_option("--start-by", "Dead-letter it if it has not started by then.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: the same request again answers the first run.")
    ] = None,
    window: Annotated[
        Literal["ttl", "while_active", "forever"] | None, typer.Option(help="How long the key stays taken.")
    ] = None,
    key_ttl: Annotated[timedelta | None, duration_option("--key-ttl", "With --window ttl; 24h by default.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="key=value; may be given again.")] = None,
    priority: Annotated[Literal["high", "normal", "low"] | None, typer.Option(help="Replaces the task's.")] = None,
    timeout: Annotated[timedelta | None, duration_option("--timeout", "Of one attempt; replaces the task's.")] = None,
    attempts: Annotated[int | None, typer.Option(help="Replaces the task's retry policy by so many attempts.")] = None,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    run_id: Annotated[str | None, typer.Option(help="A run id of your choice.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it succeeds.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Ask for one run."""
    value, tags = json_value(payload), labels(label or [])

    async def work(jobs: Client) -> tuple[Enqueued, str]:
        made = await jobs.enqueue(
            task,
            value,
            run_id=run_id,
            delay=delay,
            run_at=run_at,
            start_by=start_by,
            idempotency_key=key,
            idempotency_window=window,
            idempotency_ttl=key_ttl,
            labels=tags,
            priority=priority,
            timeout=timeout,
            retry=None if attempts is None else Retry(attempts=attempts),
            name=name,
        )
        return made, (await jobs.runs.wait(made.run_id)).status if wait else made.status

    made, status = call(address, namespace, work)
    if as_json:
        print_json({"run_id": made.run_id, "created": made.created, "status": status})
    else:
        typer.echo(f"{made.run_id}  {status}" + ("" if made.created else "  (was there before)"))
    if wait and status != "succeeded":
        raise typer.Exit(ExitCode.FAILED)
