"""Webhook delivery: signed, retried for as long as it makes sense, and seen in every detail.

    layeron-job dev                                                     # in one terminal
    python examples/python/webhook_delivery.py work                     # in another
    python examples/python/webhook_delivery.py send https://example.com/hooks

`work` runs the worker. `send` asks for one delivery, waits for its end and prints every attempt. The receiver checks
the signature with the same secret and any Standard Webhooks library. $WEBHOOK_SECRET is that secret, and
$WEBHOOK_ALLOW names networks that are not public but may be sent to, such as 127.0.0.0/8.
"""

from __future__ import annotations

import asyncio
import os
import sys

from layeron_job import Client
from layeron_job_worker import Retry, Worker
from layeron_job_worker.webhooks import Webhooks

worker = Worker(concurrency=20)


def work() -> None:
    """Deliver until SIGTERM or Ctrl-C."""
    allowed = os.environ.get("WEBHOOK_ALLOW", "").split()
    webhooks = Webhooks(secret=os.environ["WEBHOOK_SECRET"], allow_networks=allowed)
    retry = Retry(attempts=8, backoff=[1, 5, 30, 120, 600, 3600])
    worker.task("deliver-webhook", retry=retry, timeout=30)(webhooks)
    worker.main()


async def send(url: str) -> int:
    """Deliver one event and show how it went; 0 if it arrived."""
    async with Client() as jobs:
        event = {"type": "invoice.paid", "data": {"invoice": "in_1042", "amount": 4200}}
        # The key makes a repeat of this very call harmless: the same event is delivered once.
        run = await jobs.enqueue(
            "deliver-webhook",
            {"url": url, "body": event},
            idempotency_key=f"in_1042.paid:{url}",
            labels={"event": "in_1042"},
        )
        ended = await jobs.runs.wait(run.run_id)
        for attempt in (await jobs.runs.get(run.run_id)).attempts:
            print(f"attempt {attempt.number}: {attempt.status} {attempt.error_message}".rstrip())
        print(f"{run.run_id}: {ended.status} {ended.result}")
    return 0 if ended.status == "succeeded" else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work"]:
            work()
        case ["send", url]:
            sys.exit(asyncio.run(send(url)))
        case _:
            sys.exit(__doc__)
