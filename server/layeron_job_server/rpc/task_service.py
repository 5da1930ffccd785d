"""TaskService: parse, do, answer. Errors are answered by the interceptor."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import grpc

from layeron.job.v1 import task_service_pb2 as pb
from layeron.job.v1 import task_service_pb2_grpc
from layeron_job_server.domain import names
from layeron_job_server.domain.errors import PageTokenInvalid
from layeron_job_server.operations import tasks
from layeron_job_server.operations.system import System
from layeron_job_server.operations.tasks import EnsureConsumers

from . import convert
from .fields import Violations, namespace_of, page_size_of, reason_of
from .requests import definitions_of

_TASKS_MAX: Final = 500
_PAGE_SIZE: Final = 100

Context = grpc.aio.ServicerContext[Any, Any]


class TaskServicer(task_service_pb2_grpc.TaskServiceServicer):
    """For worker processes and deploy scripts that register tasks, and for operators who pause them."""

    def __init__(self, system: System, ensure_consumers: EnsureConsumers) -> None:
        self._system = system
        self._ensure_consumers = ensure_consumers

    async def RegisterTasks(self, request: pb.RegisterTasksRequest, _context: Context) -> pb.RegisterTasksResponse:
        """Make or change tasks."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        if not 1 <= len(request.tasks) <= _TASKS_MAX:
            violations.add("tasks", f"are {len(request.tasks)}; a call registers 1 to {_TASKS_MAX}")
            violations.refuse()
        definitions = definitions_of(request.tasks, violations)
        violations.refuse()
        made = await tasks.register(self._system, self._ensure_consumers, namespace, definitions)
        return pb.RegisterTasksResponse(tasks=[convert.task(task) for task in made])

    async def GetTask(self, request: pb.GetTaskRequest, _context: Context) -> pb.GetTaskResponse:
        """Answer one task."""
        namespace, name = _named_task(request, Violations())
        return pb.GetTaskResponse(task=convert.task(await tasks.get(self._system, namespace, name)))

    async def ListTasks(self, request: pb.ListTasksRequest, _context: Context) -> pb.ListTasksResponse:
        """Answer a page of tasks, by name."""
        violations = Violations()
        namespace = namespace_of(request.namespace, violations)
        page_size = page_size_of(request, violations, default=_PAGE_SIZE)
        violations.refuse()
        after = _read_page_token(request.page_token, namespace)
        found = await tasks.page(self._system, namespace, after=after, limit=page_size + 1)
        page = found[:page_size]
        token = _page_token(namespace, page[-1].name) if len(found) > page_size else ""
        return pb.ListTasksResponse(tasks=[convert.task(task) for task in page], next_page_token=token)

    async def PauseTask(self, request: pb.PauseTaskRequest, _context: Context) -> pb.PauseTaskResponse:
        """Let nothing more of a task start."""
        violations = Violations()
        reason = reason_of(request.reason, violations)
        namespace, name = _named_task(request, violations)
        return pb.PauseTaskResponse(task=convert.task(await tasks.pause(self._system, namespace, name, reason)))

    async def ResumeTask(self, request: pb.ResumeTaskRequest, _context: Context) -> pb.ResumeTaskResponse:
        """Let a task start again."""
        namespace, name = _named_task(request, Violations())
        return pb.ResumeTaskResponse(task=convert.task(await tasks.resume(self._system, namespace, name)))


def _named_task(request: Any, violations: Violations) -> tuple[str, str]:
    """The namespace and name of a request that names a task. Raises InvalidRequest for all that is wrong by now."""
    namespace = namespace_of(request.namespace, violations)
    violations.add("name", names.task_problem(request.name))
    violations.refuse()
    return namespace, request.name


def _page_token(namespace: str, last: str) -> str:
    return base64.urlsafe_b64encode(f"{namespace}/{last}".encode()).decode()


def _read_page_token(token: str, namespace: str) -> str:
    """The last name of the page before; "" for the first page."""
    if not token:
        return ""
    try:
        owner, _, last = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition("/")
    except (binascii.Error, ValueError):
        raise PageTokenInvalid from None
    if owner != namespace or names.task_problem(last) is not None:
        raise PageTokenInvalid
    return last
