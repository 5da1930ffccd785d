"""A worker session that is driven by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import Event, Failed
from layeron_job_server.operations import sessions
from layeron_job_server.operations.endings import Report, Verdict
from layeron_job_server.operations.sessions import Connected
from layeron_job_server.operations.starts import StartAnswer
from layeron_job_server.store.attempts import Ending, Fence, Grant, StartAsk, Success

if TYPE_CHECKING:
    from .core import Core

BUILD: Final = "build-1"


@dataclass(slots=True)
class Worker:
    """One worker session by hand."""

    core: Core
    session_id: UUID
    epoch: int
    tasks: tuple[str, ...]
    namespace: str

    def ask(self, run_id: UUID, start_id: int | None = None) -> StartAsk:
        """A start for this run, by default one that was never sent before."""
        return StartAsk(
            run_id, self.session_id, self.epoch, next(self.core.start_ids) if start_id is None else start_id
        )

    async def start(self, run_id: UUID, start_id: int | None = None) -> StartAnswer:
        """Ask to start this run."""
        return await self.core.attempts.start.submit_one(self.ask(run_id, start_id))

    async def grant(self, run_id: UUID, start_id: int | None = None) -> Grant:
        """Start this run, which must be granted."""
        answer = await self.start(run_id, start_id)
        assert isinstance(answer, Grant), answer
        return answer

    def fence(self, grant: Grant) -> Fence:
        """What a report of this grant's attempt names."""
        return Fence(grant.run_id, grant.attempt, self.session_id)

    async def succeed(self, grant: Grant, result: bytes = b'{"ok":true}', log_tail: str | None = None) -> Verdict:
        """Report that the handler returned."""
        return await self.core.attempts.succeed.submit_one(Success(self.fence(grant), result, 5, BUILD, log_tail))

    async def fail(self, grant: Grant, error_type: str = "Error", **failed: Any) -> Verdict:
        """Report that the handler raised."""
        return await self.report(grant, Failed(error_type, **failed), AttemptStatus.FAILED, error_type)

    async def report(
        self, grant: Grant, event: Event, outcome: AttemptStatus, error_type: str | None = None
    ) -> Verdict:
        """Report that the attempt ended otherwise."""
        ending = Ending(BUILD, error_type, "it broke" if error_type else None, ran_ms=5)
        return await self.core.attempts.end.submit_one(Report(self.fence(grant), event, outcome, ending))

    async def resume(self, *, has: Sequence[Grant] = (), unanswered: Collection[int] = ()) -> Connected:
        """Connect again as the same session, with these attempts and starts; keeps the new epoch."""
        connected = await self.core.connect(
            *self.tasks,
            namespace=self.namespace,
            resumes=self.session_id,
            has=[(grant.run_id, grant.attempt) for grant in has],
            unanswered=unanswered,
        )
        self.epoch = connected.epoch
        return connected

    async def beat(self) -> bool:
        """Send a heartbeat; whether the session had not ended."""
        return await self.core.sessions.heartbeat.submit_one((self.session_id, self.epoch))

    async def say_goodbye(self) -> None:
        """End the session."""
        await sessions.say_goodbye(self.core.system, self.session_id, self.epoch)
