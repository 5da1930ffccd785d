"""The writers that all worker streams of a process share to start and end attempts."""

from __future__ import annotations

from dataclasses import dataclass

from layeron_job_server.store.attempts import Ending, StartAsk, Success

from .endings import Report, Verdict, end, succeed
from .starts import StartAnswer, start
from .system import System
from .writer import Writer


@dataclass(frozen=True, slots=True)
class AttemptWriters:
    """What all worker streams of this process share."""

    start: Writer[StartAsk, StartAnswer]
    succeed: Writer[Success, Verdict]
    end: Writer[Report, Verdict]

    def all(self) -> tuple[Writer[StartAsk, StartAnswer], Writer[Success, Verdict], Writer[Report, Verdict]]:
        """Every writer, to be run."""
        return self.start, self.succeed, self.end


def attempt_writers(system: System) -> AttemptWriters:
    """The writers for starts, successes and other endings."""
    limits = system.settings.writer_limits
    return AttemptWriters(
        start=Writer(
            "start",
            lambda batch: start(system, batch),
            conflicts=lambda ask: (ask.run_id,),
            size=lambda _: 64,
            **limits,
        ),
        succeed=Writer(
            "succeed",
            lambda batch: succeed(system, batch),
            conflicts=lambda report: (report.fence.run_id,),
            size=lambda report: len(report.result) + len(report.log_tail or "") + 100,
            **limits,
        ),
        end=Writer(
            "end",
            lambda batch: end(system, batch),
            conflicts=lambda report: (report.fence.run_id,),
            size=lambda report: 200 + sum(map(len, filter(None, _texts(report.ending)))),
            **limits,
        ),
    )


def _texts(ending: Ending) -> tuple[str | None, ...]:
    return ending.error_message, ending.error_detail, ending.log_tail
