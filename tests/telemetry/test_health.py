"""What orchestrators ask: is it alive, is it ready, does the worker pull."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import asyncpg
import pytest

from layeron_job import Client
from layeron_job_server.cli.processes import http_address_of
from layeron_job_server.embedded import Nats, Postgres
from layeron_job_server.store.migrate import apply
from layeron_job_worker.health import VARIABLE
from support.commands import CLI, Ended, run
from support.processes import server_process
from support.waiting import eventually
from support.worker_process import worker_process

_MAX_AGE = "4"


async def test_with_nats_killed_the_server_is_degraded_and_the_worker_stale_within_10_s_and_both_recover(
    database_url: str,
    environment: dict[str, str],
    http_address: str,
    nats_server: Nats,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "worker.health"
    monkeypatch.setenv(VARIABLE, str(file))
    async with (
        server_process({**environment, "LAYERON_JOB_NATS_URL": nats_server.url}) as server,
        worker_process(server.address, tmp_path),
        Client(server.address) as jobs,
    ):
        await eventually(lambda: _ready(http_address, "ok"))
        await eventually(lambda: _worker_is_well(file))
        await nats_server.kill()
        killed = time.monotonic()
        await eventually(lambda: _ready(http_address, "degraded"), seconds=10)
        await eventually(lambda: _worker_is_stale(file), seconds=10, every=0.2)
        assert time.monotonic() - killed < 10
        enqueued = await jobs.enqueue("work", {"n": 1})
        assert (await _get(f"http://{http_address}/healthz"))[0] == 200
        await nats_server.restart()
        await eventually(lambda: _ready(http_address, "ok"), seconds=20)
        await eventually(lambda: _worker_is_well(file), seconds=20, every=0.2)
        assert (await jobs.runs.wait(enqueued.run_id, timeout=30)).status == "succeeded"


async def test_without_its_database_a_server_is_alive_and_not_ready(
    environment: dict[str, str], http_address: str, postgres_server: Postgres
) -> None:
    await apply(postgres_server.url)
    async with server_process({**environment, "LAYERON_JOB_DATABASE_URL": postgres_server.url}):
        await eventually(lambda: _ready(http_address, "ok"))
        await postgres_server.kill()
        await eventually(lambda: _ready(http_address, "unavailable"), seconds=10)
        assert (await _get(f"http://{http_address}/readyz"))[0] == 503
        assert (await _get(f"http://{http_address}/healthz"))[0] == 200
        await postgres_server.restart()
        await eventually(lambda: _ready(http_address, "ok"), seconds=20)


async def test_a_server_whose_database_can_only_be_read_is_not_ready(
    environment: dict[str, str], http_address: str, postgres_server: Postgres
) -> None:
    await apply(postgres_server.url)
    database = await asyncpg.connect(postgres_server.url)
    await database.execute("alter role current_user set default_transaction_read_only = on")
    await database.close()
    async with server_process({**environment, "LAYERON_JOB_DATABASE_URL": postgres_server.url}):
        await eventually(lambda: _ready(http_address, "unavailable"))


async def test_each_process_of_a_server_has_an_http_port_of_its_own(
    environment: dict[str, str], http_address: str
) -> None:
    host, _, port = http_address.partition(":")
    async with server_process(environment, "--processes", "2"):
        for number in range(2):
            address = f"{host}:{int(port) + number}"
            await eventually(lambda address=address: _ready(address, "ok"))  # type: ignore[misc] # mypy cannot see through the default
    assert http_address_of(2, "[::]:7234") == "[::]:7235"
    assert [http_address_of(3, address) for address in ("127.0.0.1:0", "")] == ["127.0.0.1:0", ""]


async def test_an_http_port_that_is_taken_is_an_error_that_names_it(
    environment: dict[str, str], http_address: str
) -> None:
    async with server_process(environment):
        refused = await run(CLI, "serve", environment={**environment, "LAYERON_JOB_GRPC_ADDRESS": "127.0.0.1:0"})
    assert refused.code == 5
    assert f"cannot serve HTTP on {http_address}" in refused.err


async def test_a_collector_that_is_away_holds_up_neither_calls_nor_the_end(environment: dict[str, str]) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "LAYERON_JOB_DRAIN_SECONDS": "0.5"}
    async with server_process({**environment, **away}) as server:
        async with Client(server.address, timeout=2) as jobs:
            assert [task async for task in jobs.tasks.list()] == []
        told = time.monotonic()
        server.process.terminate()
        assert await server.process.wait() == 0
    assert time.monotonic() - told < 8


async def test_a_worker_that_is_stopped_is_stale_and_one_that_goes_on_is_well(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "worker.health"
    monkeypatch.setenv(VARIABLE, str(file))
    async with server_process(environment) as server, worker_process(server.address, tmp_path) as worker:
        await eventually(lambda: _worker_is_well(file))
        worker.tell(signal.SIGSTOP)
        await eventually(lambda: _worker_is_stale(file), seconds=10, every=0.2)
        worker.tell(signal.SIGCONT)
        await eventually(lambda: _worker_is_well(file), seconds=20, every=0.2)


async def test_a_worker_that_never_was_well_is_not(tmp_path: Path) -> None:
    judged = await _judge(tmp_path / "never")
    assert judged.code == 1
    assert "never well" in judged.err


async def _worker_is_well(file: Path) -> bool:
    return (await _judge(file)).code == 0


async def _worker_is_stale(file: Path) -> bool:
    return (await _judge(file)).code == 1


async def _judge(file: Path) -> Ended:
    return await run(sys.executable, "-m", "layeron_job_worker.health", str(file), "--max-age", _MAX_AGE)


async def _ready(address: str, status: str) -> bool:
    try:
        _, text = await _get(f"http://{address}/readyz")
    except OSError:  # it does not listen yet
        return False
    return bool(json.loads(text)["status"] == status)


async def _get(url: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)
