"""What commands take: where the server is, times and durations as people write them, JSON from anywhere."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from layeron_job import Client, JobError

from .output import ExitCode, complain, exit_code_of

Answer = TypeVar("Answer")

Address = Annotated[
    str | None,
    typer.Option(
        "--address", "-a", envvar="LAYERON_JOB_ADDRESS", help="The server, host:port.", show_default="localhost:7233"
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", envvar="LAYERON_JOB_NAMESPACE", help="The namespace.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one line per entry, for pipes.")]

# People wait for it, so an outage is not waited out for as long as programs do.
_CALL_SECONDS: Final = 5.0
_UNITS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")


def call(address: str | None, namespace: str, work: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """What `work` answers with a client of the server; ends the program with what the server refused."""

    async def working() -> Answer:
        async with Client(address, namespace=namespace, timeout=_CALL_SECONDS) as jobs:
            return await work(jobs)

    try:
        return asyncio.run(working())
    except JobError as error:
        complain(str(error), exit_code_of(error))
    except ValueError as error:
        complain(str(error), ExitCode.USAGE)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def duration(text: str) -> timedelta:
    """ "90", "90s", "1.5m", "2h", "3d", "500ms"."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration: write 90s, 5m, 2h, 3d or 500ms")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is too long") from None


def moment(text: str) -> datetime:
    """A time as in ISO 8601; without a zone it is this machine's local time."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: write 2026-12-24T18:00:00Z") from None
    return parsed.astimezone(UTC)


def json_value(text: str) -> Any:
    """JSON text, or with "@" the file that holds it, or with "-" what comes from stdin."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise typer.BadParameter(str(error)) from None
    except ValueError as error:
        raise typer.BadParameter(f"is not JSON: {error}") from None


def labels(entries: Sequence[str]) -> dict[str, str]:
    """Labels from "key=value" each."""
    found = {}
    for entry in entries:
        key, separator, value = entry.partition("=")
        if not separator:
            raise typer.BadParameter(f"{entry!r} is no label: write key=value")
        found[key] = value
    return found


def duration_option(name: str, meaning: str) -> Any:
    """An option that takes a duration."""
    return typer.Option(name, parser=duration, metavar="DURATION", help=meaning, show_default=False)


def moment_option(name: str, meaning: str) -> Any:
    """An option that takes a time."""
    return typer.Option(name, parser=moment, metavar="TIME", help=meaning, show_default=False)
