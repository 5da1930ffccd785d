"""The worker of the demo: delivers webhooks, and makes a report that takes long."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from layeron_job_worker import Context, Retry, Worker
from layeron_job_worker.webhooks import Webhooks

worker = Worker(concurrency=10, build_id="demo")
webhooks = Webhooks(secret=os.environ["WEBHOOK_SECRET"], allow_networks=["127.0.0.0/8"])
worker.task("deliver-webhook", retry=Retry(attempts=4, backoff=[1, 2, 4]), timeout=10)(webhooks)


@worker.task("make-report")
async def make_report(payload: dict[str, Any], ctx: Context) -> dict[str, int]:
    """Goes through so many pages, a second each, and tells how far it is."""
    for page in range(1, payload["pages"] + 1):
        await asyncio.sleep(1)
        ctx.progress({"page": page, "of": payload["pages"]})
    return {"pages": payload["pages"]}


if __name__ == "__main__":
    worker.main()
