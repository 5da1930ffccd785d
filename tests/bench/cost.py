"""What work costs: CPU by process, WAL, and resident memory, read from /proc and from PostgreSQL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .stack import Stack, children

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# PostgreSQL counts syncs a second late; over thousands of runs that is nothing.
_WAL = """
select pg_current_wal_insert_lsn() - '0/0'::pg_lsn, (select sum(fsyncs) from pg_stat_io where object = 'wal')
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What all had cost at one moment."""

    stack: Stack
    cpu_seconds: dict[str, float]
    wal_bytes: int
    wal_syncs: int

    @classmethod
    async def now(cls, stack: Stack) -> Cost:
        """At this moment."""
        wal_bytes, wal_syncs = await stack.database.fetchrow(_WAL)  # type: ignore[misc] # there is a row
        return cls(stack, _cpu_seconds(stack), int(wal_bytes), int(wal_syncs))

    async def per_run(self, runs: int, what: str) -> dict[str, float]:
        """Since then, for each of so many runs: `{what}_{process}_us` of CPU, `…_wal_bytes`, `…_wal_syncs_per_1000`."""
        now = await Cost.now(self.stack)
        spent = {name: (seconds - self.cpu_seconds[name]) / runs * 1e6 for name, seconds in now.cpu_seconds.items()}
        return {
            **{f"{what}_{name}_us": microseconds for name, microseconds in spent.items()},
            f"{what}_wal_bytes": (now.wal_bytes - self.wal_bytes) / runs,
            f"{what}_wal_syncs_per_1000": (now.wal_syncs - self.wal_syncs) / runs * 1000,
        }


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20


def _cpu_seconds(stack: Stack) -> dict[str, float]:
    processes = {
        "server": stack.server_pids,
        "worker": [worker.pid for worker in stack.workers],
        "postgres": [stack.servers.postgres_pid, *children(stack.servers.postgres_pid)],
        "nats": [stack.servers.nats_pid],
        "client": [os.getpid()],
    }
    return {name: sum(map(_cpu_of, pids)) for name, pids in processes.items()}


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:  # a PostgreSQL backend that has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
