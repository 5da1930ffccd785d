"""The examples, run as their first lines say: against `layeron-job dev`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from standardwebhooks import Webhook

from layeron_job import Client, Unavailable
from support import eventually, open_folder
from support.commands import CLI, ROOT, Ended, line_with, run, started
from support.processes import free_port
from support.receiver import open_receiver, reply
from support.webhooks import SECRET

EXAMPLES = ROOT / "examples" / "python"


@pytest.fixture
async def dev() -> AsyncIterator[dict[str, str]]:
    """The environment of a `layeron-job dev` that runs meanwhile."""
    with open_folder() as folder:
        port = str(free_port())
        async with started(CLI, "dev", "--data", str(folder / "data"), "--port", port) as process:
            await line_with(process, "Layeron Job is ready")
            yield {"LAYERON_JOB_ADDRESS": f"127.0.0.1:{port}", "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW": "127.0.0.0/8"}


async def example(name: str, *arguments: str, environment: dict[str, str]) -> Ended:
    return await run(sys.executable, str(EXAMPLES / name), *arguments, environment=environment)


async def registered(environment: dict[str, str], task: str) -> None:
    async with Client(environment["LAYERON_JOB_ADDRESS"]) as jobs:

        async def there() -> bool:
            try:
                return task in [one.name async for one in jobs.tasks.list()]
            except Unavailable:
                return False

        await eventually(there, seconds=20)


async def test_webhooks_are_delivered_signed_and_retried(dev: dict[str, str]) -> None:
    answers = iter([503, 200])

    async def busy_at_first(writer: asyncio.StreamWriter) -> None:
        writer.write(reply(next(answers)))

    async with (
        open_receiver() as receiver,
        started(sys.executable, str(EXAMPLES / "webhook_delivery.py"), "work", environment=dev),
    ):
        receiver.answer = busy_at_first
        await registered(dev, "deliver-webhook")
        sent = await example("webhook_delivery.py", "send", f"{receiver.url}/hooks", environment=dev)
        assert (sent.code, sent.err) == (0, "")
        assert "attempt 1: failed" in sent.out
        assert "attempt 2: succeeded" in sent.out
        again = await example("webhook_delivery.py", "send", f"{receiver.url}/hooks", environment=dev)
        assert again.out == sent.out  # one key, one run
    assert [request.target for request in receiver.requests] == ["/hooks", "/hooks"]
    for request in receiver.requests:
        Webhook(SECRET).verify(request.body, request.headers)


async def test_a_reminder_is_sent_once_however_often_it_is_asked_for(dev: dict[str, str]) -> None:
    async with (
        started(sys.executable, str(EXAMPLES / "reminder.py"), "work", environment=dev),
        Client(dev["LAYERON_JOB_ADDRESS"]) as jobs,
    ):
        await registered(dev, "remind")
        asked = [await example("reminder.py", "remind", "ann", "3", environment=dev) for _ in range(2)]
        first, second = (ended.out.split()[0] for ended in asked)
        assert first == second
        assert "is due at" in asked[0].out
        assert (await jobs.runs.wait(first, timeout=20)).result == {"sent_to": "ann", "message_id": first}
        later = (await example("reminder.py", "remind", "ann", "60", environment=dev)).out.split()[0]
        assert later != first
        assert (await example("reminder.py", "forget", "ann", environment=dev)).out == f"{later} canceled\n"
        assert (await jobs.runs.get(later)).run.status == "canceled"
