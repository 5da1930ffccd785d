"""What a run's life costs PostgreSQL under different tables: CPU, WAL, HOT share of the updates, runs a second.

In every variant a run lives the same life, in set-based batches straight through asyncpg on one connection: enqueue (with
transition and outbox row), the outbox row's deletion, grant, finish (with attempt, result and transitions); some batches
wait and some run at any moment. The variants differ only in where the changing state lives:

    A  one wide, mutable row per run, with indexes to list by status and to find what is due
    B  immutable runs, and a narrow state table that keeps every run and has no index but its key
    C  immutable runs; open_runs, whose row is deleted at the end; ended_runs, whose row is then written, once
    D  C and a partial index on open_runs (session_id)
    E  C and an index on open_runs (task_id, run_id)
    F  C and both of these and an index on open_runs (due_at, run_id)

    python -m tests.bench.schema_variants [--runs 20000] [--history 1000000] [--rounds 3] [--variants ABCDEF]

Prints a Markdown table of medians. The variants take turns, each after a checkpoint. --history puts so many finished runs
into each first. Autovacuum is off, so that no variant pays for another: the vacuum that a turn leaves to be done has a
column of its own. "list" is the time for the newest 20 dead-lettered runs of a task that has ten. Linux only (/proc).
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

from .servers import data_folder

_BATCH: Final = 500
_DEPTH: Final = 4  # batches that wait, and batches that run, at any moment
_DEAD_LETTERED: Final = 10
_PAYLOAD: Final = '{"to": "user@example.com", "template": "welcome", "note": "' + "x" * 110 + '"}'
_RETRY: Final = '{"max_attempts": 3, "exponential": {"initial_ms": 5000, "max_ms": 300000, "multiplier": 2}}'
_RESULT: Final = '{"status": 200, "message_id": "0f8fad5b-d9cb-469f-a165-70867728950e"}'
_TRACE: Final = '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'

_ASKED_COLUMNS: Final = """run_id uuid primary key, namespace_id int not null, task_id int not null,
  queue_id int not null, priority smallint not null, name text, payload json not null, payload_encoding text,
  retry json not null, timeout_ms bigint not null, start_by timestamptz, idempotency_key text, labels json,
  trace_context json, origin text not null, origin_id uuid, fingerprint bytea not null,
  created_at timestamptz not null default now()"""

_STATE_COLUMNS: Final = """status text not null, attempt int not null default 0, counted int not null default 0,
  interruptions int not null default 0, seq int not null default 0, due_at timestamptz not null default now(),
  first_started_at timestamptz, cancel_requested_at timestamptz, session_id uuid, start_id bigint,
  granted_at timestamptz, begun_at timestamptz"""

_SHARED_TABLES: Final = """
create table attempts (
  run_id uuid, number int, status text not null, session_id uuid not null, granted_at timestamptz not null,
  begun_at timestamptz, ended_at timestamptz not null default now(), error_type text, error_message text,
  error_detail text, result json, retry_at timestamptz, worker_build text, log_tail text, primary key (run_id, number));
create table transitions (
  run_id uuid, seq int, task_id int not null, from_status text, to_status text not null, reason text not null, note text,
  actor text, at timestamptz default now(), xid xid8 not null default pg_current_xact_id(),
  primary key (run_id, seq, at)) partition by range (at);
create index on transitions using brin (at);
do $$ begin for day in -11..1 loop
  execute format('create table transitions_%s partition of transitions for values from (%L) to (%L)',
    day + 11, current_date + day, current_date + day + 1);
end loop; end $$;
create table outbox (
  run_id uuid primary key, queue_id int not null, priority smallint not null, task_id int not null,
  deliver_at timestamptz not null, ring_at timestamptz not null);
create index on outbox (queue_id, priority, ring_at);
"""

_RUN: Final = "namespace_id, task_id, queue_id, priority, retry, timeout_ms, trace_context, origin"
_RUN_VALUES: Final = f"1, 1, 1, 2, '{_RETRY}', 300000, '{_TRACE}', 'enqueue'"

_RUNG: Final = "delete from outbox where run_id = any($1::uuid[])"


@dataclass(frozen=True, slots=True)
class _Variant:
    """One way to lay the tables. Statements take (run ids, …) in batches; `past` is the history to be put in."""

    title: str
    state_table: str
    listed_table: str
    tables: str
    enqueue: str
    grant: str
    finish: str
    past: str


def _enqueue(inserts: str) -> str:
    """$1: run ids, $2: payloads, $3: fingerprints. `inserts` put `asked` into the variant's own tables."""
    return f"""
        with asked as (select * from unnest($1::uuid[], $2::json[], $3::bytea[]) as a (run_id, payload, fingerprint)),
        {inserts},
        ring as (insert into outbox (run_id, queue_id, priority, task_id, deliver_at, ring_at)
          select run_id, 1, 2, 1, now(), now() + interval '2 s' from asked)
        insert into transitions (run_id, seq, task_id, to_status, reason, actor)
        select run_id, 0, 1, 'queued', 'ENQUEUED', 'api' from asked"""


def _grant(table: str, payloads: str) -> str:
    """$1: run ids, $2: session. `payloads` answers what the worker is given for `granted`."""
    return f"""
        with granted as (
          update {table} set status = 'running', attempt = attempt + 1, seq = seq + 1, session_id = $2, start_id = 7,
            granted_at = now(), first_started_at = coalesce(first_started_at, now())
          where run_id = any($1::uuid[]) and (status = 'queued' and due_at <= now()) is true returning *),
        moved as (insert into transitions (run_id, seq, task_id, from_status, to_status, reason, actor)
          select run_id, seq, task_id, 'queued', 'running', 'STARTED', 'worker' from granted)
        {payloads}"""


def _finish(done: str) -> str:
    """$1: run ids, $2: results, $3: session. `done` ends the open attempts named in `reported` and answers them."""
    return f"""
        with reported as (select * from unnest($1::uuid[], $2::json[]) as r (run_id, result)),
        {done},
        ended_attempts as (
          insert into attempts (run_id, number, status, session_id, granted_at, result, worker_build)
          select run_id, attempt, 'succeeded', $3, granted_at, result, 'build-1' from done)
        insert into transitions (run_id, seq, task_id, from_status, to_status, reason, actor)
        select run_id, seq, task_id, 'running', 'succeeded', 'SUCCEEDED', 'worker' from done"""


def _finish_by_update(table: str) -> str:
    return _finish(f"""done as (
          update {table} s set status = 'succeeded', seq = seq + 1, ended_at = now() from reported r
          where s.run_id = r.run_id and (s.status = 'running' and s.session_id = $3) is true
          returning s.run_id, s.task_id, s.attempt, s.seq, s.granted_at, r.result)""")


def _split(title: str, *indexes: str) -> _Variant:
    """Variant C, with more indexes on open_runs."""
    return _Variant(
        title,
        state_table="open_runs",
        listed_table="ended_runs",
        tables=f"""
            create table runs ({_ASKED_COLUMNS});
            create table open_runs (run_id uuid primary key, task_id int not null, {_STATE_COLUMNS},
              start_by timestamptz, timeout_ms bigint not null) with (fillfactor = 70);
            create table ended_runs (run_id uuid primary key, namespace_id int not null, task_id int not null,
              status text not null, attempt int not null, ended_at timestamptz not null default now());
            create index on ended_runs (task_id, status, run_id);
            {"".join(f"create index on open_runs {index};" for index in indexes)}""",
        enqueue=_enqueue(f"""run as (insert into runs (run_id, payload, fingerprint, {_RUN})
          select run_id, payload, fingerprint, {_RUN_VALUES} from asked),
        state as (insert into open_runs (run_id, task_id, status, timeout_ms) select run_id, 1, 'queued', 300000 from asked)"""),
        grant=_grant("open_runs", "select g.run_id, g.attempt, r.payload from granted g join runs r using (run_id)"),
        finish=_finish("""done as (
          delete from open_runs o using reported r
          where o.run_id = r.run_id and (o.status = 'running' and o.session_id = $3) is true
          returning o.run_id, o.task_id, o.attempt, o.seq + 1 as seq, o.granted_at, r.result),
        ended as (insert into ended_runs (run_id, namespace_id, task_id, status, attempt)
          select run_id, 1, task_id, 'succeeded', attempt from done)"""),
        past=f"""
            insert into runs (run_id, payload, fingerprint, created_at, {_RUN})
              select run_id, payload, fingerprint, at, {_RUN_VALUES} from past order by run_id;
            insert into ended_runs (run_id, namespace_id, task_id, status, attempt, ended_at)
              select run_id, 1, 1, status, 1, at from past order by run_id;""",
    )


_BY_SESSION: Final = "(session_id) where session_id is not null"
_BY_TASK: Final = "(task_id, run_id)"

_VARIANTS: Final = {
    "A": _Variant(
        "one wide row",
        state_table="runs",
        listed_table="runs",
        tables=f"""
            create table runs ({_ASKED_COLUMNS}, {_STATE_COLUMNS}, ended_at timestamptz);
            create index on runs (task_id, status, run_id);
            create index on runs (due_at) where status in ('queued', 'scheduled', 'retrying');""",
        enqueue=_enqueue(f"""run as (insert into runs (run_id, payload, fingerprint, status, {_RUN})
          select run_id, payload, fingerprint, 'queued', {_RUN_VALUES} from asked)"""),
        grant=_grant("runs", "select run_id, attempt, payload from granted"),
        finish=_finish_by_update("runs"),
        past=f"""
            insert into runs (run_id, payload, fingerprint, created_at, status, attempt, seq, ended_at, {_RUN})
              select run_id, payload, fingerprint, at, status, 1, 2, at, {_RUN_VALUES} from past order by run_id;""",
    ),
    "B": _Variant(
        "state table of all runs",
        state_table="run_states",
        listed_table="run_states",
        tables=f"""
            create table runs ({_ASKED_COLUMNS});
            create table run_states (run_id uuid primary key, task_id int not null, {_STATE_COLUMNS},
              ended_at timestamptz) with (fillfactor = 70);""",
        enqueue=_enqueue(f"""run as (insert into runs (run_id, payload, fingerprint, {_RUN})
          select run_id, payload, fingerprint, {_RUN_VALUES} from asked),
        state as (insert into run_states (run_id, task_id, status) select run_id, 1, 'queued' from asked)"""),
        grant=_grant("run_states", "select g.run_id, g.attempt, r.payload from granted g join runs r using (run_id)"),
        finish=_finish_by_update("run_states"),
        past=f"""
            insert into runs (run_id, payload, fingerprint, created_at, {_RUN})
              select run_id, payload, fingerprint, at, {_RUN_VALUES} from past order by run_id;
            insert into run_states (run_id, task_id, status, attempt, seq, ended_at)
              select run_id, 1, status, 1, 2, at from past order by run_id;""",
    ),
    "C": _split("open and ended runs"),
    "D": _split("C + by session", _BY_SESSION),
    "E": _split("C + by task", _BY_TASK),
    "F": _split("C + by session, task, due", _BY_SESSION, _BY_TASK, "(due_at, run_id)"),
}

# $1: how many finished runs, over the last ten days, $2: how many of them are dead-lettered, $3: payload
_PAST: Final = """
create table past as
select uuidv7(-back) as run_id, now() - back as at, sha256(int8send(i)) || '\\x01' as fingerprint, $3::json as payload,
  case when i % greatest($1::bigint / $2::bigint, 1) = 0 then 'dead_lettered' else 'succeeded' end as status
from (select i, interval '10 days' * (1 - i::float8 / $1::bigint) as back from generate_series(1, $1::bigint) as i) as series
"""

_PAST_SHARED: Final = f"""
insert into attempts (run_id, number, status, session_id, granted_at, ended_at, result, worker_build)
  select run_id, 1, 'succeeded', gen_random_uuid(), at, at, '{_RESULT}', 'build-1' from past order by run_id;
insert into transitions (run_id, seq, task_id, from_status, to_status, reason, actor, at)
  select run_id, seq, 1, was, is_now, reason, 'worker', at from past, (values (0, null, 'queued', 'ENQUEUED'),
    (1, 'queued', 'running', 'STARTED'), (2, 'running', 'succeeded', 'SUCCEEDED')) as t (seq, was, is_now, reason)
  order by run_id, seq;
drop table past;
"""

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


async def measure(variants: str, *, runs: int = 20_000, history: int = 0, rounds: int = 3) -> dict[str, Figures]:
    """The medians of each of these variants, by its letter, on a PostgreSQL of its own."""
    turns: dict[str, list[Figures]] = {letter: [] for letter in variants}
    with data_folder() as data:
        async with await Postgres.start(data, settings={"autovacuum": "off"}) as postgres:
            benches = {letter: await _Bench.make(postgres, letter, history) for letter in variants}
            for number in range(rounds):
                for letter in variants if number % 2 == 0 else reversed(variants):
                    turns[letter].append(await benches[letter].turn(runs))
            for bench in benches.values():
                await bench.close()
    return {letter: _medians(taken) for letter, taken in turns.items()}


class _Bench:
    """The tables of one variant, in a schema of its own, and the connection that uses them."""

    def __init__(self, variant: _Variant, connection: asyncpg.Connection, postmaster: int, ended: int) -> None:
        self._variant = variant
        self._connection = connection
        self._postmaster = postmaster
        self._ended = ended
        self._session_id = uuid4()

    @classmethod
    async def make(cls, postgres: Postgres, letter: str, history: int) -> _Bench:
        """Make the tables and put in the history."""
        schema, variant = f"variant_{letter.lower()}", _VARIANTS[letter]
        connection = await asyncpg.connect(postgres.url, server_settings={"search_path": schema})
        await connection.execute(f"create schema {schema}; {variant.tables} {_SHARED_TABLES}")
        if history:
            await connection.execute(_PAST, history, _DEAD_LETTERED, _PAYLOAD)
            await connection.execute(variant.past + _PAST_SHARED)
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
        await self._connection.execute(_RUNG, batch)

    async def _finish(self, batch: Sequence[UUID]) -> None:
        await self._connection.execute(self._variant.finish, batch, [_RESULT] * len(batch), self._session_id)

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
        f"| {letter} | {_VARIANTS[letter].title} | {f.cpu_us:.0f} | {f.wal_bytes:,.0f} | {f.hot_percent:.0f} %"
        f" | {f.runs_per_s:,.0f} | {f.vacuum_us:.1f} | {f.list_ms:.1f} |"
        for letter, f in figures.items()
    ]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="in each turn")
    parser.add_argument("--history", type=int, default=0, help="finished runs that are there before")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", default="".join(_VARIANTS), help="letters, such as AC")
    arguments = parser.parse_args()
    if not set(arguments.variants) <= set(_VARIANTS):
        parser.error(f"--variants takes letters of {''.join(_VARIANTS)}")
    return arguments


def _main() -> None:
    arguments = _arguments()
    figures = uvloop.run(
        measure(arguments.variants, runs=arguments.runs, history=arguments.history, rounds=arguments.rounds)
    )
    print(_table(figures))


if __name__ == "__main__":
    _main()
