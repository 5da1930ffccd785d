"""The command line, as people and scripts use it."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass
from typing import Any

import pytest

from layeron_job_worker import Context, DoNotRetry, Worker
from support import open_folder
from support.commands import CLI, Ended, line_with, run, started
from support.processes import free_port
from support.system import StartServer, StartWorker


@dataclass(frozen=True, slots=True)
class Cli:
    """The command line against one server."""

    environment: dict[str, str]

    async def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        """Run one command."""
        return await run(CLI, *arguments, environment=self.environment, stdin=stdin)


@pytest.fixture
async def cli(start_server: StartServer, start_worker: StartWorker) -> Cli:
    """The command line against a server and a worker with tasks "work", "refuse" and "sleep"."""
    server = await start_server()
    worker = Worker(server.address, concurrency=5, build_id="build-7")

    @worker.task("work")
    async def work(payload: Any, ctx: Context) -> Any:
        ctx.log.info("working")
        return {"done": payload}

    @worker.task("refuse")
    async def refuse(_payload: Any) -> None:
        raise DoNotRetry("not today")

    @worker.task("sleep")
    async def sleep(_payload: Any) -> None:
        await asyncio.sleep(60)

    await start_worker(worker)
    return Cli({"LAYERON_JOB_ADDRESS": server.address})


async def test_a_run_is_enqueued_waited_for_and_shown(cli: Cli) -> None:
    made = await cli("enqueue", "work", '{"n": 1}', "--label", "team=a", "--name", "first", "--wait", "--json")
    assert made.code == 0, made.err
    answer = json.loads(made.out)
    assert (answer["status"], answer["created"]) == ("succeeded", True)
    shown = await cli("runs", "get", answer["run_id"])
    for text in (
        answer["run_id"],
        "succeeded",
        '{"done": {"n": 1}}',
        "team=a",
        "first",
        "build-7",
        "working",
        "STARTED",
    ):
        assert text in shown.out
    plain = json.loads((await cli("runs", "get", answer["run_id"], "--json")).out)
    assert plain["run"]["result"] == {"done": {"n": 1}}
    assert [transition["to_status"] for transition in plain["transitions"]] == ["queued", "running", "succeeded"]


async def test_a_payload_comes_from_stdin_or_a_file(cli: Cli) -> None:
    made = await cli("enqueue", "work", "-", "--wait", "--json", stdin='{"from": "stdin"}')
    run_id = json.loads(made.out)["run_id"]
    assert json.loads((await cli("runs", "get", run_id, "--json")).out)["run"]["payload"] == {"from": "stdin"}
    with open_folder() as folder:
        (folder / "payload.json").write_text('["file"]')
        made = await cli("enqueue", "work", f"@{folder}/payload.json", "--json")
    run_id = json.loads(made.out)["run_id"]
    assert json.loads((await cli("runs", "get", run_id, "--json")).out)["run"]["payload"] == ["file"]


async def test_the_same_key_answers_the_first_run(cli: Cli) -> None:
    first, again = [await cli("enqueue", "work", "--key", "k", "--json") for _ in range(2)]
    assert json.loads(first.out)["run_id"] == json.loads(again.out)["run_id"]
    assert (json.loads(first.out)["created"], json.loads(again.out)["created"]) == (True, False)
    assert "was there before" in (await cli("enqueue", "work", "--key", "k")).out


async def test_runs_are_listed_by_filter_as_a_table_and_as_lines_of_json(cli: Cli) -> None:
    ids = [json.loads((await cli("enqueue", "work", "--delay", "1h", "--json")).out)["run_id"] for _ in range(3)]
    other = json.loads((await cli("enqueue", "refuse", "--json", "--wait")).out)["run_id"]
    table = await cli("runs", "list", "--status", "scheduled")
    assert all(run_id in table.out for run_id in ids)
    assert other not in table.out
    lines = (await cli("runs", "list", "--task", "work", "--json", "--limit", "2")).out.splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == ids[:0:-1]
    assert json.loads((await cli("runs", "list", "--status", "dead_lettered", "--json")).out)["run_id"] == other


async def test_waiting_runs_are_canceled_and_running_ones_asked_to_stop(cli: Cli) -> None:
    waiting = json.loads((await cli("enqueue", "work", "--delay", "2m", "--json")).out)["run_id"]
    running = json.loads((await cli("enqueue", "sleep", "--json")).out)["run_id"]
    async with started(CLI, "runs", "watch", running, "--json", environment=cli.environment) as watching:
        await line_with(watching, '"to_status": "running"')
        canceled = await cli("runs", "cancel", waiting, running, "--reason", "enough")
        assert canceled.code == 0
        assert f"{waiting}  canceled" in canceled.out
        assert f"{running}  running  asked to stop" in canceled.out
        await line_with(watching, '"to_status": "canceled"')
        assert await asyncio.wait_for(watching.wait(), 10) == 1  # it did not succeed
    again = await cli("runs", "cancel", json.loads((await cli("enqueue", "work", "--wait", "--json")).out)["run_id"])
    assert (again.code, again.out) == (3, "")
    assert "never changes again" in again.err


async def test_a_dead_letter_is_replayed_with_another_payload(cli: Cli) -> None:
    dead = await cli("enqueue", "refuse", "--wait", "--json")
    assert dead.code == 1
    old = json.loads(dead.out)
    assert old["status"] == "dead_lettered"
    replay = await cli("runs", "replay", old["run_id"], "--reason", "again", "--payload", "[1]", "--json")
    assert json.loads(replay.out)["replays"] == old["run_id"]
    shown = json.loads((await cli("runs", "get", json.loads(replay.out)["run_id"], "--json")).out)
    assert (shown["run"]["payload"], shown["transitions"][0]["note"]) == ([1], "again")


async def test_tasks_are_listed_paused_and_resumed(cli: Cli) -> None:
    listed = await cli("tasks", "list", "--json")
    assert [json.loads(line)["name"] for line in listed.out.splitlines()] == ["refuse", "sleep", "work"]
    paused = await cli("tasks", "pause", "work", "--reason", "deploy")
    assert "deploy" in paused.out
    held = json.loads((await cli("enqueue", "work", "--json")).out)["run_id"]
    assert "task_paused" in (await cli("runs", "get", held)).out
    assert json.loads((await cli("tasks", "resume", "work", "--json")).out)["paused_at"] is None
    assert (await cli("runs", "watch", held)).code == 0


WRONG = [
    (("enqueue", "nobody"), 3, "task 'nobody' is not registered"),
    (("enqueue", "work", "{"), 2, "is not JSON"),
    (("enqueue", "work", "--delay", "3x"), 2, "is no duration"),
    (("enqueue", "work", "--at", "noon"), 2, "is no time"),
    (("enqueue", "work", "--label", "x"), 2, "write key=value"),
    (("enqueue", "work", "--delay", "1s", "--at", "2030-01-01T00:00:00Z"), 3, "delay is set together with run_at"),
    (("runs", "get", "run_1"), 3, "run_id must be"),
    (("runs", "get", "run_01jd0000000000000000000000"), 4, "there is no run"),
    (("runs", "list", "--status", "done"), 2, "done"),
    (("runs", "watch", "run_01jd0000000000000000000000", "--task", "work"), 2, "watch one run, or those of"),
    (("tasks", "pause", "nobody"), 4, "there is no task"),
    (("tasks", "list", "--address", "127.0.0.1:1"), 5, "no answer from 127.0.0.1:1"),
]


async def test_what_is_wrong_is_said_on_stderr_and_in_the_exit_code(cli: Cli) -> None:
    for arguments, code, says in WRONG:
        ended = await cli(*arguments)
        assert (ended.code, ended.out) == (code, ""), arguments
        assert says in " ".join(ended.err.replace("│", " ").split()), arguments


async def test_dev_serves_at_once_keeps_its_data_and_is_refused_twice() -> None:
    with open_folder() as folder:
        data, port = str(folder / "data"), str(free_port())
        for fresh in (False, True):
            command = [CLI, "dev", "--data", data, "--port", port, *(["--fresh"] if fresh else [])]
            async with started(*command) as dev:
                assert port in await line_with(dev, "Layeron Job is ready")
                tasks = await run(CLI, "tasks", "list", "--json", "--address", f"127.0.0.1:{port}")
                assert (tasks.code, tasks.out) == (0, "")
                refused = await run(CLI, "dev", "--data", data, "--port", "0")
                assert refused.code == 3
                assert "already runs" in refused.err
                dev.send_signal(signal.SIGINT)
                assert await asyncio.wait_for(dev.wait(), 20) == 0


async def test_serve_asks_for_the_migration_it_needs(
    empty_database_url: str, nats_url: str, stream_prefix: str
) -> None:
    environment = {
        "LAYERON_JOB_DATABASE_URL": empty_database_url,
        "LAYERON_JOB_NATS_URL": nats_url,
        "LAYERON_JOB_NATS_PREFIX": stream_prefix,
        "LAYERON_JOB_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    refused = await run(CLI, "serve", environment=environment)
    assert refused.code == 3
    assert "run 'layeron-job migrate'" in refused.err
    assert "was empty" in (await run(CLI, "migrate", environment=environment)).out
    assert "as before" in (await run(CLI, "migrate", environment=environment)).out
    wrong = await run(CLI, "serve", environment={**environment, "LAYERON_JOB_LEASE_MS": "soon"})
    assert (wrong.code, "LAYERON_JOB_LEASE_MS" in wrong.err) == (2, True)
    wrong = await run(CLI, "serve", environment={**environment, "LAYERON_JOB_LEASE_MS": "8000"})
    assert wrong.code == 2
    assert "LAYERON_JOB_HEARTBEAT_INTERVAL_MS: " in wrong.err
    assert "at most a third of lease_ms, which is 8000" in wrong.err
    away = await run(
        CLI, "migrate", environment={**environment, "LAYERON_JOB_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    )
    assert (away.code, "cannot be reached" in away.err) == (5, True)
