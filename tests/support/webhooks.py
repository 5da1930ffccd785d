"""What the tests of webhooks share."""

from __future__ import annotations

import base64
from typing import Any

from layeron_job_worker.testing import TaskOutcome, run_task
from layeron_job_worker.webhooks import Webhooks

LOOPBACK = ["127.0.0.0/8"]


def secret(letter: bytes = b"s") -> str:
    """A secret of 32 such bytes."""
    return f"whsec_{base64.b64encode(letter * 32).decode()}"


SECRET = secret()


async def deliver(webhooks: Webhooks, url: str, **options: Any) -> TaskOutcome:
    """Deliver one webhook; `options` are further fields of the payload."""
    return await run_task(webhooks, "deliver-webhook", {"url": url, "body": {"n": 1}, **options})
