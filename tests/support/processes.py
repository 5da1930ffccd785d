"""Server processes of a test's own, which it may kill."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

_READY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running `layeron-job serve`."""

    address: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def server_process(
    environment: Mapping[str, str], *options: str, address: str | None = None
) -> AsyncIterator[ServerProcess]:
    """Start `layeron-job serve`, on a free port unless told, and wait until it listens; at the end it is stopped."""
    address = address or f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "layeron-job"),
        "serve",
        *options,
        env={**os.environ, **environment, "LAYERON_JOB_GRPC_ADDRESS": address},
    )
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), _READY_SECONDS)
        yield ServerProcess(address, process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
