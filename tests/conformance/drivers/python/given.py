"""What a case gives, as the client and the worker take it. What cannot be made is a ValueError that names its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from layeron_job import Exponential, Fixed, Item, Retry

Given = Mapping[str, Any]


def length(given: Given, name: str) -> timedelta | None:
    """The time under `name` + "_ms"; None if there is none."""
    ms = given.get(f"{name}_ms")
    try:
        return None if ms is None else timedelta(milliseconds=ms)
    except OverflowError:
        raise ValueError(f"{name} must be a length of time, not {ms} ms") from None


def moment(given: Given, name: str) -> datetime | None:
    """The time under `name`; None if there is none."""
    text = given.get(name)
    return None if text is None else datetime.fromisoformat(text)


def retry(given: Given) -> Retry:
    """A retry policy."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "attempts": int,
        "backoff": _backoff,
        "jitter": float,
        "non_retryable": tuple,
    }
    policy = {name: make(given[name]) for name, make in kinds.items() if name in given}
    return Retry(**policy, max_elapsed=length(given, "max_elapsed"))


def item(given: Given) -> Item:
    """One run to be made."""
    return Item(given["task"], given.get("payload"), **enqueue_options(given.get("options", {})))


def enqueue_options(given: Given) -> dict[str, Any]:
    """The options of an enqueue."""
    return _options(
        given, ["run_id", "idempotency_key", "idempotency_window", *_LABELING], ["idempotency_ttl", "timeout"]
    )


def replay_options(given: Given) -> dict[str, Any]:
    """The options of a replay."""
    return _options(given, ["payload", "new_run_id"], [])


def run_filter(given: Given) -> dict[str, Any]:
    """Which runs."""
    return {name: moment(given, name) if name.startswith("created_") else value for name, value in given.items()}


_LABELING: Final = ["labels", "priority", "name", "payload_encoding", "trace_context"]


def _options(given: Given, plain: list[str], lengths: list[str]) -> dict[str, Any]:
    options = {name: given[name] for name in plain if name in given}
    options |= {name: length(given, name) for name in ["delay", *lengths] if f"{name}_ms" in given}
    options |= {name: moment(given, name) for name in ("run_at", "start_by") if name in given}
    return options | ({"retry": retry(given["retry"])} if "retry" in given else {})


def _backoff(given: Given) -> Exponential | Fixed | list[timedelta]:
    match given["type"]:
        case "fixed":
            return Fixed(length(given, "delay") or timedelta())
        case "custom":
            return [timedelta(milliseconds=ms) for ms in given["delays_ms"]]
    growing: dict[str, Any] = {name: length(given, name) for name in ("initial", "maximum") if f"{name}_ms" in given}
    return Exponential(**growing, **({"multiplier": given["multiplier"]} if "multiplier" in given else {}))
