"""What the server answers, as the JSON of the cases."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Answer = Mapping[str, Any]

_HUMP: Final = re.compile("[A-Z]")
_AS_IT_IS: Final = {"payload", "result", "labels", "metadata", "trace_context"}
_PREFIXES: Final = {
    "status": "RUN_STATUS_",
    "from_status": "RUN_STATUS_",
    "to_status": "RUN_STATUS_",
    "priority": "PRIORITY_",
    "origin": "RUN_ORIGIN_",
    "held_reason": "HELD_REASON_",
    "idempotency_window": "IDEMPOTENCY_WINDOW_",
}


def run(answer: Answer) -> dict[str, Any]:
    """A run."""
    return _model(answer, {"payload_json", "result_json"})


def attempt(answer: Answer) -> dict[str, Any]:
    """An attempt."""
    told = _model(answer, {"progress_json", "status"})
    progress = base64.b64decode(answer["progressJson"])
    told["progress"] = json.loads(progress) if progress else None
    return told | {"status": _word("ATTEMPT_STATUS_", answer["status"])}


def transition(answer: Answer) -> dict[str, Any]:
    """A transition."""
    told = _model(answer, {"reason_code"})
    return told | {"reason_code": _word("TRANSITION_REASON_", answer["reasonCode"]).upper()}


def task(answer: Answer) -> dict[str, Any]:
    """A task."""
    return _model(answer, set()) | {"revision": int(answer["revision"])}


def enqueued(answer: Answer) -> dict[str, Any]:
    """The answer to an enqueue, a replay, or an item of a batch."""
    made = answer.get("run") or answer
    status = _word("RUN_STATUS_", made["status"])
    return {"run_id": made["runId"], "created": answer["created"], "status": status}


def _model(answer: Answer, left_out: set[str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for camel, value in answer.items():
        name = _HUMP.sub(lambda hump: f"_{hump.group().lower()}", camel)
        if name in left_out:
            continue
        if name in _AS_IT_IS:
            told[name] = value
        elif name in _PREFIXES:
            told[name] = _word(_PREFIXES[name], value)
        elif name == "retry":
            told[name] = None if value is None else _retry(value)
        elif name == "timeout":
            told["timeout_ms"] = None if value is None else _ms(value)
        else:
            told[name] = value
    return told


def _retry(answer: Answer) -> dict[str, Any]:
    return {
        "attempts": answer["maxAttempts"],
        "backoff": next(tell(answer[kind]) for kind, tell in _BACKOFFS.items() if kind in answer),
        "jitter": answer["jitter"],
        "max_elapsed_ms": None if answer["maxElapsed"] is None else _ms(answer["maxElapsed"]),
        "non_retryable": answer["nonRetryableTypes"],
    }


_BACKOFFS: Final[Mapping[str, Callable[[Answer], dict[str, Any]]]] = {
    "fixed": lambda waits: {"type": "fixed", "delay_ms": _ms(waits["delay"])},
    "exponential": lambda waits: {
        "type": "exponential",
        "initial_ms": _ms(waits["initial"]),
        "maximum_ms": _ms(waits["maximum"]),
        "multiplier": waits["multiplier"],
    },
    "custom": lambda waits: {"type": "custom", "delays_ms": [_ms(delay) for delay in waits["delays"]]},
}


def _word(prefix: str, value: str) -> str:
    return value.removeprefix(prefix).lower().removeprefix("unspecified")


def _ms(length: str) -> float:
    return round(float(length.removesuffix("s")) * 1000, 6)
