"""What a scrape of a busy system says, read with the parser of Prometheus's own client."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from layeron_job import Client, Retry
from layeron_job_server.telemetry import names
from layeron_job_worker import metrics as worker_metrics
from support.commands import ROOT
from support.processes import ServerProcess
from support.waiting import eventually

OBSERVABILITY = ROOT / "deploy" / "observability"
_METRIC = re.compile(r"\b(?:layeron_job|rpc_server|process)_[a-z_]+\b")
# What moves only when something is wrong has tests of its own.
_STILL = {"layeron_job_reconciler_repairs_total"}

Samples = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]


async def test_every_documented_metric_is_in_a_scrape_of_a_busy_system_and_moves(
    server: ServerProcess, worker: asyncio.subprocess.Process, http_address: str, worker_metrics_port: int
) -> None:
    async with Client(server.address) as jobs:
        await eventually(lambda: _has_task(jobs), seconds=20)
        await _work(jobs)
        waiting = await jobs.enqueue("steady", delay=3600)
        before = await _scrape(http_address)
        await _work(jobs)
        read = await eventually(lambda: _with_scheduled(http_address), seconds=40, every=0.5)
        await jobs.runs.cancel(waiting.run_id)
    for name in names.ALL:
        series = name.prometheus + ("_count" if name.kind == "histogram" else "")
        if series in _STILL:
            continue
        assert series in read, f"{series} is in no scrape"
        for labels in read[series]:
            assert set(dict(labels)) == {label.replace(".", "_") for label in name.labels}, series
        if name.kind != "gauge":
            assert sum(read[series].values()) > sum(before[series].values()), f"{series} does not move"
    steady = (("namespace", "default"), ("outcome", "succeeded"), ("task", "steady"))
    assert read["layeron_job_attempts_total"][steady] == 10
    failed = (("namespace", "default"), ("outcome", "failed"), ("task", "flaky"))
    assert read["layeron_job_attempts_total"][failed] == 4
    assert read["layeron_job_attempt_duration_seconds_count"][steady] == 10
    assert read["layeron_job_runs_enqueued_total"][steady[0], steady[2]] == 11
    of_steady = (("namespace", "default"), ("queue", "default"), ("task", "steady"))
    assert read["layeron_job_runs_scheduled"][of_steady] == 1
    assert read["layeron_job_sessions"][(("namespace", "default"),)] == 1
    assert read["layeron_job_slots"][("namespace", "default"), ("state", "free")] == 4
    assert set(read["layeron_job_dependency_up"].values()) == {1}
    of_worker = await _scrape(f"127.0.0.1:{worker_metrics_port}")
    assert sum(_named(of_worker, worker_metrics.SLOTS).values()) == 4
    assert 0 <= max(_named(of_worker, f"{worker_metrics.PULL_AGE}.seconds").values()) < 10


async def test_dashboard_and_alerts_speak_only_of_metrics_that_there_are() -> None:
    """Expressions are not evaluated (promtool is no package): their metrics are compared with what a scrape has."""
    known = set()
    for name in names.ALL:
        endings = ("_bucket", "_sum", "_count") if name.kind == "histogram" else ("",)
        known |= {name.prometheus + ending for ending in endings}
    rules = _rules()
    dashboard = json.loads((OBSERVABILITY / "grafana-dashboard.json").read_text())
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    spoken = {metric for expression in asked for metric in _METRIC.findall(expression)}
    assert len(spoken) > 20
    assert spoken <= known
    for rule in rules:
        for label, metric in _selected(rule["expr"]):
            assert label in _labels_of(metric), f"{rule['alert']}: {metric} has no label {label}"


def test_every_metric_and_every_alert_is_in_the_operations_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    for name in names.ALL:
        row = next((line for line in guide.splitlines() if line.startswith(f"| `{name.prometheus}` |")), "")
        assert row, f"docs/operations.md has no row for {name.prometheus}"
        assert name.meaning in row, f"docs/operations.md says something else of {name.prometheus}"
        for label in name.labels:
            assert f"`{label.replace('.', '_')}`" in row, f"docs/operations.md: {name.prometheus} has the label {label}"
    for rule in _rules():
        assert f"### {rule['alert']}\n" in guide
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def _rules() -> list[dict[str, Any]]:
    """The alert rules. `buf` reads the file, which the workbench has; Python has no parser of YAML."""
    buf = Path(sys.executable).parent / "buf"
    command = ["convert", "--type", "google.protobuf.Value", "--from", str(OBSERVABILITY / "alerts.yaml"), "--to"]
    read = subprocess.run([buf, *command, "-#format=json"], capture_output=True, text=True, check=True)
    rules: list[dict[str, Any]] = json.loads(read.stdout)["groups"][0]["rules"]
    return rules


def _selected(expression: str) -> list[tuple[str, str]]:
    """The (label, metric) pairs of an expression's selectors."""
    selectors = re.findall(r"([a-z_]+)\{([^}]*)\}", expression)
    return [(label, metric) for metric, inside in selectors for label in re.findall(r"([a-z_]+)\s*(?:=|!)", inside)]


def _labels_of(metric: str) -> set[str]:
    for name in names.ALL:
        if metric.startswith(name.prometheus):
            return {label.replace(".", "_") for label in name.labels} | {"le"}
    raise AssertionError(f"{metric} is none of ours")


async def _work(jobs: Client) -> None:
    runs = [await jobs.enqueue("steady") for _ in range(5)]
    runs += [await jobs.enqueue("flaky", retry=Retry(attempts=2, backoff=0, jitter=0)) for _ in range(2)]
    for one in runs:
        await jobs.runs.wait(one.run_id)


async def _has_task(jobs: Client) -> bool:
    return "flaky" in [task.name async for task in jobs.tasks.list()]


async def _with_scheduled(http_address: str) -> Samples:
    """A scrape after the depths were read."""
    read = await _scrape(http_address)
    return read if sum(read.get("layeron_job_runs_scheduled", {}).values()) else {}


async def _scrape(address: str) -> Samples:
    text = await asyncio.to_thread(_get, f"http://{address}/metrics")
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def _named(samples: Samples, name: str) -> Any:
    return samples[name.replace(".", "_")]


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
