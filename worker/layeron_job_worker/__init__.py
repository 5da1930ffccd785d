"""Runs the handlers of Layeron Job: `Worker`, what handlers get, and what they may raise."""

from layeron_job.retry import Exponential, Fixed, Retry
from layeron_job_worker.context import Context
from layeron_job_worker.errors import DoNotRetry, RetryAfter, WorkerError
from layeron_job_worker.worker import Worker

__all__ = ["Context", "DoNotRetry", "Exponential", "Fixed", "Retry", "RetryAfter", "Worker", "WorkerError"]
