"""Lengths of time as people write them: seconds, or a timedelta."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration

Seconds: TypeAlias = float | timedelta
"""A length of time: seconds, or a timedelta."""


def seconds(value: Seconds) -> float:
    """A length of time as seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def duration(value: Seconds) -> Duration:
    """A length of time as protobuf has it."""
    message = Duration()
    message.FromTimedelta(value if isinstance(value, timedelta) else timedelta(seconds=value))
    return message
