"""Worker sessions: connecting, resuming, staying alive, saying goodbye."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from layeron_job.ids import new_uuid7
from layeron_job_server import failpoints
from layeron_job_server.domain.errors import TaskNotRegistered
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import Interrupted
from layeron_job_server.store import open_attempts, sessions
from layeron_job_server.store.attempts import Ending, Fence
from layeron_job_server.store.open_attempts import Note
from layeron_job_server.store.sessions import NewSession

from . import endings
from .endings import Report
from .system import System
from .writer import Writer

Beat: TypeAlias = tuple[UUID, int]  # session and epoch

_INTERRUPTED_MESSAGE = "the worker reconnected or shut down without it"


@dataclass(frozen=True, slots=True)
class Connected:
    """A session that is alive, and which of the attempts a resuming worker named are its own no more."""

    session_id: UUID
    epoch: int
    resumed: bool
    superseded: list[tuple[UUID, int]]


async def connect(
    system: System,
    named: NewSession,
    task_names: Sequence[str],
    *,
    namespace: str,
    resumes: UUID | None,
    has: Sequence[tuple[UUID, int]],
    unanswered: Collection[int],
) -> Connected:
    """Resume the session, or make a new one when there is none to resume.

    `has` are the attempts the worker still has, `unanswered` its starts without an answer. Open attempts of the session
    that it does not know of are interrupted. Raises TaskNotRegistered.
    """
    tasks = await system.tasks.by_names(namespace, task_names)
    for name in task_names:
        if name not in tasks:
            raise TaskNotRegistered(namespace, name)
    owner = next(iter(tasks.values())).namespace_id
    task_ids = tuple(sorted(task.task_id for task in tasks.values()))
    named = replace(named, namespace_id=owner, task_ids=task_ids)
    if resumes is not None:
        resumed = await _resume(system, replace(named, session_id=resumes), has, unanswered)
        if resumed is not None:
            return resumed
    fresh = replace(named, session_id=new_uuid7())
    await system.database.write(lambda c: sessions.open_session(c, fresh, lease=system.settings.lease))
    return Connected(fresh.session_id, 1, False, list(has))


async def _resume(
    system: System, named: NewSession, has: Sequence[tuple[UUID, int]], unanswered: Collection[int]
) -> Connected | None:
    epoch = await system.database.write(lambda c: sessions.resume(c, named, lease=system.settings.lease))
    if epoch is None:
        return None
    await failpoints.reach("session.resumed")
    # From here no start of an older epoch is granted any more, so that this list can only shrink.
    own = await system.database.read(lambda c: open_attempts.of_session(c, named.session_id))
    still_has = set(has)
    forgotten = [
        fence for fence, start_id in own if (fence.run_id, fence.number) not in still_has and start_id not in unanswered
    ]
    await interrupt(system, forgotten)
    owned = {(fence.run_id, fence.number) for fence, _ in own}
    return Connected(named.session_id, epoch, True, [attempt for attempt in has if attempt not in owned])


async def say_goodbye(system: System, session_id: UUID, epoch: int) -> None:
    """End the session; what it still has is interrupted."""
    if await system.database.write(lambda c: sessions.say_goodbye(c, session_id, epoch)):
        await interrupt(
            system,
            [fence for fence, _ in await system.database.read(lambda c: open_attempts.of_session(c, session_id))],
        )


async def interrupt(system: System, fences: Sequence[Fence]) -> None:
    """Give these attempts back to the queue, at no cost to the policy."""
    ending = Ending(error_type="Interrupted", error_message=_INTERRUPTED_MESSAGE)
    await endings.end(
        system,
        [
            Report(fence, Interrupted(), AttemptStatus.INTERRUPTED, ending, note=_INTERRUPTED_MESSAGE, actor="server")
            for fence in fences
        ],
    )


@dataclass(frozen=True, slots=True)
class SessionWriters:
    """What all worker streams of this process share to stay alive and to tell how they get on."""

    heartbeat: Writer[Beat, bool]
    begun: Writer[tuple[Fence, int], None]
    note: Writer[Note, None]

    def all(self) -> tuple[Writer[Beat, bool], Writer[tuple[Fence, int], None], Writer[Note, None]]:
        """Every writer, to be run."""
        return self.heartbeat, self.begun, self.note


def session_writers(system: System) -> SessionWriters:
    """The writers for heartbeats, begins and notes."""
    database, settings = system.database, system.settings

    async def beat(batch: Sequence[Beat]) -> list[bool]:
        alive = await database.write(lambda c: sessions.heartbeat(c, batch, lease=settings.lease))
        return [session_id in alive for session_id, _ in batch]

    async def begun(batch: Sequence[tuple[Fence, int]]) -> list[None]:
        await database.write(lambda c: open_attempts.mark_begun(c, batch))
        return [None] * len(batch)

    async def note(batch: Sequence[Note]) -> list[None]:
        await database.write(lambda c: open_attempts.note(c, batch))
        return [None] * len(batch)

    limits = settings.writer_limits
    return SessionWriters(
        heartbeat=Writer("heartbeat", beat, conflicts=lambda b: (b[0],), size=lambda _: 64, **limits),
        begun=Writer("begun", begun, conflicts=lambda entry: (entry[0].run_id,), size=lambda _: 64, **limits),
        note=Writer(
            "note",
            note,
            conflicts=lambda n: (n.fence.run_id,),
            size=lambda n: 64 + len(n.progress or b"") + len(n.log_tail or ""),
            **limits,
        ),
    )
