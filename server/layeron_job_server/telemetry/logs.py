"""The server's logs: all of Python's `logging`, as lines for people or as JSON, one object a line.

Fields: `timestamp`, `level`, `logger`, `event`, and where they apply `run_id`, `attempt`, `task`, `trace_id`,
`span_id`, `error`, `places`. Of an exception only its kind, its SQLSTATE and the places in the code are written:
messages of database errors, and of bugs, may quote payloads. Operating system errors say what they say.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any, Final, Literal

import structlog
from opentelemetry import trace

Format = Literal["console", "json"]
_FRAMES_MAX: Final = 30
# At DEBUG these speak of every statement and frame, payloads included.
_QUIET: Final = ("asyncio", "grpc", "nats", "sqlalchemy", "asyncpg", "opentelemetry", "uvicorn", "alembic")


def set_up_logs(level: str, form: Format = "console") -> None:
    """Log to stderr from this level on."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _add_span,
        _tell_error,
    ]
    last: structlog.typing.Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    if form == "json":
        last = structlog.processors.JSONRenderer(ensure_ascii=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _add_span(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The ids of the span that is current, unless the line brought its own."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid and "trace_id" not in event:
        event["trace_id"] = f"{span.trace_id:032x}"
        event["span_id"] = f"{span.span_id:016x}"
    return event


def _tell_error(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """In place of an exception, what may be told of it."""
    record = event.get("_record")
    found = event.pop("exc_info", None) or (record.exc_info if record is not None else None)
    error = found[1] if isinstance(found, tuple) else found
    if record is not None:
        # The formatter would add the traceback, with every message, to what it renders.
        record.exc_info = record.exc_text = None
    if isinstance(error, BaseException):
        event["error"] = "; caused by ".join(told_of(one) for one in _chain(error))
        event["places"] = places_of(error)
    return event


def told_of(error: BaseException) -> str:
    """An exception's kind, with its SQLSTATE if it has one and its message if that is the operating system's."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return f"{name} (SQLSTATE {sqlstate})"
    if kind.__module__ == "builtins" and isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return name


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def places_of(error: BaseException) -> list[str]:
    """Where it was raised, innermost last: file, line and function."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
