"""`driver call`: answers requests through the Python client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, Final

from layeron_job import Client, JobError, WaitTimeout

from . import given, plain
from .lines import read, say

Asked = dict[str, Any]


async def call() -> None:
    """Answer each request in turn."""
    clients: dict[str, Client] = {}
    async with AsyncExitStack() as stack:
        async for asked in read():
            namespace = asked.get("namespace", "default")
            if namespace not in clients:
                clients[namespace] = await stack.enter_async_context(Client(namespace=namespace))
            try:
                say({"id": asked["id"], "ok": await _OPS[asked["op"]](clients[namespace], asked)})
            except (JobError, WaitTimeout, ValueError, TypeError) as error:
                say({"id": asked["id"], "error": plain.error(error)})


async def _enqueue(client: Client, asked: Asked) -> Asked:
    options = given.enqueue_options(asked.get("options", {}))
    return plain.enqueued(await client.enqueue(asked["task"], asked.get("payload"), **options))


async def _enqueue_batch(client: Client, asked: Asked) -> Asked:
    size = {name: asked[name] for name in ("batch_size",) if name in asked}
    made = await client.enqueue_batch(map(given.item, asked["items"]), **size)
    return {"results": [{"run_id": one.run_id, "created": one.created, "status": one.status} for one in made]}


async def _get(client: Client, asked: Asked) -> Asked:
    found = await client.runs.get(asked["run_id"])
    return {
        "run": plain.model(found.run),
        "attempts": [plain.model(one) for one in found.attempts],
        "transitions": [plain.model(one) for one in found.transitions],
    }


async def _list(client: Client, asked: Asked) -> Asked:
    wanted = given.run_filter(asked.get("filter", {}))
    runs: list[Asked] = []
    listed = client.runs.list(view=asked.get("view", "basic"), page_size=asked.get("page_size"), **wanted)
    async for run in listed:
        runs.append(plain.model(run))
        if len(runs) == asked.get("limit"):
            break
    return {"runs": runs}


async def _cancel(client: Client, asked: Asked) -> Asked:
    return {"run": plain.model(await client.runs.cancel(asked["run_id"], reason=asked.get("reason", "")))}


async def _replay(client: Client, asked: Asked) -> Asked:
    options = given.replay_options(asked.get("options", {}))
    return plain.enqueued(await client.runs.replay(asked["run_id"], reason=asked.get("reason", ""), **options))


async def _wait(client: Client, asked: Asked) -> Asked:
    return {"run": plain.model(await client.runs.wait(asked["run_id"], timeout=given.length(asked, "timeout")))}


async def _watch(client: Client, asked: Asked) -> Asked:
    wanted = {name: asked[name] for name in ("run_id", "task", "queue", "labels", "resume_token") if name in asked}
    limit = given.length(asked, "timeout")
    changes: list[Asked] = []
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(limit.total_seconds() if limit else None),
            aclosing(client.runs.watch(**wanted)) as watched,
        ):
            async for change in watched:
                changes.append(plain.model(change))
                if len(changes) == asked.get("count"):
                    break
    return {"changes": changes}


async def _tasks(client: Client, asked: Asked) -> Asked:
    return {"tasks": [plain.model(task) async for task in client.tasks.list()]}


async def _pause(client: Client, asked: Asked) -> Asked:
    return {"task": plain.model(await client.tasks.pause(asked["task"], asked.get("reason", "")))}


async def _resume(client: Client, asked: Asked) -> Asked:
    return {"task": plain.model(await client.tasks.resume(asked["task"]))}


_OPS: Final[dict[str, Callable[[Client, Asked], Awaitable[Asked]]]] = {
    "enqueue": _enqueue,
    "enqueue_batch": _enqueue_batch,
    "get": _get,
    "list": _list,
    "cancel": _cancel,
    "replay": _replay,
    "wait": _wait,
    "watch": _watch,
    "tasks": _tasks,
    "pause": _pause,
    "resume": _resume,
}
