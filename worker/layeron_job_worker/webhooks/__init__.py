"""A ready handler that delivers webhooks as Standard Webhooks has them. Needs `layeron-job-worker[webhooks]`.

    webhooks = Webhooks(secret=os.environ["WEBHOOK_SECRET"])
    worker.task("deliver-webhook", retry=Retry(attempts=8, backoff=[10, 30, 120, 300, 900]))(webhooks)

and then, in the application,

    client.enqueue("deliver-webhook", {"url": "https://…", "type": "invoice.paid", "data": {"id": "inv_1"}})
"""

from layeron_job_worker.webhooks.guard import AddressRefused
from layeron_job_worker.webhooks.handler import ConnectionFailed, NoAnswer, Webhooks
from layeron_job_worker.webhooks.message import PayloadInvalid
from layeron_job_worker.webhooks.secrets import SecretMissing

__all__ = ["AddressRefused", "ConnectionFailed", "NoAnswer", "PayloadInvalid", "SecretMissing", "Webhooks"]
