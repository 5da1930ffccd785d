"""Calls of grpcurl, and what it says of errors."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Generator
from typing import Any, Final

_PROGRAM: Final = os.environ.get("GRPCURL", "grpcurl")
_ADDRESS: Final = os.environ.get("LAYERON_JOB_ADDRESS", "localhost:7233")
_SECONDS: Final = 10  # the default timeout of a client's call

_CODES: Final = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}
_TYPES: Final = {
    "CANNOT_BE_STORED": "InvalidRequest",
    "DATABASE_UNAVAILABLE": "Unavailable",
    "INTERNAL": "InternalError",
    "INVALID_ARGUMENT": "InvalidRequest",
    "SERVER_SHUTTING_DOWN": "Unavailable",
}  # of reasons and codes; of others it is the name of the reason itself
_OF_CODES: Final = {
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
}


class Unanswered(Exception):
    """An answer other than success; `told` is its error object."""

    def __init__(self, message: str, kind: str, code: str, **more: Any) -> None:
        super().__init__(message)
        nothing: dict[str, Any] = {"reason": "", "violations": [], "metadata": {}, "retry_after_ms": None}
        self.told = {"type": kind, "code": code, "message": message, **nothing, **more}


class Refused(Unanswered):
    """What grpcurl itself could not send."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Refused", "")


def unary(method: str, request: dict[str, Any], seconds: float = _SECONDS) -> Any:
    """The answer to one request."""
    command = _command(method, seconds)
    ended = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise _error(ended.stderr)
    return json.loads(ended.stdout)


def stream(method: str, request: dict[str, Any], seconds: float | None) -> Generator[Any]:
    """The answers of a stream, until it or the time ends."""
    process = subprocess.Popen(
        _command(method, None), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    over = threading.Event()
    clock = threading.Timer(seconds if seconds is not None else threading.TIMEOUT_MAX, _end, (process, over))
    clock.start()
    try:
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        text = ""
        for line in process.stdout:
            text += line
            if line == "}\n":
                yield json.loads(text)
                text = ""
        if process.wait() and not over.is_set():
            raise _error(process.stderr.read())
    finally:
        clock.cancel()
        _end(process, over)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            pipe.close()


def _end(process: subprocess.Popen[str], over: threading.Event) -> None:
    over.set()
    process.kill()


def _command(method: str, seconds: float | None) -> list[str]:
    service = "TaskService" if "Task" in method else "JobService"
    limit = [] if seconds is None else ["-max-time", str(seconds)]
    options = ["-plaintext", "-format-error", "-emit-defaults", "-connect-timeout", str(_SECONDS), *limit]
    return [_PROGRAM, *options, "-d", "@", _ADDRESS, f"layeron.job.v1.{service}/{method}"]


def _error(said: str) -> Unanswered:
    start = said.find("{")
    if said.startswith("Failed to dial"):
        return Unanswered(said.strip(), "Unavailable", "UNAVAILABLE")
    if "error getting request data" in said or start < 0:
        return Refused(said.strip())
    status = json.loads(said[start:])
    details: dict[str, Any] = {}
    for detail in status.get("details", []):
        details |= detail
    code, reason = _CODES[status["code"]], details.get("reason", "")
    return Unanswered(
        status["message"],
        _kind(code, reason),
        code,
        reason=reason,
        metadata=details.get("metadata", {}),
        violations=[{"field": "", "description": "", **one} for one in details.get("field_violations", [])],
        retry_after_ms=_ms(details["retry_delay"]) if "retry_delay" in details else None,
    )


def _kind(code: str, reason: str) -> str:
    """The name that the Python client has for it."""
    name = reason or (code if code in _OF_CODES else "")
    return _TYPES.get(name) or "".join(map(str.capitalize, name.split("_"))) or "JobError"


def _ms(length: str) -> float:
    return float(length.removesuffix("s")) * 1000
