"""What operators see of a server: logs, metrics, traces, and health over HTTP."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from threading import Thread
from typing import Final, Self
from uuid import uuid4

from opentelemetry.sdk.resources import Resource

from .logs import set_up_logs
from .metrics import Metrics
from .names import SERVICE_NAME
from .tracing import Tracing

__all__ = ["Metrics", "Telemetry", "Tracing", "set_up_logs"]

_CLOSE_SECONDS: Final = 3.0


class Telemetry:
    """Metrics and spans of one server, set up from the standard variables of OpenTelemetry."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.metrics = metrics
        self.tracing = tracing

    @classmethod
    def of_process(cls) -> Self:
        """For one server of this process. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word."""
        known = {"service.instance.id": str(uuid4()), "service.version": version("layeron-job-server")}
        if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in _attributes():
            known["service.name"] = SERVICE_NAME
        resource = Resource.create({name: text for name, text in known.items() if f"{name}=" not in _attributes()})
        return cls(Metrics(resource), Tracing(resource))

    def close(self) -> None:
        """Send what is not yet sent; after a few seconds give up, since the SDK would try for much longer."""
        closing = [Thread(target=one.close, daemon=True) for one in (self.tracing, self.metrics)]
        for thread in closing:
            thread.start()
        until = time.monotonic() + _CLOSE_SECONDS
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))


def _attributes() -> str:
    return os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
