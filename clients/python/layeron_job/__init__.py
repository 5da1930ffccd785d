"""Client of Layeron Job, a durable background-job service.

from layeron_job import Client

async with Client("localhost:7233") as jobs:
    run = await jobs.enqueue("send-mail", {"to": "ada@example.com"}, idempotency_key="welcome-7")
"""

from importlib.metadata import version

from .client import Client
from .errors import (
    DeadlineExceeded,
    FilterTooBroad,
    IdempotencyKeyReused,
    InternalError,
    InvalidRequest,
    JobError,
    Overloaded,
    PageTokenInvalid,
    PermissionDenied,
    RunAlreadyFinished,
    RunIdReused,
    RunNotFinished,
    RunNotFound,
    TaskNotFound,
    TaskNotRegistered,
    Unauthenticated,
    Unavailable,
    WaitTimeout,
    WatchTokenExpired,
)
from .ids import new_run_id
from .models import (
    Attempt,
    BatchResult,
    Enqueued,
    Item,
    Page,
    Run,
    RunChange,
    RunDetails,
    Task,
    TaskDefinition,
    Transition,
)
from .retry import Exponential, Fixed, Retry

__version__ = version("layeron-job")

__all__ = [
    "Attempt",
    "BatchResult",
    "Client",
    "DeadlineExceeded",
    "Enqueued",
    "Exponential",
    "FilterTooBroad",
    "Fixed",
    "IdempotencyKeyReused",
    "InternalError",
    "InvalidRequest",
    "Item",
    "JobError",
    "Overloaded",
    "Page",
    "PageTokenInvalid",
    "PermissionDenied",
    "Retry",
    "Run",
    "RunAlreadyFinished",
    "RunChange",
    "RunDetails",
    "RunIdReused",
    "RunNotFinished",
    "RunNotFound",
    "Task",
    "TaskDefinition",
    "TaskNotFound",
    "TaskNotRegistered",
    "Transition",
    "Unauthenticated",
    "Unavailable",
    "WaitTimeout",
    "WatchTokenExpired",
    "__version__",
    "new_run_id",
]
