"""What a handler knows, and what it tells: progress and log lines within their limits, whatever is thrown at them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.context import Context

TAIL_BYTES = 32 * 1024


class Unshowable:
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


def context(**fields: Any) -> Context:
    return Context(pb.Grant(run_id="run_1", attempt=2, task="work", timeout_ms=1_500, **fields), "default")


def lines(ctx: Context) -> list[str]:
    """The kept lines without their times."""
    return [line.partition(" ")[2] for line in ctx._log_tail().splitlines()]


def test_a_context_says_all_that_the_grant_does() -> None:
    grant = pb.Grant(
        run_id="run_1",
        attempt=2,
        task="work",
        timeout_ms=1_500,
        labels={"team": "a"},
        trace_context={"traceparent": "00-1"},
        payload_encoding="age",
        name="for people",
        counted_attempts=1,
        max_attempts=3,
    )
    grant.created_at.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC))
    ctx = Context(grant, "tenant")
    assert (ctx.run_id, ctx.attempt, ctx.task, ctx.namespace) == ("run_1", 2, "work", "tenant")
    assert (ctx.labels, ctx.trace_context) == ({"team": "a"}, {"traceparent": "00-1"})
    assert (ctx.payload_encoding, ctx.name, ctx.counted_attempts, ctx.max_attempts) == ("age", "for people", 1, 3)
    assert ctx.timeout_seconds == 1.5
    assert ctx.created_at == datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)


def test_there_is_no_deadline_before_the_begin_and_none_that_is_negative() -> None:
    ctx = context()
    assert ctx.remaining() == float("inf")
    assert ctx.deadline > datetime.now(UTC) + timedelta(days=365)
    ctx._expires = 0.0
    assert ctx.remaining() == 0.0
    assert abs(ctx.deadline - datetime.now(UTC)) < timedelta(seconds=10)


def test_the_newest_progress_is_kept() -> None:
    ctx = context()
    ctx.progress({"done": 1})
    ctx.progress({"done": 2})
    assert ctx._progress == b'{"done":2}'


def test_progress_is_limited_to_4_kib() -> None:
    ctx = context()
    ctx.progress("x" * 4_094)
    with pytest.raises(ValueError, match="progress must be at most 4096 bytes of JSON, not 4097"):
        ctx.progress("x" * 4_095)
    assert len(ctx._progress) == 4_096


@pytest.mark.parametrize("value", [object(), 2**53, {1: 1}, float("nan"), {"at": [float("inf")]}])
def test_progress_that_is_not_json_is_refused_and_changes_nothing(value: Any) -> None:
    ctx = context()
    ctx.progress(1)
    with pytest.raises(TypeError):
        ctx.progress(value)
    assert ctx._progress == b"1"


def test_lines_from_info_on_are_kept_and_logged_under_the_task_with_run_and_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ctx = context()
    with caplog.at_level(logging.DEBUG):
        ctx.log.debug("unkept")
        ctx.log.info("plain")
        ctx.log.warning("%s of %d", "one", 2, extra={"more": "yes"})
        ctx.log.info("%(a)s", {"a": "named"})
    assert lines(ctx) == ["INFO plain", "WARNING one of 2", "INFO named"]
    assert [record.getMessage() for record in caplog.records] == ["unkept", "plain", "one of 2", "named"]
    assert {record.name for record in caplog.records} == {"layeron_job.task.work"}
    assert {(record.run_id, record.attempt) for record in caplog.records} == {("run_1", 2)}  # type: ignore[attr-defined]  # from the adapter
    assert caplog.records[2].more == "yes"  # type: ignore[attr-defined]  # from the call


def test_a_line_names_the_handlers_own_place_in_the_code(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        context().log.info("here")
        context().log.log(logging.INFO, "and here")
    assert {record.funcName for record in caplog.records} == {
        test_a_line_names_the_handlers_own_place_in_the_code.__name__
    }


def test_lines_are_kept_even_if_the_logger_is_silent() -> None:
    ctx = context()
    ctx.log.logger.setLevel(logging.CRITICAL)
    try:
        ctx.log.info("kept")
    finally:
        ctx.log.logger.setLevel(logging.NOTSET)
    assert lines(ctx) == ["INFO kept"]


def test_an_exception_is_kept_with_its_traceback() -> None:
    for how in ("exception", "instance", "triple"):
        ctx = context()
        try:
            raise ValueError("boom")
        except ValueError as error:
            caught = error
            if how == "exception":
                ctx.log.exception("bad")
        if how == "instance":
            ctx.log.error("bad", exc_info=caught)
        if how == "triple":
            ctx.log.error("bad", exc_info=(type(caught), caught, caught.__traceback__))
        assert lines(ctx)[0] == "ERROR bad"
        assert ctx._log_tail().endswith("ValueError: boom"), how


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (("%d", "x"), "INFO %d ('x',)"),
        (("%s %s", 1), "INFO %s %s (1,)"),
        (("100 %",), "INFO 100 %"),
        (("%s", Unshowable()), "INFO (a line that cannot be shown)"),
        ((Unshowable(),), "INFO (a line that cannot be shown)"),
    ],
)
def test_a_line_that_cannot_be_formatted_never_fails_the_handler(
    arguments: tuple[Any, ...], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context()
    # pytest's own log handler raises such errors; in production logging swallows them.
    monkeypatch.setattr(ctx.log.logger, "disabled", True)
    ctx.log.info(*arguments)
    assert lines(ctx) == [kept]


def test_the_last_32_kib_are_kept_in_whole_characters() -> None:
    ctx = context()
    for number in range(10_000):
        ctx.log.logger.disabled = True
        ctx.log.info("line %d ü", number)
    ctx.log.logger.disabled = False
    tail = ctx._log_tail()
    assert TAIL_BYTES - 100 < len(tail.encode()) <= TAIL_BYTES
    assert tail.endswith("INFO line 9999 ü")


def test_one_endless_line_is_cut() -> None:
    ctx = context()
    ctx.log.logger.disabled = True
    ctx.log.info("%s\0\ud800", "ü" * TAIL_BYTES)
    ctx.log.logger.disabled = False
    assert TAIL_BYTES - 4 <= len(ctx._log_tail().encode()) <= TAIL_BYTES
    assert "\0" not in ctx._log_tail()


def test_an_exception_that_is_not_there_is_said_to_be_none() -> None:
    ctx = context()
    ctx.log.error("bad", exc_info=True)  # noqa: LOG014  # the mistake that this is about
    assert lines(ctx)[0] == "ERROR bad"


def test_a_context_that_is_never_asked_for_a_log_has_none() -> None:
    assert context()._log_tail() == ""
