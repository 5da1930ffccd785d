"""`make demo`: starts everything, sends real webhooks through it, and shows each run as the server tells it.

Everything is real: `layeron-job dev` with its PostgreSQL and nats-server, a worker process, an HTTP receiver that
answers 503 twice before it takes a webhook. With DEMO_EXIT=1 it ends when every run has ended, with 0 if each ended as
its line says; otherwise it goes on until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from layeron_job import Client, Run, RunDetails, Unavailable
from layeron_job_server.embedded import default_data, wipe

from .receiver import Receiver

_BIN = Path(sys.executable).parent
_LOG = Path("build/demo.log")
_READY_SECONDS = 60.0
_SHOW_SECONDS = 30.0
_STYLES = {
    "succeeded": "green",
    "dead_lettered": "red",
    "canceled": "bright_black",
    "running": "yellow",
    "retrying": "magenta",
}


@dataclass(slots=True)
class Scene:
    """One thing the demo shows: a run, how it and its attempts shall end, and how it stands."""

    title: str
    run_id: str
    ends: str
    attempts: tuple[str, ...] = ("succeeded",)
    not_before: datetime | None = None
    note: str = ""
    details: RunDetails | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended as it should."""
        return self.details is not None and self.details.run.status == self.ends

    @property
    def kept(self) -> bool:
        """Whether everything that its line says is true."""
        if self.details is None or not self.over:
            return False
        attempts = self.details.attempts
        early = self.not_before is not None and any(one.granted_at < self.not_before for one in attempts)
        return tuple(one.status for one in attempts) == self.attempts and not early


async def main() -> int:
    """Run the demo; the exit code."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    async with AsyncExitStack() as stack:
        secret = "whsec_" + secrets.token_urlsafe(24).replace("-", "A").replace("_", "B")
        receiver = await stack.enter_async_context(Receiver(secret))
        with console.status("starting PostgreSQL, NATS, a server and a worker …"):
            address = await stack.enter_async_context(_stack(secret))
            jobs = await stack.enter_async_context(Client(address))
            await _until_ready(jobs)
        began = time.monotonic()
        scenes = await _begin(jobs, receiver)
        with Live(_table(scenes), console=console, refresh_per_second=8) as live:
            while time.monotonic() - began < _SHOW_SECONDS and not all(scene.over for scene in scenes):
                await _go_on(jobs, receiver, scenes)
                live.update(_table(scenes))
                await asyncio.sleep(0.15)
        console.print(
            f"The receiver was called {len(receiver.received)} times; every line above was read from the API."
        )
        if os.environ.get("DEMO_EXIT") != "1":
            await _stay(console, address)
        wrong = [scene.title for scene in scenes if not scene.kept]
        if wrong:
            console.print(f"[red]not as it should be after {_SHOW_SECONDS:.0f} s:[/red] {', '.join(wrong)}")
    return 1 if wrong else 0


async def _begin(jobs: Client, receiver: Receiver) -> list[Scene]:
    """Ask for everything."""
    at = datetime.now(UTC) + timedelta(seconds=6)

    in_three_seconds = datetime.now(UTC) + timedelta(seconds=3)

    async def deliver(path: str, event: str, **options: object) -> Run:
        payload = {"url": receiver.url(path), "body": {"type": event}}
        return (await jobs.enqueue("deliver-webhook", payload, **options)).run  # type: ignore[arg-type] # enqueue's own

    scenes = [
        Scene("now", (await deliver("/ok", "order.paid")).run_id, "succeeded"),
        Scene(
            "in 3 seconds",
            (await deliver("/ok", "trial.ends", delay=3)).run_id,
            "succeeded",
            not_before=in_three_seconds,
        ),
        Scene(
            f"at {at.astimezone():%H:%M:%S}",
            (await deliver("/ok", "report.due", run_at=at)).run_id,
            "succeeded",
            not_before=at,
        ),
        Scene(
            "503 twice, then 200",
            (await deliver("/flaky", "order.sent")).run_id,
            "succeeded",
            ("failed", "failed", "succeeded"),
        ),
    ]
    first = await deliver("/ok", "user.created", idempotency_key="user-7.created")
    again = await deliver("/ok", "user.created", idempotency_key="user-7.created")
    if first.run_id != again.run_id:
        raise SystemExit(f"one key gave two runs: {first.run_id} and {again.run_id}")
    scenes.append(Scene("asked for twice with one key", again.run_id, "succeeded", note="the same run"))
    waits = await deliver("/ok", "order.reminder", delay=3600)
    await jobs.runs.cancel(waits.run_id, reason="the order was paid")
    scenes.append(Scene("canceled while scheduled", waits.run_id, "canceled", ()))
    report = await jobs.enqueue("make-report", {"pages": 100})
    scenes.append(Scene("canceled while running", report.run_id, "canceled", ("canceled",)))
    gone = await deliver("/moved", "invoice.sent")
    scenes.append(Scene("410: not to be retried", gone.run_id, "dead_lettered", ("failed",)))
    return scenes


async def _go_on(jobs: Client, receiver: Receiver, scenes: list[Scene]) -> None:
    """Read every run back, and do what people would do next."""
    for scene in scenes:
        if not scene.over:
            scene.details = await jobs.runs.get(scene.run_id)
    by_title = {scene.title: scene for scene in scenes}
    report, dead = by_title["canceled while running"].details, by_title["410: not to be retried"]
    if report and report.run.status == "running" and report.run.cancel_requested_at is None:
        await jobs.runs.cancel(report.run.run_id, reason="nobody needs it any more")
    if dead.over and "its replay, repaired" not in by_title:
        receiver.repaired = True
        replay = await jobs.runs.replay(dead.run_id, reason="the receiver is repaired")
        scenes.append(Scene("its replay, repaired", replay.run_id, "succeeded"))


def _table(scenes: Sequence[Scene]) -> Table:
    table = Table(title="Layeron Job")
    for column in ("what", "status", "attempts", "history"):
        table.add_column(column, no_wrap=column in ("what", "status"))
    for scene in scenes:
        title = Text(f"{scene.title}\n").append(scene.run_id, style="dim")
        if scene.details is None:
            table.add_row(title)
            continue
        run = scene.details.run
        attempts = "\n".join(f"{one.number} {one.error_type or one.status}" for one in scene.details.attempts)
        history = " → ".join(transition.to_status for transition in scene.details.transitions)
        note = f" ({scene.note})" if scene.note else ""
        table.add_row(title, Text(run.status, style=_STYLES.get(run.status, "cyan")), attempts, history + note)
    return table


async def _stay(console: Console, address: str) -> None:
    console.print(f"""
Look around while it runs:
  grpcurl -plaintext {address} list
  grpcurl -plaintext -d '{{"task": "deliver-webhook"}}' {address} layeron.job.v1.JobService/ListRuns
  .venv/bin/layeron-job runs list --address {address}
Stop it with Ctrl-C; its data is then removed.""")
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()


@asynccontextmanager
async def _stack(secret: str) -> AsyncIterator[str]:
    """`layeron-job dev` and the worker, with data of their own; the server's address. All of it is gone afterwards."""
    data = default_data().with_name("layeron-job-demo")
    address = f"127.0.0.1:{_free_port()}"
    port = address.rpartition(":")[2]
    environment = {**os.environ, "LAYERON_JOB_ADDRESS": address, "WEBHOOK_SECRET": secret}
    commands = [
        [str(_BIN / "layeron-job"), "dev", "--data", str(data), "--fresh", "--port", port],
        [sys.executable, "-m", "demo.worker"],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.extend(_start(command, environment) for command in commands)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            await asyncio.to_thread(process.wait)
        wipe(data)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process of the demo, out of reach of Ctrl-C, which is ours to handle."""
    _LOG.parent.mkdir(exist_ok=True)
    with _LOG.open("ab") as out:
        return subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)


async def _until_ready(jobs: Client) -> None:
    """Until the server answers and the worker has registered its tasks."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        with suppress(Unavailable):
            if [task async for task in jobs.tasks.list()]:
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not start within {_READY_SECONDS:.0f} s: see {_LOG}")
        await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
