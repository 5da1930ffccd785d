"""Makes the planned calls, with the client that users have, and writes down what was asked and what was answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from layeron_job import Client, Exponential, Item, Retry
from layeron_job.errors import REASONS, DeadlineExceeded, InternalError, JobError, Overloaded, Unavailable

from .plan import CLIENTS, PAUSABLE, Call
from .records import EPOCH, Answered, Asked, Operation, Outcome

POLICIES: Final[Mapping[str, Retry]] = {
    "fixed": Retry(attempts=4, backoff=0.3),
    "custom": Retry(attempts=5, backoff=[0.1, 0.5, 1]),
    "exponential": Retry(attempts=6, backoff=Exponential(0.1, 2, 2), jitter=0),
    "jitter": Retry(attempts=5, backoff=0.4, jitter=1),
    "elapsed": Retry(attempts=50, backoff=0.5, max_elapsed=4),
    "fatal": Retry(attempts=5, backoff=0.2, non_retryable=["Fatal", "Timeout"]),
}
_CLIENT_SECONDS: Final = 4.0
_AGAIN_SECONDS: Final = 0.3
_REPEATS_MAX: Final = 4
# A client that was told one of these knows nothing: an earlier try of the same call may have been successful.
_INDEFINITE: Final = (Unavailable, DeadlineExceeded, Overloaded, InternalError)


class Workload:
    """Clients that know one server or both, and the history of what they did."""

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self.history: list[Operation] = []
        self._clients = clients

    async def run(self, calls: Sequence[Call], began: float) -> None:
        """Make the calls at their times after `began` (monotonic); ends once all are answered."""
        async with asyncio.TaskGroup() as under_way:
            for call in calls:
                await asyncio.sleep(began + call.at_seconds - time.monotonic())
                under_way.create_task(self._make(call))

    async def resume_all(self) -> None:
        """Leave no task paused, again and again: a pause that nobody knows the outcome of may come late."""
        while True:
            for task in PAUSABLE:
                await self._once(Call(0, "resume", CLIENTS[0], target=task), CLIENTS[0])
            await asyncio.sleep(1)

    async def _make(self, call: Call) -> None:
        """Also again, by other clients, while nobody knows whether it was done."""
        turn = CLIENTS.index(call.client)
        for repeat in range(_REPEATS_MAX):
            operation = await self._once(call, CLIENTS[(turn + repeat) % len(CLIENTS)])
            if operation.outcome != "unknown" or not call.again:
                break
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _once(self, call: Call, name: str) -> Operation:
        began_ns = time.monotonic_ns()
        outcome: Outcome = "ok"
        reason = ""
        answers: tuple[Answered, ...] = ()
        try:
            answers = await _answers(self._clients[name], call)
        except JobError as error:
            reason = error.reason or error.code.name
            outcome = "fail" if error.reason in REASONS and not isinstance(error, _INDEFINITE) else "unknown"
        operation = Operation(
            call.kind, name, began_ns, time.monotonic_ns(), outcome, reason, call.asked, answers, call.target
        )
        self.history.append(operation)
        return operation


@asynccontextmanager
async def clients(addresses: Mapping[str, str]) -> AsyncIterator[dict[str, Client]]:
    """The clients of the plan, by name."""
    own = list(addresses.values())
    known = {"both": own, "turned": own[::-1], **{server: [address] for server, address in addresses.items()}}
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Client(known[name], timeout=_CLIENT_SECONDS)) for name in CLIENTS}


async def _answers(client: Client, call: Call) -> tuple[Answered, ...]:
    match call.kind:
        case "enqueue":
            (asked,) = call.asked
            made = await client.enqueue(asked.task, asked.payload, **_options(asked))
            return (Answered(made.run_id, made.status, made.created),)
        case "batch":
            items = [Item(asked.task, asked.payload, **_options(asked)) for asked in call.asked]
            results = await client.enqueue_batch(items)
            return tuple(Answered(one.run_id, one.status, one.created) for one in results)
        case "replay":
            (asked,) = call.asked
            made = await client.runs.replay(asked.replays, reason="again", new_run_id=asked.run_id)
            return (Answered(made.run_id, made.status, made.created),)
        case "cancel":
            run = await client.runs.cancel(call.target, reason="no more")
            return (Answered(run.run_id, run.status, False),)
        case "get":
            run = (await client.runs.get(call.target)).run
            return (Answered(run.run_id, run.status, False),)
        case "pause":
            await client.tasks.pause(call.target)
        case "resume":
            await client.tasks.resume(call.target)
    return ()


def _options(asked: Asked) -> dict[str, Any]:
    return {
        "run_id": asked.run_id,
        "delay": asked.delay_ms / 1000 if asked.delay_ms else None,
        "run_at": None if asked.run_at_us is None else EPOCH + timedelta(microseconds=asked.run_at_us),
        "start_by": None if asked.start_by_us is None else EPOCH + timedelta(microseconds=asked.start_by_us),
        "idempotency_key": asked.key,
        "idempotency_window": asked.window,
        "retry": POLICIES.get(asked.policy),
    }
