"""A reminder in the future, asked for as often as you like and sent once.

layeron-job dev                                          # in one terminal
python examples/python/reminder.py work                  # in another
python examples/python/reminder.py remind ann 3          # in three seconds: two minutes, a week, a year …
python examples/python/reminder.py forget ann            # she has signed up: no reminder any more
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from layeron_job import Client
from layeron_job_worker import Context, Worker

worker = Worker(concurrency=5)


@worker.task("remind", timeout=30)
async def remind(payload: dict[str, Any], ctx: Context) -> dict[str, str]:
    """Send the reminder. `ctx.run_id` is the same in every attempt: give it to the mail provider as its key."""
    ctx.log.info("reminding %s", payload["user"])
    return {"sent_to": payload["user"], "message_id": ctx.run_id}


async def ask(user: str, seconds: float) -> None:
    """Ask for a reminder of a user's trial. A second call finds the first one's run."""
    async with Client() as jobs:
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        # While a reminder of this user waits, the key is taken; once it was sent or canceled, it is free again.
        run = await jobs.enqueue(
            "remind",
            {"user": user, "about": "trial"},
            run_at=due,
            idempotency_key=f"trial:{user}",
            idempotency_window="while_active",
            labels={"user": user},
        )
        if run.created:
            print(f"{run.run_id} is due at {due:%H:%M:%S}")
        else:
            print(f"{run.run_id} was asked for before")


async def forget(user: str) -> None:
    """Cancel what waits for a user."""
    async with Client() as jobs:
        async for run in jobs.runs.list(
            task="remind", status=["scheduled", "queued", "retrying"], labels={"user": user}
        ):
            print(f"{run.run_id} {(await jobs.runs.cancel(run.run_id, reason='the user has signed up')).status}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["work"]:
            worker.main()
        case ["remind", user, seconds]:
            asyncio.run(ask(user, float(seconds)))
        case ["forget", user]:
            asyncio.run(forget(user))
        case _:
            sys.exit(__doc__)
