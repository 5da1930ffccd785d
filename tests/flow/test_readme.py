"""What the README says can be done, is done."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from layeron_job_worker import Worker
from support.commands import ROOT, run
from support.system import StartServer, StartWorker

README = ROOT / "README.md"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"
TOOLS = ROOT / "build" / "tools"


@pytest.fixture
async def grpcurl() -> str:
    """The grpcurl program, built with Go if it is not there yet."""
    program = shutil.which("grpcurl") or str(TOOLS / "grpcurl")
    if not Path(program).exists():
        if shutil.which("go") is None and not os.environ.get("CI"):
            pytest.skip("grpcurl is not here, and neither is Go to build it")
        built = await run("go", "install", GRPCURL, environment={"GOBIN": str(TOOLS)}, limit_seconds=600)
        assert built.code == 0, built.err
    return program


@pytest.fixture
async def address(start_server: StartServer, start_worker: StartWorker) -> str:
    """A server with the task "remind", and a worker for it."""
    server = await start_server()
    worker = Worker(server.address)

    @worker.task("remind")
    async def remind(payload: object) -> object:
        return payload

    await start_worker(worker)
    return server.address


@pytest.mark.slow
@pytest.mark.timeout(700)
async def test_the_grpcurl_lines_of_the_readme_work(grpcurl: str, address: str) -> None:
    lines = re.findall(r"^grpcurl .*$", README.read_text(), re.MULTILINE)
    assert {line.rpartition("/")[2] for line in lines if "-d" in line} == {
        "Enqueue",
        "EnqueueBatch",
        "GetRun",
        "ListRuns",
        "WaitRun",
        "WatchRuns",
        "CancelRun",
        "ReplayRun",
    }
    ids: dict[str, str] = {}
    for line in lines:
        verb = line.rpartition("/")[2]
        name = "waiting" if verb in ("CancelRun", "ReplayRun") else "first"
        filled = line.replace("localhost:7233", address).replace('"RUN"', f'"{ids.get(name)}"')
        ended = await run(grpcurl, *shlex.split(filled)[1:])
        assert ended.code == 0, (line, ended.err)
        if verb == "Enqueue":
            ids["first"] = json.loads(ended.out)["run"]["runId"]
        elif verb == "EnqueueBatch":
            ids["waiting"] = json.loads(ended.out)["results"][1]["runId"]
        elif verb == "ReplayRun":
            assert json.loads(ended.out)["run"]["originId"] == ids["waiting"]
