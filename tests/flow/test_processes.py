"""`layeron-job serve --processes N`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from layeron_job import Client, TaskDefinition
from support.processes import free_port, server_process

_CLI = Path(sys.executable).parent / "layeron-job"


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def _serve(environment: dict[str, str], address: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(_CLI, "serve", "--processes", "2"),
        env={**os.environ, **environment, "LAYERON_JOB_GRPC_ADDRESS": address},
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, told.decode()


async def test_processes_share_a_port_and_one_that_is_killed_is_started_again(environment: dict[str, str]) -> None:
    async with server_process(environment, "--processes", "2") as server, asyncio.timeout(60):
        first = _children(server.process.pid)
        assert len(first) == 2
        async with Client(server.address) as jobs:
            await jobs.tasks.register([TaskDefinition("work")])
            made = [await jobs.enqueue("work", number) for number in range(20)]
            os.kill(min(first), signal.SIGKILL)
            made += [await jobs.enqueue("work", number) for number in range(20)]
            assert len({result.run.run_id for result in made}) == 40
            while len(_children(server.process.pid) - {min(first)}) != 2:
                await asyncio.sleep(0.05)
        second = _children(server.process.pid)
        server.process.terminate()
        assert await server.process.wait() == 0
        assert not [pid for pid in second if Path(f"/proc/{pid}").exists()]


async def test_processes_do_not_share_a_port_with_another_program(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        code, told = await _serve(environment, f"127.0.0.1:{other.getsockname()[1]}")
    assert code == 5
    assert "in use" in told


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.1"])
async def test_processes_need_a_port_that_they_can_share(environment: dict[str, str], address: str) -> None:
    code, told = await _serve(environment, address)
    assert code == 2
    assert "several processes need an address with a port to share" in told


async def test_one_process_shares_its_port_with_nobody(environment: dict[str, str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with server_process(environment, address=address):
        process = await asyncio.create_subprocess_exec(
            *(_CLI, "serve"),
            env={**os.environ, **environment, "LAYERON_JOB_GRPC_ADDRESS": address},
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 5
    assert b"cannot listen" in told
