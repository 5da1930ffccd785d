"""Languages work on the same runs: what one began another goes on with, under one trace id."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from conformance.languages import LANGUAGES, build
from conformance.processes import Caller, caller, worker

ORDER = {"namespace": "mixed", "concurrency": 2, "grace_ms": 5_000, "tasks": [{"name": "import"}]}
PATIENT = {"attempts": 3, "backoff": {"type": "fixed", "delay_ms": 1_000}, "jitter": 0}


@pytest.fixture
async def callers(languages: list[str], address: str) -> AsyncIterator[dict[str, Caller]]:
    """A caller in every language."""
    if missing := LANGUAGES.keys() - set(languages):
        pytest.skip(f"it needs every language; --languages leaves out {', '.join(sorted(missing))}")
    async with AsyncExitStack() as stack:
        started = {}
        for language in LANGUAGES.values():
            build(language)
            started[language.name] = await stack.enter_async_context(caller(language, address))
        yield started


async def ok(caller: Caller, op: str, **given: Any) -> Any:
    """What a call answers, which is no error."""
    answer = await caller.ask({"op": op, "namespace": "mixed", **given})
    assert "ok" in answer, answer
    return answer["ok"]


@pytest.mark.timeout(300)
async def test_one_trace_id_goes_through_java_go_typescript_python_and_grpcurl(
    callers: dict[str, Caller], address: str
) -> None:
    trace_id = secrets.token_hex(16)
    options = {"trace_context": {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}, "retry": PATIENT}

    async def enqueue(*steps: dict[str, Any]) -> str:
        asked = {"task": "import", "payload": {"do": steps}, "options": options}
        run_id: str = (await ok(callers["java"], "enqueue", **asked))["run_id"]
        return run_id

    async with worker(LANGUAGES["go"], address, {**ORDER, "build_id": "go"}) as in_go:
        told = await enqueue({"context": True})
        ended = (await ok(callers["go"], "wait", run_id=told, timeout_ms=60_000))["run"]
        assert trace_id in ended["result"]["trace_context"]["traceparent"]

        long = await enqueue({"fail": {"type": "Busy", "message": "not now"}}, {"sleep_ms": 60_000})
        watching = asyncio.create_task(ok(callers["python"], "watch", run_id=long, timeout_ms=120_000))
        await in_go.hear({"end": {"run_id": long, "attempt": 1}})
        assert await in_go.stop() == 0

    async with worker(LANGUAGES["typescript"], address, {**ORDER, "build_id": "typescript"}) as in_typescript:
        await in_typescript.hear({"start": {"run_id": long, "attempt": 2}})
        again = (await ok(callers["typescript"], "replay", run_id=told, reason="once more"))["run_id"]
        replayed = (await ok(callers["typescript"], "wait", run_id=again, timeout_ms=60_000))["run"]
        assert trace_id in replayed["result"]["trace_context"]["traceparent"]
        await ok(callers["grpcurl"], "cancel", run_id=long, reason="no longer needed")
        seen = [change["transition"] for change in (await watching)["changes"]]

    assert [one["to_status"] for one in seen] == ["queued", "running", "retrying", "running", "canceled"]
    assert seen[-1]["note"] == "no longer needed"
    for name, one in callers.items():
        found = await ok(one, "get", run_id=long)
        assert trace_id in found["run"]["trace_context"]["traceparent"], name
        assert [(at["worker_build"], at["status"]) for at in found["attempts"]] == [
            ("go", "failed"),
            ("typescript", "canceled"),
        ], name
