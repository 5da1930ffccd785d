"""The tables that schema_variants.py compares, and what is done with them: set-based statements over many runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

RESULT: Final = '{"status": 200, "message_id": "0f8fad5b-d9cb-469f-a165-70867728950e"}'
_RETRY: Final = '{"max_attempts": 3, "exponential": {"initial_ms": 5000, "max_ms": 300000, "multiplier": 2}}'
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

SHARED_TABLES: Final = """
create table attempts (
  run_id uuid, number int, status text not null, session_id uuid not null, granted_at timestamptz not null,
  begun_at timestamptz, ended_at timestamptz not null default now(), error_type text, error_message text,
  error_detail text, result json, retry_at timestamptz, worker_build text, log_tail text, primary key (run_id, number));
create table transitions (
  run_id uuid, seq int, task_id int not null, from_status text, to_status text not null, reason text not null,
  note text, actor text, at timestamptz default now(), xid xid8 not null default pg_current_xact_id(),
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

RUNG: Final = "delete from outbox where run_id = any($1::uuid[])"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to lay the tables. Statements take (run ids, …) in batches; `past` is the history to be put in."""

    title: str
    state_table: str
    listed_table: str
    tables: str
    enqueue: str
    grant: str
    finish: str
    past: str

    def with_plain_guards(self) -> Variant:
        """The same, but with guards that may use an index."""
        return replace(self, grant=self.grant.replace(" is true", ""), finish=self.finish.replace(" is true", ""))


def _enqueue(inserts: str) -> str:
    """$1: run ids, $2: payloads, $3: fingerprints. `inserts` put `asked` into the variant's own tables."""
    return f"""
        with asked as (select * from unnest($1::uuid[], $2::json[], $3::bytea[]) as a (run_id, payload, fingerprint)),
        {inserts},
        ring as (insert into outbox (run_id, queue_id, priority, task_id, deliver_at, ring_at)
          select run_id, 1, 2, 1, now(), now() + interval '2 s' from asked)
        insert into transitions (run_id, seq, task_id, to_status, reason, actor)
        select run_id, 0, 1, 'queued', 'ENQUEUED', 'api' from asked"""


def _grant(table: str, payloads: str, *, also: str = "") -> str:
    """$1: run ids, $2: session. `payloads` answers what the worker is given for `granted`."""
    return f"""
        with granted as (
          update {table} set status = 'running', attempt = attempt + 1, seq = seq + 1, session_id = $2, start_id = 7,
            granted_at = now(), first_started_at = coalesce(first_started_at, now())
          where run_id = any($1::uuid[]) and (status = 'queued' and due_at <= now()) is true returning *),
        moved as (insert into transitions (run_id, seq, task_id, from_status, to_status, reason, actor)
          select run_id, seq, task_id, 'queued', 'running', 'STARTED', 'worker' from granted){also}
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


def _split(title: str, *indexes: str, fillfactor: int = 70, attempts_apart: bool = False) -> Variant:
    """Variant C, with more indexes on open_runs, and with the open attempts of sessions in a table of their own."""
    granted = finished = opened = ""
    if attempts_apart:
        opened = "create table open_attempts (session_id uuid, run_id uuid, primary key (session_id, run_id));"
        granted = """,
        opened as (insert into open_attempts (session_id, run_id) select session_id, run_id from granted)"""
        finished = """,
        closed as (delete from open_attempts a using done d where a.session_id = $3 and a.run_id = d.run_id)"""
    return Variant(
        title,
        state_table="open_runs",
        listed_table="ended_runs",
        tables=f"""
            create table runs ({_ASKED_COLUMNS});
            create table open_runs (run_id uuid primary key, task_id int not null, {_STATE_COLUMNS},
              start_by timestamptz, timeout_ms bigint not null) with (fillfactor = {fillfactor});
            create table ended_runs (run_id uuid primary key, namespace_id int not null, task_id int not null,
              status text not null, attempt int not null, ended_at timestamptz not null default now());
            create index on ended_runs (task_id, status, run_id);
            {"".join(f"create index on open_runs {index};" for index in indexes)}{opened}""",
        enqueue=_enqueue(f"""run as (insert into runs (run_id, payload, fingerprint, {_RUN})
          select run_id, payload, fingerprint, {_RUN_VALUES} from asked),
        state as (insert into open_runs (run_id, task_id, status, timeout_ms)
          select run_id, 1, 'queued', 300000 from asked)"""),
        grant=_grant(
            "open_runs", "select g.run_id, g.attempt, r.payload from granted g join runs r using (run_id)", also=granted
        ),
        finish=_finish(f"""done as (
          delete from open_runs o using reported r
          where o.run_id = r.run_id and (o.status = 'running' and o.session_id = $3) is true
          returning o.run_id, o.task_id, o.attempt, o.seq + 1 as seq, o.granted_at, r.result),
        ended as (insert into ended_runs (run_id, namespace_id, task_id, status, attempt)
          select run_id, 1, task_id, 'succeeded', attempt from done){finished}"""),
        past=f"""
            insert into runs (run_id, payload, fingerprint, created_at, {_RUN})
              select run_id, payload, fingerprint, at, {_RUN_VALUES} from past order by run_id;
            insert into ended_runs (run_id, namespace_id, task_id, status, attempt, ended_at)
              select run_id, 1, 1, status, 1, at from past order by run_id;""",
    )


_BY_SESSION: Final = "(session_id) where session_id is not null"
_BY_SESSION_ROUGHLY: Final = "using brin (session_id uuid_bloom_ops) with (pages_per_range = 16)"
_BY_TASK: Final = "(task_id, run_id)"
_BY_TIME: Final = ("(due_at, run_id)", "(start_by) where start_by is not null")

VARIANTS: Final = {
    "A": Variant(
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
    "B": Variant(
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
    "F": _split("C + by session, task, times", _BY_SESSION, _BY_TASK, *_BY_TIME),
    "G": _split("C, fillfactor 45", fillfactor=45),
    "H": _split("C + table of open attempts", attempts_apart=True),
    "I": _split("F without by task", _BY_SESSION, *_BY_TIME),
    "J": _split("F, but table of open attempts", _BY_TASK, *_BY_TIME, attempts_apart=True),
    "K": _split("F, but BRIN by session", _BY_SESSION_ROUGHLY, _BY_TASK, *_BY_TIME),
    "L": _split("F without by session", _BY_TASK, *_BY_TIME),
    "M": _split("L, fillfactor 45", _BY_TASK, *_BY_TIME, fillfactor=45),
}

# $1: how many finished runs over the last ten days, $2: how many of them dead-lettered, $3: payload
PAST: Final = """
create table past as
select uuidv7(-back) as run_id, now() - back as at, sha256(int8send(i)) || '\\x01' as fingerprint, $3::json as payload,
  case when i % greatest($1::bigint / $2::bigint, 1) = 0 then 'dead_lettered' else 'succeeded' end as status
from generate_series(1, $1::bigint) as i, lateral (select interval '10 days' * (1 - i::float8 / $1::bigint)) as t (back)
"""

PAST_SHARED: Final = f"""
insert into attempts (run_id, number, status, session_id, granted_at, ended_at, result, worker_build)
  select run_id, 1, 'succeeded', gen_random_uuid(), at, at, '{RESULT}', 'build-1' from past order by run_id;
insert into transitions (run_id, seq, task_id, from_status, to_status, reason, actor, at)
  select run_id, seq, 1, was, is_now, reason, 'worker', at from past, (values (0, null, 'queued', 'ENQUEUED'),
    (1, 'queued', 'running', 'STARTED'), (2, 'running', 'succeeded', 'SUCCEEDED')) as t (seq, was, is_now, reason)
  order by run_id, seq;
drop table past;
"""
