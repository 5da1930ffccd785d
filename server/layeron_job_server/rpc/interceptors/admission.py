"""Bounds the RPCs of ours that are under way in this process: whoever comes beyond is refused at once.

This happens before the request is read, so that a flood costs no memory and little time. Those who wait and worker
streams are long, and have bounds of their own: they neither keep short calls out nor are kept out by them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import grpc
from grpc_status import rpc_status

from layeron_job_server.domain.errors import Overloaded
from layeron_job_server.rpc.errors import status_of
from layeron_job_server.settings import Settings

from .errors import OURS

_RETRY_AFTER: Final = timedelta(milliseconds=250)


class Room:
    """Room for so many RPCs of one kind."""

    def __init__(self, subject: str, places: int) -> None:
        self._places = places
        status = rpc_status.to_status(status_of(Overloaded(_RETRY_AFTER, subject)))

        async def refuse(_requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort_with_status(status)

        # Of any kind of RPC this is the handler that reads no request before it answers.
        self.refusal: Any = grpc.stream_stream_rpc_method_handler(refuse)

    def take(self) -> bool:
        """Take a place for the RPC whose task this is, until that ends; False if there is none."""
        task = asyncio.current_task()
        if self._places == 0 or task is None:
            return False
        self._places -= 1
        task.add_done_callback(self._leave)
        return True

    def _leave(self, _task: asyncio.Task[Any]) -> None:
        self._places += 1


class AdmissionInterceptor(grpc.aio.ServerInterceptor):
    """The first of the interceptors. Health and reflection always get in."""

    def __init__(self, settings: Settings) -> None:
        waits = Room("calls that wait or watch", settings.waits_max)
        self._calls = Room("calls", settings.calls_max)
        self._others = {
            f"{OURS}v1.JobService/WaitRun": waits,
            f"{OURS}v1.JobService/WatchRuns": waits,
            f"{OURS}v1.WorkerService/Work": Room("worker streams", settings.worker_streams_max),
        }

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, or one that refuses."""
        method = handler_call_details.method
        if method.startswith(OURS):
            room = self._others.get(method, self._calls)
            if not room.take():
                return room.refusal
        return await continuation(handler_call_details)
