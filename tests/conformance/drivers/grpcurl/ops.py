"""The ops of a caller, each by calls of grpcurl."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, Final

from . import telling
from .asking import item, length, options, run_filter, word
from .calls import Unanswered, stream, unary

Asked = dict[str, Any]

_POLL_MS: Final = 30_000.0
_SLACK_SECONDS: Final = 10.0
_TERMINAL: Final = {"succeeded", "dead_lettered", "canceled"}


def _with(asked: Asked, *names: str) -> Asked:
    return {name: asked[name] for name in ("namespace", *names) if name in asked}


def _enqueue(asked: Asked) -> Asked:
    return telling.enqueued(unary("Enqueue", _with(asked) | item(asked)))


def _enqueue_batch(asked: Asked) -> Asked:
    items = [item(one) for one in asked["items"]]
    size = asked.get("batch_size", 500)
    results: list[Asked] = []
    for first in range(0, len(items), size):
        answer = unary("EnqueueBatch", _with(asked) | {"items": items[first : first + size]})
        results += map(telling.enqueued, answer["results"])
    return {"results": results}


def _get(asked: Asked) -> Asked:
    found = unary("GetRun", _with(asked, "run_id"))
    return {
        "run": telling.run(found["run"]),
        "attempts": list(map(telling.attempt, found["attempts"])),
        "transitions": list(map(telling.transition, found["transitions"])),
    }


def _list(asked: Asked) -> Asked:
    request = _with(asked, "page_size") | {"filter": run_filter(asked.get("filter", {}))}
    request["view"] = word("RUN_VIEW", asked.get("view", "basic"))
    runs = list(map(telling.run, _pages("ListRuns", request, "runs", asked.get("limit"))))
    return {"runs": runs[: asked.get("limit")]}


def _pages(method: str, request: Asked, of: str, limit: int | None) -> Iterator[Asked]:
    count = 0
    while True:
        page = unary(method, request)
        yield from page[of]
        count += len(page[of])
        request["page_token"] = page["nextPageToken"]
        if not request["page_token"] or (limit is not None and count >= limit):
            return


def _cancel(asked: Asked) -> Asked:
    return {"run": telling.run(unary("CancelRun", _with(asked, "run_id", "reason"))["run"])}


def _replay(asked: Asked) -> Asked:
    return telling.enqueued(unary("ReplayRun", _with(asked, "run_id", "reason") | options(asked.get("options", {}))))


def _wait(asked: Asked) -> Asked:
    left_ms = asked.get("timeout_ms", float("inf"))
    while True:
        poll_ms = min(left_ms, _POLL_MS)
        request = _with(asked, "run_id") | {"timeout": length(poll_ms)}
        run = telling.run(unary("WaitRun", request, poll_ms / 1000 + _SLACK_SECONDS)["run"])
        left_ms -= poll_ms
        if run["status"] in _TERMINAL:
            return {"run": run}
        if left_ms <= 0:
            raise Unanswered(f"{run['run_id']} is still {run['status']}", "WaitTimeout", "")


def _watch(asked: Asked) -> Asked:
    request = _with(asked, "run_id", "resume_token")
    wanted = {name: asked[name] for name in ("task", "queue", "labels") if name in asked}
    if wanted or "run_id" not in asked:
        request["filter"] = wanted
    seconds = asked["timeout_ms"] / 1000 if "timeout_ms" in asked else None
    changes: list[Asked] = []
    with closing(_changes(request, seconds)) as watched:
        for change in watched:
            changes.append(change)
            if len(changes) == asked.get("count"):
                break
    return {"changes": changes}


def _changes(request: Asked, seconds: float | None) -> Generator[Asked]:
    before = request.get("resume_token", "")
    with closing(stream("WatchRuns", request, seconds)) as answers:
        for answer in answers:
            of_all = len(answer["changes"]) - 1  # an answer's token is for all its changes together
            for place, one in enumerate(answer["changes"]):
                yield {
                    "run_id": one["runId"],
                    "task": one["task"],
                    "transition": telling.transition(one["transition"]),
                    "resume_token": answer["resumeToken"] if place == of_all else before,
                }
            before = answer["resumeToken"]


def _tasks(asked: Asked) -> Asked:
    return {"tasks": list(map(telling.task, _pages("ListTasks", _with(asked), "tasks", None)))}


def _pause(asked: Asked) -> Asked:
    request = _with(asked, "reason") | {"name": asked["task"]}
    return {"task": telling.task(unary("PauseTask", request)["task"])}


def _resume(asked: Asked) -> Asked:
    return {"task": telling.task(unary("ResumeTask", _with(asked) | {"name": asked["task"]})["task"])}


OPS: Final[dict[str, Callable[[Asked], Asked]]] = {
    "enqueue": _enqueue,
    "enqueue_batch": _enqueue_batch,
    "get": _get,
    "list": _list,
    "cancel": _cancel,
    "replay": _replay,
    "wait": _wait,
    "watch": _watch,
    "tasks": _tasks,
    "pause": _pause,
    "resume": _resume,
}
