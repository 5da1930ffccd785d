"""The client: asks for runs, and leads to the runs and tasks of its namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import grpc

from layeron.job.v1 import job_service_pb2 as pb

from . import batches, convert, tracing
from .batches import Items
from .calls import Calls
from .durations import Seconds
from .ids import new_run_id
from .models import BatchResult, Enqueued, Item, Priority, Window
from .progress import Progress, shown
from .retry import Retry
from .runs import Runs
from .tasks import Tasks


class Client:
    """A client of Layeron Job, for one namespace.

        async with Client() as jobs:
            run = await jobs.enqueue("send-mail", {"to": "ada@example.com"})
            ended = await jobs.runs.wait(run.run_id)

    address      host:port, or several (a list, or joined with commas) of which the first that answers is used;
                 by default $LAYERON_JOB_ADDRESS, else localhost:7233
    credentials  for TLS, such as grpc.ssl_channel_credentials(); without them the connection is not encrypted
    token        sent with every call as `authorization: Bearer …`
    timeout      of each call, repeats included: what is UNAVAILABLE is tried again until then

    Every error of a call is a JobError. A client belongs to one event loop.
    """

    def __init__(
        self,
        address: str | Sequence[str] | None = None,
        *,
        namespace: str = "default",
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        timeout: Seconds = 10,
    ) -> None:
        self.namespace = namespace
        self._calls = Calls(address, credentials=credentials, token=token, timeout=timeout)
        self.runs = Runs(self._calls, namespace)
        self.tasks = Tasks(self._calls, namespace)

    def __repr__(self) -> str:
        return f"Client({','.join(self._calls.addresses)!r}, namespace={self.namespace!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections, and with them every call under way."""
        await self._calls.close()

    async def enqueue(
        self,
        task: str,
        payload: Any = None,
        *,
        run_id: str | None = None,
        delay: Seconds | None = None,
        run_at: datetime | None = None,
        start_by: datetime | None = None,
        idempotency_key: str | None = None,
        idempotency_window: Window | None = None,
        idempotency_ttl: Seconds | None = None,
        retry: Retry | None = None,
        timeout: Seconds | None = None,
        labels: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        name: str = "",
        payload_encoding: str = "",
        trace_context: Mapping[str, str] | None = None,
    ) -> Enqueued:
        """Ask for one run. Once this returns, the run is durable.

        payload             anything that json.dumps takes: at most 256 KiB, integers within ±(2^53-1), depth at most 20
        run_id              from new_run_id(), to make the repeat of a whole program safe; by default a new one
        delay, run_at       start no earlier: so long from now, or at this time with its zone; set at most one
        start_by            if it has not started by then, it is dead-lettered
        idempotency_key     while it is taken, the same request answers the first run: see `created` in the answer
        idempotency_window  how long: "ttl" (by default, for idempotency_ttl or 24 hours), "while_active", "forever"
        retry, timeout,     replace the task's own; timeout is that of one attempt, not of this call
          priority
        labels              at most 16; runs can be listed by them
        name                for people
        payload_encoding    set if the payload is an envelope that nobody but the handler understands
        trace_context       W3C trace context: traceparent, tracestate, baggage; by default that of the current span

        Raises TaskNotRegistered, InvalidRequest, IdempotencyKeyReused, RunIdReused, Overloaded, Unavailable,
        DeadlineExceeded, and ValueError or TypeError for what cannot be sent at all.
        """
        item = Item(
            task,
            payload,
            run_id=run_id,
            delay=delay,
            run_at=run_at,
            start_by=start_by,
            idempotency_key=idempotency_key,
            idempotency_window=idempotency_window,
            idempotency_ttl=idempotency_ttl,
            retry=retry,
            timeout=timeout,
            labels=labels,
            priority=priority,
            name=name,
            payload_encoding=payload_encoding,
            trace_context=trace_context,
        )
        request = convert.enqueue_request(item, convert.given("run_id", run_id) or new_run_id())
        request.namespace = self.namespace
        request.json_form = pb.JSON_FORM_BYTES
        with tracing.call("Enqueue"):
            answer = await self._calls.unary(lambda server: server.jobs.Enqueue, request)
        # Of an id that was chosen here only this call can have made a run, if in a try whose answer was lost.
        made_here = run_id is None and answer.run.run_id == request.run_id
        return Enqueued(convert.run(answer.run), created=answer.created or made_here, pruned=answer.pruned)

    async def enqueue_batch(
        self,
        items: Items,
        *,
        batch_size: int = 500,
        concurrency: int = 2,
        progress: Progress | bool | None = None,
    ) -> list[BatchResult]:
        """Ask for many runs; one result per item, in order.

        items        Items or (task, payload), from any iterable, async too; read as they are sent, so there may be
                     more of them than fit into memory
        batch_size   how many go into one call, 1 to 1,000; a call also stays below 4 MiB and is made as a whole or
                     not at all
        concurrency  how many calls are under way at once
        progress     called with (done, total or None) after each call; True: a bar on stderr, if it is a terminal

        An overloaded server is waited for, up to the client's timeout for each call. An error ends the batch once what
        is under way has ended: `enqueued` of a JobError has the results by the place of their items, and violations
        name items by their place in the whole. Give the items run ids or idempotency keys to repeat a batch safely.
        """
        with shown(progress) as told:
            return await batches.enqueue_batch(
                self._calls, self.namespace, items, batch_size=batch_size, concurrency=concurrency, progress=told
            )
