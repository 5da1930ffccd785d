"""What a run's life costs PostgreSQL under different tables: CPU, WAL, HOT share of the updates, runs a second.

In every variant a run lives the same life, in set-based batches straight through asyncpg on one connection: enqueue
(with transition and outbox row), the outbox row's deletion, grant, finish (with attempt, result and transitions). Some
batches wait and some run at any moment. The variants differ only in where the changing state lives:

    A  one wide, mutable row per run, with indexes to list by status and to find what is due
    B  immutable runs, and a narrow state table that keeps every run and has no index but its key
    C  immutable runs; open_runs, whose row is deleted at the end; ended_runs, whose row is then written, once
    D  C and a partial index on open_runs (session_id)
    E  C and an index on open_runs (task_id, run_id)
    F  C and both of these and indexes on open_runs (due_at, run_id) and, partial, (start_by): what the server has
    G  C with a fillfactor of 45 instead of 70 for open_runs
    H  C and a narrow table of the sessions' open attempts, in place of D's index
    I  F without (task_id, run_id)
    J  F with H's table in place of (session_id)
    K  F with a BRIN index (session_id), which leaves updates HOT, in place of the other
    L  F without (session_id)
    M  L with a fillfactor of 45

    PYTHONPATH=tests .venv/bin/python -m bench.schema_variants [--runs 20000] [--history 1000000] [--rounds 3]
        [--variants ABCDEFGHIJKLM] [--plain-guards]

Prints a Markdown table of medians. The variants take turns, each after a checkpoint. --history puts so many finished
runs into each first. Autovacuum is off, so that no variant pays for another: the vacuum that a turn leaves to be done
has a column of its own. "list" is the time for the newest 20 dead-lettered runs of a task that has ten.

The guards of grant and finish (status, session, due time) are written `(…) is true`, so that rows are looked up by
their key alone. --plain-guards leaves that out, and lets the planner choose another index. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import uvloop

from layeron_job.ids import new_uuid7
from layeron_job_server.embedded import Postgres

from .schema_tables import PAST, PAST_SHARED, RESULT, RUNG, SHARED_TABLES, VARIANTS, Variant
from .servers import data_folder

_BATCH: Final = 500
_DEPTH: Final = 4  # batches that wait, and batches that run, at any moment
_DEAD_LETTERED: Final = 10
_PAYLOAD: Final = '{"to": "user@example.com", "template": "welcome", "note": "' + "x" * 110 + '"}'

_UPDATES: Final = """
select coalesce(sum(n_tup_upd), 0)::bigint, coalesce(sum(n_tup_hot_upd), 0)::bigint from pg_stat_user_tables
where schemaname = current_schema()
"""

_WRONG: Final = """
select (select count(*) from attempts) <> $1 or (select count(*) from transitions) <> 3 * $1
  or exists (select from outbox)
  or (select count(*) from {listed} where status in ('succeeded', 'dead_lettered')) <> $1
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One turn, or the medians of some; what is not a share, a rate or a time to list is per run."""

    cpu_us: float
    wal_bytes: float
    hot_percent: float
    runs_per_s: float
    vacuum_us: float
    list_ms: float


async def measure(
    letters: str, *, runs: int = 20_000, history: int = 0, rounds: int = 3, plain_guards: bool = False
) -> dict[str, Figures]:
    """The medians of each of these variants, by its letter, on a PostgreSQL of its own."""
    turns: dict[str, list[Figures]] = {letter: [] for letter in letters}
    with data_folder() as data:
        async with await Postgres.start(data, settings={"autovacuum": "off"}) as postgres:
            benches = {letter: await _Bench.make(postgres, letter, history, plain_guards) for letter in letters}
            for number in range(rounds):
                for letter in letters if number % 2 == 0 else reversed(letters):
                    turns[letter].append(await benches[letter].turn(runs))
            for bench in benches.values():
                await bench.close()
    return {letter: _medians(taken) for letter, taken in turns.items()}


class _Bench:
    """The tables of one variant, in a schema of its own, and the connection that uses them."""

    def __init__(self, variant: Variant, connection: asyncpg.Connection, postmaster: int, ended: int) -> None:
        self._variant = variant
        self._connection = connection
        self._postmaster = postmaster
        self._ended = ended
        self._session_id = uuid4()

    @classmethod
    async def make(cls, postgres: Postgres, letter: str, history: int, plain_guards: bool) -> _Bench:
        """Make the tables and put in the history."""
        schema, variant = f"variant_{letter.lower()}", VARIANTS[letter]
        if plain_guards:
            variant = variant.with_plain_guards()
        connection = await asyncpg.connect(postgres.url, server_settings={"search_path": schema})
        await connection.execute(f"create schema {schema}; {variant.tables} {SHARED_TABLES}")
        if history:
            await connection.execute(PAST, history, _DEAD_LETTERED, _PAYLOAD)
            await connection.execute(variant.past + PAST_SHARED)
        return cls(variant, connection, postgres.pid, history)

    async def close(self) -> None:
        """Leave the database."""
        await self._connection.close()

    async def turn(self, runs: int) -> Figures:
        """Let so many runs live, and see what it took."""
        connection, table = self._connection, self._variant.state_table
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")
        updates, hot = await self._updates()
        wal, cpu, began = await self._wal_bytes(), _cpu_seconds(self._postmaster), time.perf_counter()
        await self._live([new_uuid7() for _ in range(runs)])
        seconds = time.perf_counter() - began
        cpu, wal = _cpu_seconds(self._postmaster) - cpu, await self._wal_bytes() - wal
        updates, hot = (after - before for after, before in zip(await self._updates(), (updates, hot), strict=True))
        vacuum = _cpu_seconds(self._postmaster)
        await connection.execute(f"vacuum {table}, outbox")
        vacuum = _cpu_seconds(self._postmaster) - vacuum
        self._ended += runs
        await self._check()
        return Figures(
            cpu_us=cpu / runs * 1e6,
            wal_bytes=wal / runs,
            hot_percent=100 * hot / updates,
            runs_per_s=runs / seconds,
            vacuum_us=vacuum / runs * 1e6,
            list_ms=await self._list_ms(),
        )

    async def _live(self, run_ids: Sequence[UUID]) -> None:
        batches = [run_ids[start : start + _BATCH] for start in range(0, len(run_ids), _BATCH)]
        for number in range(len(batches) + 2 * _DEPTH):
            if number < len(batches):
                await self._enqueue(batches[number])
            if 0 <= number - _DEPTH < len(batches):
                await self._connection.fetch(self._variant.grant, batches[number - _DEPTH], self._session_id)
            if number >= 2 * _DEPTH:
                await self._finish(batches[number - 2 * _DEPTH])

    async def _enqueue(self, batch: Sequence[UUID]) -> None:
        fingerprints = [b"\1" + run_id.bytes * 2 for run_id in batch]
        await self._connection.execute(self._variant.enqueue, batch, [_PAYLOAD] * len(batch), fingerprints)
        await self._connection.execute(RUNG, batch)

    async def _finish(self, batch: Sequence[UUID]) -> None:
        await self._connection.execute(self._variant.finish, batch, [RESULT] * len(batch), self._session_id)

    async def _check(self) -> None:
        wrong = await self._connection.fetchval(_WRONG.format(listed=self._variant.listed_table), self._ended)
        if wrong:
            raise RuntimeError(f"{self._variant.title}: not every run has ended with its whole history")

    async def _updates(self) -> tuple[int, int]:
        await self._connection.execute("select pg_stat_force_next_flush()")
        row = await self._connection.fetchrow(_UPDATES)
        assert row is not None
        return row[0], row[1]

    async def _wal_bytes(self) -> int:
        return int(await self._connection.fetchval("select (pg_current_wal_lsn() - '0/0')::bigint"))

    async def _list_ms(self) -> float:
        query = f"""select run_id from {self._variant.listed_table} where task_id = 1 and status = 'dead_lettered'
            order by run_id desc limit 20"""
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await self._connection.fetch(query)
            times.append(time.perf_counter() - began)
        return median(times) * 1000


def _cpu_seconds(postmaster: int) -> float:
    """CPU that PostgreSQL has used since its start: the postmaster, its children, and those it has already buried."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()  # the name in front may hold anything
        except (FileNotFoundError, ProcessLookupError):
            continue
        user, system, buried_user, buried_system = map(int, words[11:15])
        if stat.parent.name == str(postmaster):
            ticks += user + system + buried_user + buried_system
        elif words[1] == str(postmaster):
            ticks += user + system
    return ticks / os.sysconf("SC_CLK_TCK")


def _medians(turns: Sequence[Figures]) -> Figures:
    return Figures(**{field.name: median(getattr(turn, field.name) for turn in turns) for field in fields(Figures)})


def _table(figures: Mapping[str, Figures]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| | variant | PostgreSQL CPU µs | WAL bytes | HOT updates | runs/s | vacuum CPU µs | list ms |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {letter} | {VARIANTS[letter].title} | {f.cpu_us:.0f} | {f.wal_bytes:,.0f} | {f.hot_percent:.0f} %"
        f" | {f.runs_per_s:,.0f} | {f.vacuum_us:.1f} | {f.list_ms:.1f} |"
        for letter, f in figures.items()
    ]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="in each turn")
    parser.add_argument("--history", type=int, default=0, help="finished runs that are there before")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-guards", action="store_true", help="let the planner choose the index")
    parser.add_argument("--variants", default="".join(VARIANTS), help="letters, such as AC")
    arguments = parser.parse_args()
    if not set(arguments.variants) <= set(VARIANTS):
        parser.error(f"--variants takes letters of {''.join(VARIANTS)}")
    return arguments


def _main() -> None:
    args = _arguments()
    options = {"runs": args.runs, "history": args.history, "rounds": args.rounds, "plain_guards": args.plain_guards}
    print(_table(uvloop.run(measure(args.variants, **options))))


if __name__ == "__main__":
    _main()
