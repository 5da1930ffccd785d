"""Logs: what they carry, and what they never do."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc
from layeron_job import Client, JobError
from layeron_job_server.embedded import Postgres
from layeron_job_server.store.migrate import apply
from layeron_job_server.telemetry.logs import set_up_logs, told_of
from layeron_job_worker import Context, Retry, Worker
from support.commands import CLI, run
from support.processes import free_port
from support.waiting import eventually

MARKER = "pl4nted-m4rker"
TRACE = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
# What lets PostgreSQL quote the payload in its error: as a detail of a broken rule, and as a message nobody foresaw.
_QUARRELS = (
    "alter table runs add constraint quarrel check (payload::text not like '%secret%') not valid",
    """
    create function quarrel() returns trigger language plpgsql as $$
    begin raise exception 'no, not %', new.payload; end $$;
    create trigger quarrel before insert on runs for each row execute function quarrel();
    """,
)


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    logging.captureWarnings(False)
    root.setLevel(level)
    root.handlers[:] = handlers


async def test_neither_payload_nor_token_nor_password_is_in_any_log_of_a_run_full_of_errors(
    environment: dict[str, str], postgres_server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG: bad payloads, failing handlers, a database that quotes payloads in its errors and then goes away."""
    url = await _with_password(postgres_server.url, MARKER)
    await apply(url)
    caplog.set_level(logging.DEBUG)  # of client and worker, which are in this process
    log = tmp_path / "server.log"
    address = f"127.0.0.1:{free_port()}"
    told = {
        **environment,
        "LAYERON_JOB_LOG_LEVEL": "debug",
        "LAYERON_JOB_NATS_TOKEN": f"{MARKER}-nats",
        "LAYERON_JOB_DATABASE_URL": url,
        "LAYERON_JOB_GRPC_ADDRESS": address,
    }
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(CLI, "serve", env={**os.environ, **told}, stderr=stderr)
        try:
            await _provoke(address, url)
            await postgres_server.kill()
            await eventually(lambda: "the database is away" in log.read_text())
        finally:
            process.terminate()
            await process.wait()
    refused = await run(CLI, "migrate", environment=told)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert refused.code != 0
    assert MARKER not in log.read_text() + refused.err + refused.out + caplog.text
    assert any("SQLSTATE P0001" in line.get("error", "") for line in lines), "the bug was not provoked"
    assert {line["status"] for line in lines if "run_id" in line} >= {"queued", "running"}
    (dead,) = [line for line in lines if "dead_lettered" in line.get("status", "")]
    assert (dead["level"], dead["task"], dead["attempt"]) == ("info", "work", 1)
    assert dead["trace_id"] == "1" * 32


async def _provoke(address: str, database_url: str) -> None:
    worker = Worker(address)

    @worker.task("work", retry=Retry(attempts=1))
    async def work(payload: Any, _ctx: Context) -> None:
        raise ValueError(payload["secret"])

    working = asyncio.create_task(worker.run(install_signal_handlers=False))
    async with Client(address, token=f"{MARKER}-token") as jobs, grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(worker.ready.wait(), 20)
        enqueued = await jobs.enqueue("work", {"secret": MARKER}, labels={"secret": MARKER}, trace_context=TRACE)
        await jobs.runs.wait(enqueued.run_id)
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        for request in (
            pb.EnqueueRequest(task="work", payload_json=f'{{"{MARKER}'.encode()),
            pb.EnqueueRequest(task="work", payload_json=f'"{MARKER}\\u0000"'.encode()),
            pb.EnqueueRequest(task="work", labels={MARKER: "\0"}),
            pb.EnqueueRequest(task=f"{MARKER} no name"),
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Enqueue(request)
        worker.stop()
        await working
        database = await asyncpg.connect(database_url)
        try:
            for quarrel in _QUARRELS:
                await database.execute(quarrel)
                with pytest.raises(JobError):
                    await jobs.enqueue("work", {"secret": MARKER})
                with pytest.raises(JobError):
                    await jobs.enqueue_batch([("work", {"secret": MARKER})])
        finally:
            await database.close()


async def test_json_lines_carry_fields_span_and_error_without_its_message(
    root_logger: None, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("info", "json")
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("here") as span:
        try:
            raise ValueError(MARKER)
        except ValueError:
            logging.getLogger("layeron_job_server.test").exception(
                "%s failed", "it", extra={"run_id": "run_1", "attempt": 2}
            )
    line = json.loads(capsys.readouterr().err)
    context = span.get_span_context()
    assert line["event"] == "it failed"
    assert (line["level"], line["logger"]) == ("error", "layeron_job_server.test")
    assert (line["run_id"], line["attempt"]) == ("run_1", 2)
    assert (line["trace_id"], line["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert line["error"] == "ValueError"
    assert line["places"][-1].endswith("test_json_lines_carry_fields_span_and_error_without_its_message")
    assert MARKER not in json.dumps(line)


def test_console_lines_tell_errors_without_their_message(root_logger: None, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", "console")
    try:
        raise ValueError(MARKER)
    except ValueError:
        logging.getLogger("layeron_job_server.test").exception("it failed")
    line = capsys.readouterr().err
    assert "it failed" in line
    assert "ValueError" in line
    assert MARKER not in line


def test_of_a_database_error_kind_and_sqlstate_are_told() -> None:
    error = asyncpg.PostgresError.new({"C": "22P02", "M": MARKER, "D": MARKER})
    assert told_of(error) == "asyncpg.exceptions.InvalidTextRepresentationError (SQLSTATE 22P02)"
    assert told_of(ConnectionRefusedError(111, "Connection refused")) == "ConnectionRefusedError: Connection refused"


async def _with_password(url: str, password: str) -> str:
    """The same database, whose user has this password now."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"alter role current_user password '{password}'")
    finally:
        await connection.close()
    user, _, place = url.partition("://")[2].rpartition("@")
    return f"postgresql://{user.partition(':')[0]}:{password}@{place}"
