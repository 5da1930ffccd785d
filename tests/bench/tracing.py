"""What tracing costs end to end: without an SDK, with one that samples nothing, and with one that samples everything.

`PYTHONPATH=tests python -m bench.tracing` measures the three in turn, several times in one run, and prints the medians
of throughput and of what each process spends on a run. Server, worker and caller trace; a receiver in this process
takes what they export and counts the spans afterwards. A queue of 64k spans keeps the SDK from dropping any.

Everything waits for CPU alone, so throughput is cores divided by CPU per run. On a machine that others use too this is
far steadier than the clock, so `costs`, which is judged, is the share of throughput that the CPU of tracing takes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Final, cast

import grpc
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

from . import ours
from .servers import Servers, fresh_servers
from .stack import Stack, running

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_LIMITS: Final = {"off": None, "0 %": 2.0, "100 %": 15.0}
_SAMPLED: Final = {"0 %": "00", "100 %": "01"}
_WARM_UP: Final = 5_000
_RATE: Final = "end_to_end_batch_per_s"


@dataclass(slots=True)
class Sink:
    """A receiver that costs next to nothing: what came is looked at afterwards."""

    endpoint: str = ""
    bodies: list[bytes] = field(default_factory=list)

    async def export(self, body: bytes, _context: Any) -> bytes:
        """Keep it; an empty answer means that all was taken."""
        self.bodies.append(body)
        return b""

    def spans(self) -> int:
        """How many there were; they are forgotten."""
        bodies, self.bodies = self.bodies, []
        requests = map(ExportTraceServiceRequest.FromString, bodies)
        return sum(len(s.spans) for r in requests for resource in r.resource_spans for s in resource.scope_spans)


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """Receive until the end."""
    receiving = Sink()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    handler: Any = grpc.unary_unary_rpc_method_handler(receiving.export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),))
    receiving.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield receiving
    finally:
        await server.stop(1)


class _Calling:
    """The stub, whose batches name a trace of their own in their metadata, as a traced caller's do."""

    def __init__(self, jobs: Any, flags: str) -> None:
        self._jobs = jobs
        self._flags = flags

    def EnqueueBatch(self, request: Any) -> Any:
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{self._flags}"
        return self._jobs.EnqueueBatch(request, metadata=(("traceparent", traceparent),))


async def main(args: argparse.Namespace) -> int:
    """Measure in rounds and report the medians; 1 if one is above its limit."""
    rounds: dict[str, list[dict[str, float]]] = {mode: [] for mode in _LIMITS}
    async with fresh_servers() as servers, sink() as receiving:
        for number in range(args.rounds):
            # In another order each time: what comes later in a round finds another machine.
            for mode in [*_LIMITS][number % 3 :] + [*_LIMITS][: number % 3]:
                print(f"round {number + 1} of {args.rounds}, tracing {mode} …", flush=True)
                rounds[mode].append(await _measure(servers, receiving, mode, args.runs))
    return _report(rounds, args.runs)


async def _measure(servers: Servers, receiving: Sink, mode: str, runs: int) -> dict[str, float]:
    with _environment(_variables(receiving, mode)):
        async with running(servers) as stack:
            await stack.forget_runs()
            await _start_worker(stack)
            calling = stack if mode == "off" else replace(stack, jobs=cast(Any, _Calling(stack.jobs, _SAMPLED[mode])))
            await ours.end_to_end_batch(calling, _WARM_UP)
            figures = await ours.end_to_end_batch(calling, runs)
    figures["spans_per_run"] = receiving.spans() / (runs + _WARM_UP)
    return figures


def _variables(receiving: Sink, mode: str) -> Mapping[str, str]:
    if mode == "off":
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiving.endpoint,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0" if mode == "0 %" else "1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "65536",
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables for what is started inside."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


async def _start_worker(stack: Stack) -> None:
    environment = {**stack.environment, "BENCH_CONCURRENCY": "1000"}
    stack.workers.append(
        await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.traced_worker", env=environment)
    )


def _report(rounds: Mapping[str, list[dict[str, float]]], runs: int) -> int:
    table = Table(title=f"end to end in batches, medians of {len(rounds['off'])} × {runs:,} runs")
    for column in ("tracing", "runs/s", "fewer", "CPU µs", "costs", "limit", "server", "worker", "spans"):
        table.add_column(column, justify="left" if column == "tracing" else "right")
    above = False
    for mode, of_mode in rounds.items():
        pairs = list(zip(of_mode, rounds["off"], strict=True))
        fewer = median(100 * (1 - one[_RATE] / off[_RATE]) for one, off in pairs)
        costs = median(100 * (1 - _cpu(off) / _cpu(one)) for one, off in pairs)
        limit = _LIMITS[mode]
        above = above or (limit is not None and costs > limit)
        told = "" if limit is None else f"< {limit:g} %"
        rate, cpu = median(one[_RATE] for one in of_mode), median(map(_cpu, of_mode))
        parts = (median(one[f"end_to_end_{name}_us"] for one in of_mode) for name in ("server", "worker"))
        spans = f"{median(one['spans_per_run'] for one in of_mode):.2f}"
        table.add_row(
            mode,
            f"{rate:,.0f}",
            f"{fewer:.1f} %",
            f"{cpu:.0f}",
            f"{costs:.1f} %",
            told,
            *map("{:.0f}".format, parts),
            spans,
        )
    Console(width=100).print(table)
    return int(above)


def _cpu(figures: Mapping[str, float]) -> float:
    """What a run costs all processes together."""
    return sum(value for name, value in figures.items() if name.startswith("end_to_end_") and name.endswith("_us"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=30_000, help="runs per measurement, a multiple of 500")
    sys.exit(uvloop.run(main(parser.parse_args())))
