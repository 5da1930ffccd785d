"""The trace contexts of runs, for log lines about them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from .database import Connection


async def of_runs(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The W3C trace contexts, as JSON text, of those of these runs that have one."""
    rows = await connection.fetch(
        "select run_id, trace_context from runs where run_id = any($1) and trace_context is not null", list(run_ids)
    )
    return {row[0]: row[1] for row in rows}
