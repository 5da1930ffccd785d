"""`layeron-job serve --processes N`: server processes that share a port; one that ends by itself is started again.

Health and metrics are each process's own, so each has an HTTP port of its own: they count up from the one that is set.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 1.0
_COMMAND: Final = (sys.executable, "-m", "layeron_job_server", "serve")


async def keep(count: int, address: str, http_address: str) -> None:
    """Run so many servers on host:port until SIGTERM or SIGINT, then stop them in order.

    Raises OSError when the address cannot be had, ValueError when it has no port that they could share.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    with _reserved(address):
        https = [http_address_of(number, http_address) for number in range(1, count + 1)]
        await asyncio.gather(*(_keep_one(number, http, stop) for number, http in enumerate(https, 1)))


def http_address_of(number: int, address: str) -> str:
    """Where the process of this number, from 1, serves HTTP. Port 0 stays one that is free, and "" is none."""
    host, colon, port = address.rpartition(":")
    return f"{host}{colon}{int(port) + number - 1}" if port.isdecimal() and port != "0" else address


async def _keep_one(number: int, http_address: str, stop: asyncio.Event) -> None:
    environment = {**os.environ, "LAYERON_JOB_SHARE_PORT": "true", "LAYERON_JOB_HTTP_ADDRESS": http_address}
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        # Ctrl-C reaches a session of its own only through us, so that nobody is told twice.
        process = await asyncio.create_subprocess_exec(*_COMMAND, env=environment, start_new_session=True)
        ended = asyncio.create_task(process.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            with suppress(ProcessLookupError):
                process.terminate()
            await ended
            return
        log.error("server process %d (pid %d) ended with %d and is started again", number, process.pid, ended.result())
        await asyncio.wait([stopping], timeout=_AGAIN_SECONDS)


@contextmanager
def _reserved(address: str) -> Iterator[None]:
    """Hold the port while nobody else listens on it: what shares it must not be another program's."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or port == "0":
        raise ValueError(f"several processes need an address with a port to share, and not {address!r}")
    family, *_, bound = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(bound)
    with socket.socket(family) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(bound)
        yield
