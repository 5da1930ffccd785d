"""What the fixtures of tests/flow answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from layeron_job import Client
from layeron_job_server.app import App
from layeron_job_worker import Worker

StartServer: TypeAlias = Callable[..., Awaitable[App]]
StartWorker: TypeAlias = Callable[[Worker], Awaitable[Worker]]
NewClient: TypeAlias = Callable[..., Awaitable[Client]]
