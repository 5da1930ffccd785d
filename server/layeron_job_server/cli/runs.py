"""`layeron-job runs …`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from layeron_job import Client, Enqueued, JobError, Run, RunDetails

from .options import Address, Json, Namespace, call, duration_option, json_value, labels, moment_option
from .output import ExitCode, complain, console, exit_code_of, print_json, print_run, print_runs, transition_line

app = typer.Typer(help="Look at runs, stop them, do them again.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN")]
Reason = Annotated[str, typer.Option(help="Why; kept in the run's history.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="key=value; all must match.")]


@app.command("get")
def get(run_id: RunId, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Show one run with its attempts and transitions."""

    async def work(jobs: Client) -> RunDetails:
        return await jobs.runs.get(run_id)

    details = call(address, namespace, work)
    print_json(details) if as_json else print_run(details)


@app.command("list")
def list_(
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only in this status; may be given again.")] = None,
    label: Labels = None,
    key: Annotated[str | None, typer.Option(help="Only with this idempotency key.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    created_from: Annotated[datetime | None, moment_option("--from", "Only created at or after this time.")] = None,
    created_before: Annotated[datetime | None, moment_option("--before", "Only created before this time.")] = None,
    origin: Annotated[str | None, typer.Option("--replays-of", help="Only replays of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, help="At most so many.")] = 50,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    tags = labels(label or [])

    async def work(jobs: Client) -> list[Run]:
        found: list[Run] = []
        runs = jobs.runs.list(
            task=task,
            status=status or None,
            labels=tags,
            idempotency_key=key,
            queue=queue,
            created_from=created_from,
            created_before=created_before,
            origin_id=origin,
            page_size=min(limit, 500),
        )
        async for run in runs:
            found.append(run)
            if len(found) == limit:
                break
        return found

    found = call(address, namespace, work)
    if not as_json:
        print_runs(found)
        return
    for run in found:
        print_json(run)


@app.command("cancel")
def cancel(
    run_ids: Annotated[list[str], typer.Argument(help="The runs' ids.", metavar="RUN…")],
    reason: Reason = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Cancel runs. A waiting one ends at once; a running one is asked to stop."""

    async def work(jobs: Client) -> list[tuple[str, Run | JobError]]:
        answers: list[tuple[str, Run | JobError]] = []
        for run_id in run_ids:
            try:
                answers.append((run_id, await jobs.runs.cancel(run_id, reason=reason)))
            except JobError as error:
                answers.append((run_id, error))
        return answers

    worst: JobError | None = None
    for run_id, answer in call(address, namespace, work):
        if isinstance(answer, JobError):
            worst = answer
            typer.echo(f"layeron-job: {answer}", err=True)
        elif as_json:
            print_json({"run_id": run_id, "status": answer.status})
        else:
            asked = "  asked to stop" if answer.status == "running" else ""
            typer.echo(f"{run_id}  {answer.status}{asked}")
    if worst is not None:
        raise typer.Exit(exit_code_of(worst))


@app.command("replay")
def replay(
    run_id: RunId,
    reason: Reason = "",
    payload: Annotated[str | None, typer.Option(help="Another payload: JSON, @file, or - for stdin.")] = None,
    delay: Annotated[timedelta | None, duration_option("--delay", "Start so long from now.")] = None,
    run_at: Annotated[datetime | None, moment_option("--at", "Start at this time.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it succeeds.")] = False,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Make a new run of the same task and payload."""
    other = {} if payload is None else {"payload": json_value(payload)}

    async def work(jobs: Client) -> tuple[Enqueued, str]:
        made = await jobs.runs.replay(run_id, reason=reason, delay=delay, run_at=run_at, **other)
        return made, (await jobs.runs.wait(made.run_id)).status if wait else made.status

    made, status = call(address, namespace, work)
    if as_json:
        print_json({"run_id": made.run_id, "created": made.created, "status": status, "replays": run_id})
    else:
        typer.echo(f"{made.run_id}  {status}  replays {run_id}")
    if wait and status != "succeeded":
        raise typer.Exit(ExitCode.FAILED)


@app.command("watch")
def watch(
    run_id: Annotated[str | None, typer.Argument(help="One run; without it all that match.", metavar="[RUN]")] = None,
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    label: Labels = None,
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Print changes as they happen: of one run until its end, or of all that match until Ctrl-C."""
    tags = labels(label or [])
    if run_id and (task or queue or tags):
        complain("watch one run, or those of a --task, --queue or --label", ExitCode.USAGE)

    async def work(jobs: Client) -> str:
        out, last = console(), ""
        async for change in jobs.runs.watch(run_id, task=task, queue=queue, labels=tags):
            last = change.transition.to_status
            if as_json:
                print_json(change)
            else:
                out.print(transition_line(change.run_id, change.task, change.transition))
        return last

    last = call(address, namespace, work)
    if run_id and last != "succeeded":
        raise typer.Exit(ExitCode.FAILED)
