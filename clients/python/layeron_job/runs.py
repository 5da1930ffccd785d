"""Runs that exist: looking at them, waiting for them, watching them, canceling and replaying them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from math import inf
from typing import Any, Final, Literal, TypedDict, Unpack

import grpc

from layeron.job.v1 import job_service_pb2 as pb

from . import convert, tracing
from .calls import Calls, Patience
from .durations import Seconds, duration, seconds
from .errors import Overloaded, Unavailable, WaitTimeout
from .ids import new_run_id as choose_run_id
from .models import Enqueued, Page, Run, RunChange, RunDetails

View = Literal["basic", "full"]

_POLL_SECONDS: Final = 30.0
_VIEWS: Final[Mapping[View, pb.RunView.ValueType]] = {"basic": pb.RUN_VIEW_BASIC, "full": pb.RUN_VIEW_FULL}
_SAME: Final = object()  # stands for the payload of the run that is replayed, since None is a payload


class RunFilter(TypedDict, total=False):
    """Which runs. All that is set must match; None is as if it were not set.

    status         one status, or several of which one must match
    labels         all of them must match, at most 16
    created_from   created at or after; created_before: created before; both with a time zone
    origin_id      the replays of this run
    """

    task: str | None
    status: str | Sequence[str] | None
    labels: Mapping[str, str] | None
    idempotency_key: str | None
    queue: str | None
    created_from: datetime | None
    created_before: datetime | None
    origin_id: str | None


class Runs:
    """The runs of the client's namespace: `client.runs`."""

    def __init__(self, calls: Calls, namespace: str) -> None:
        self._calls = calls
        self._namespace = namespace

    async def get(self, run_id: str) -> RunDetails:
        """A run with its attempts and transitions. Raises RunNotFound."""
        request = pb.GetRunRequest(namespace=self._namespace, run_id=run_id, json_form=pb.JSON_FORM_BYTES)
        return convert.run_details(await self._calls.unary(lambda server: server.jobs.GetRun, request))

    async def list(
        self, *, view: View = "basic", page_size: int | None = None, **wanted: Unpack[RunFilter]
    ) -> AsyncIterator[Run]:
        """The runs that match (see RunFilter), newest first, asked for page by page.

        Payloads and results come with the view "full" only. page_size is 1 to 500, by default 50. Raises
        FilterTooBroad.
        """
        token = ""
        while True:
            page = await self.list_page(view=view, page_size=page_size, page_token=token, **wanted)
            for run in page.runs:
                yield run
            token = page.next_page_token
            if not token:
                return

    async def list_page(
        self, *, view: View = "basic", page_size: int | None = None, page_token: str = "", **wanted: Unpack[RunFilter]
    ) -> Page:
        """One page of what `list` gives; page_token is the next_page_token of the page before, with the same filter.

        Raises PageTokenInvalid, FilterTooBroad.
        """
        if view not in _VIEWS:
            raise ValueError(f"view must be one of {', '.join(_VIEWS)}, not {view!r}")
        request = pb.ListRunsRequest(
            namespace=self._namespace,
            filter=convert.run_filter(**wanted),
            page_size=page_size,
            page_token=page_token,
            view=_VIEWS[view],
            json_form=pb.JSON_FORM_BYTES,
        )
        answer = await self._calls.unary(lambda server: server.jobs.ListRuns, request)
        return Page([convert.run(run) for run in answer.runs], answer.next_page_token)

    async def wait(self, run_id: str, *, timeout: Seconds | None = None) -> Run:
        """The run once it is terminal, whatever its end: look at its status.

        timeout: WaitTimeout after that time. Outages up to the client's timeout are waited out. Raises RunNotFound,
        and Unavailable or DeadlineExceeded when no server answers; both may take the client's timeout longer.
        """
        ends = inf if timeout is None else self._calls.clock() + seconds(timeout)
        request = pb.WaitRunRequest(namespace=self._namespace, run_id=run_id, json_form=pb.JSON_FORM_BYTES)
        outage: Patience | None = None
        while True:
            left = ends - self._calls.clock()
            poll_seconds = max(0.0, min(left, _POLL_SECONDS))
            request.timeout.CopyFrom(duration(poll_seconds))
            try:
                answer = await self._calls.once(
                    lambda server: server.jobs.WaitRun,
                    request,
                    timeout_seconds=poll_seconds + self._calls.timeout_seconds,
                )
            except Unavailable as error:
                if left <= 0:
                    raise
                outage = outage or self._calls.patience()
                await outage.bear(error)
                continue
            outage = None
            run = convert.run(answer.run)
            if run.is_terminal:
                return run
            if self._calls.clock() >= ends:
                raise WaitTimeout(f"{run_id} is still {run.status}", run)

    async def watch(
        self,
        run_id: str | None = None,
        *,
        task: str | None = None,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        resume_token: str = "",
    ) -> AsyncGenerator[RunChange, None]:
        """Changes as they happen: of one run from its first on until it is terminal, or of all that match from now on.

        A lost connection is made again and the watch goes on after what was yielded, unless no server answers for the
        client's timeout: Unavailable. resume_token, of a change seen before, goes on after it. Raises RunNotFound, and
        WatchTokenExpired for a token older than 24 hours.
        """
        request = pb.WatchRunsRequest(
            namespace=self._namespace, run_id=convert.given("run_id", run_id), resume_token=resume_token
        )
        if run_id is None or task or queue or labels:
            request.filter.CopyFrom(convert.run_filter(task=task, queue=queue, labels=labels))
        outage: Patience | None = None
        while True:
            try:
                async with aclosing(self._calls.stream(lambda server: server.jobs.WatchRuns, request)) as answers:
                    async for answer in answers:
                        outage = None
                        for change in convert.run_changes(answer, before=request.resume_token):
                            yield change
                        request.resume_token = answer.resume_token
                if run_id is not None:
                    return
                raise Unavailable("the server ended the watch", code=grpc.StatusCode.UNAVAILABLE)
            except (Overloaded, Unavailable) as error:  # overloaded: we read too slowly, and go on by the token too
                outage = outage or self._calls.patience()
                await outage.bear(error)

    async def cancel(self, run_id: str, *, reason: str = "") -> Run:
        """End a waiting run at once, or ask a running one's worker to; the run as it then is.

        A run that succeeds first stays a success. Canceling a canceled run answers it. Raises RunNotFound,
        RunAlreadyFinished.
        """
        request = pb.CancelRunRequest(
            namespace=self._namespace, run_id=run_id, reason=reason, json_form=pb.JSON_FORM_BYTES
        )
        return convert.run((await self._calls.unary(lambda server: server.jobs.CancelRun, request)).run)

    async def replay(
        self,
        run_id: str,
        *,
        reason: str = "",
        payload: Any = _SAME,
        delay: Seconds | None = None,
        run_at: datetime | None = None,
        new_run_id: str | None = None,
    ) -> Enqueued:
        """Make a new run like this terminal one, with its payload or another, at once or later.

        new_run_id makes a repeat of this call safe. Raises RunNotFound, RunNotFinished, RunIdReused.
        """
        request = pb.ReplayRunRequest(
            namespace=self._namespace,
            run_id=run_id,
            reason=reason,
            new_run_id=convert.given("new_run_id", new_run_id) or choose_run_id(),
            payload_json=b"" if payload is _SAME else convert.json_bytes(payload),
            delay=convert.length("delay", delay),
            run_at=convert.moment("run_at", run_at),
            json_form=pb.JSON_FORM_BYTES,
        )
        with tracing.call("ReplayRun"):
            answer = await self._calls.unary(lambda server: server.jobs.ReplayRun, request)
        # Of an id that was chosen here only this call can have made a run, in a try whose answer was lost.
        return Enqueued(convert.run(answer.run), created=answer.created or new_run_id is None)
