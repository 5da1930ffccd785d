"""The server's instruments, for Prometheus and OTLP alike. All labels are bounded: see `names`.

What happens many times a second is counted per batch and task, not per run. Gauges are what was last read, or are asked
for when they are collected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest

from . import names
from .distributions import Distribution, WithDistributions
from .names import Name

Gauge = Iterable[tuple[float, Mapping[str, str]]]


class _Prometheus(WithDistributions, PrometheusMetricReader):
    """What a scrape reads."""


class _Periodic(WithDistributions, PeriodicExportingMetricReader):
    """What is sent by OTLP."""


def is_exported(signal: str) -> bool:
    """Whether the standard variables of OpenTelemetry ask for OTLP; signal: TRACES or METRICS."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp") != "otlp":
        return False
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{prefix}ENDPOINT") for prefix in ("", f"{signal}_"))


class Metrics:
    """One server's metrics. `close` sends what is not yet sent."""

    def __init__(self, resource: Resource) -> None:
        self.attempt_duration = Distribution(names.ATTEMPT_DURATION)
        self.pickup_latency = Distribution(names.PICKUP_LATENCY)
        self.batch_items = Distribution(names.BATCH_ITEMS)
        self.batch_duration = Distribution(names.BATCH_DURATION)
        self.rpc_duration = Distribution(names.RPC_DURATION)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        readers: list[_Prometheus | _Periodic] = [_Prometheus(scope_info_enabled=False, registry=self._registry)]
        if is_exported("METRICS"):
            readers.append(_Periodic(OTLPMetricExporter()))
        for reader in readers:
            reader.resource = resource
            reader.distributions = (
                self.attempt_duration,
                self.pickup_latency,
                self.batch_items,
                self.batch_duration,
                self.rpc_duration,
            )
        self._provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._meter = self._provider.get_meter(names.SCOPE)
        self.runs_enqueued = self._counter(names.RUNS_ENQUEUED)
        self.runs_ended = self._counter(names.RUNS_ENDED)
        self.attempts = self._counter(names.ATTEMPTS)
        self.repairs = self._counter(names.REPAIRS)

    def batch(self, writer: str, items: int, seconds: float) -> None:
        """A writer has written so many items in one transaction."""
        self.batch_items.record((writer,), (items,))
        self.batch_duration.record((writer,), (seconds,))

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """An RPC has ended; its full method without the leading slash."""
        self.rpc_duration.record(("grpc", method, code), (seconds,))

    def gauge(self, name: Name, read: Callable[[], Gauge]) -> None:
        """Ask `read` whenever metrics are collected, from any thread."""

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, dict(labels)) for value, labels in read()]

        self._meter.create_observable_gauge(name.name, [observe], unit=name.unit, description=name.meaning)

    def scrape(self) -> bytes:
        """Everything in the text format of Prometheus. Takes milliseconds: call it in a thread."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Send what is not yet sent."""
        self._provider.shutdown()

    def _counter(self, name: Name) -> Counter:
        return Counter(self._meter.create_counter(name.name, unit=name.unit, description=name.meaning), name.labels)


class Counter:
    """A counter whose labels are given by place, in the order of its Name."""

    def __init__(self, instrument: Any, labels: Sequence[str]) -> None:
        self._instrument = instrument
        self._labels = labels

    def add(self, amount: int, *labels: str) -> None:
        """Count so many more."""
        self._instrument.add(amount, dict(zip(self._labels, labels, strict=True)))
