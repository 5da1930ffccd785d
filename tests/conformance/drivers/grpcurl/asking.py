"""What a case gives, as JSON of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Given = Mapping[str, Any]


def length(ms: float) -> str:
    """A google.protobuf.Duration."""
    return f"{ms / 1000:.9f}".rstrip("0").rstrip(".") + "s"


def word(prefix: str, text: str) -> str:
    """An enum's value, such as "RUN_STATUS_QUEUED"."""
    return f"{prefix}_{text.upper()}"


def item(given: Given) -> dict[str, Any]:
    """An EnqueueRequest without its namespace. `google.protobuf.Value` carries the payload."""
    return {"task": given["task"], "payload": given.get("payload")} | options(given.get("options", {}))


def options(given: Given) -> dict[str, Any]:
    """The options of an enqueue or replay."""
    asked: dict[str, Any] = {}
    for name, value in given.items():
        if name.endswith("_ms"):
            asked[name.removesuffix("_ms")] = length(value)
        elif name == "retry":
            asked[name] = retry(value)
        elif name in ("priority", "idempotency_window"):
            asked[name] = word(name.upper(), value)
        else:
            asked[name] = value
    return asked


def retry(given: Given) -> dict[str, Any]:
    """A RetryPolicy."""
    names = {"attempts": "max_attempts", "jitter": "jitter", "non_retryable": "non_retryable_types"}
    policy = {names[name]: given[name] for name in names if name in given}
    if "max_elapsed_ms" in given:
        policy["max_elapsed"] = length(given["max_elapsed_ms"])
    if "backoff" in given:
        policy[given["backoff"]["type"]] = _backoff(given["backoff"])
    return policy


def run_filter(given: Given) -> dict[str, Any]:
    """A RunFilter."""
    asked = {name: value for name, value in given.items() if name != "status"}
    if "status" in given:
        status = given["status"]
        statuses = [status] if isinstance(status, str) else status
        asked["statuses"] = [word("RUN_STATUS", one) for one in statuses]
    return asked


def _backoff(given: Given) -> dict[str, Any]:
    if given["type"] == "custom":
        return {"delays": [length(ms) for ms in given["delays_ms"]]}
    waits = {name.removesuffix("_ms"): length(value) for name, value in given.items() if name.endswith("_ms")}
    return waits | ({"multiplier": given["multiplier"]} if "multiplier" in given else {})
