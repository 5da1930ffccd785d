"""The errors: reasons that programs can rely on, and messages that say what to do."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from layeron_job_server.domain import errors
from layeron_job_server.domain.errors import FieldViolation, IdempotencyKeyReused, InvalidRequest, JobError, Overloaded

EVERY = [
    InvalidRequest([FieldViolation("task", "is required")]),
    errors.TaskNotRegistered("default", "send"),
    errors.TaskNotFound("default", "send"),
    errors.RunNotFound("default", "run_1"),
    IdempotencyKeyReused("run_1"),
    errors.RunIdReused(),
    errors.RunFinished("run_1", "succeeded"),
    errors.RunNotFinished("run_1", "running"),
    errors.PageTokenInvalid(),
    errors.WatchTokenExpired(),
    errors.FilterTooBroad(),
    Overloaded(timedelta(milliseconds=250), "enqueue"),
    errors.DatabaseAway(),
    errors.ShuttingDown(),
    errors.Unstorable("enqueue"),
    errors.PermissionDenied("Enqueue", "default"),
]


def test_every_error_is_in_this_table() -> None:
    assert {type(error) for error in EVERY} == set(JobError.__subclasses__())


def test_every_reason_is_stable_distinct_and_fits_error_info() -> None:
    assert [error.reason for error in EVERY] == [
        "INVALID_ARGUMENT",
        "TASK_NOT_REGISTERED",
        "TASK_NOT_FOUND",
        "RUN_NOT_FOUND",
        "IDEMPOTENCY_KEY_REUSED",
        "RUN_ID_REUSED",
        "RUN_ALREADY_FINISHED",
        "RUN_NOT_FINISHED",
        "PAGE_TOKEN_INVALID",
        "WATCH_TOKEN_EXPIRED",
        "FILTER_TOO_BROAD",
        "OVERLOADED",
        "DATABASE_UNAVAILABLE",
        "SERVER_SHUTTING_DOWN",
        "CANNOT_BE_STORED",
        "PERMISSION_DENIED",
    ]
    assert all(re.fullmatch("[A-Z][A-Z0-9_]{0,61}[A-Z0-9]", error.reason) for error in EVERY)


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.reason)
def test_the_message_names_what_the_metadata_names(error: JobError) -> None:
    assert str(error)
    assert all(value in str(error) for value in error.metadata.values())


def test_a_task_that_nobody_registered_is_answered_with_what_to_do() -> None:
    assert str(errors.TaskNotRegistered("y", "x")) == (
        "task 'x' is not registered in namespace 'y': start a worker that has it, or call RegisterTasks"
    )


def test_an_invalid_request_names_every_field() -> None:
    error = InvalidRequest([FieldViolation("delay", "must not be negative"), FieldViolation("task", "is required")])
    assert str(error) == "delay must not be negative; task is required"
    assert [violation.field for violation in error.violations] == ["delay", "task"]


def test_reused_ids_tell_nothing_of_the_other_request_but_the_keys_run() -> None:
    assert IdempotencyKeyReused("run_1").metadata == {"run_id": "run_1"}
    assert errors.RunIdReused().metadata == {}


def test_overload_says_when_to_come_back() -> None:
    error = Overloaded(timedelta(milliseconds=250), "enqueue")
    assert error.retry_after == timedelta(milliseconds=250)
    assert error.metadata == {"subject": "enqueue"}
    assert str(error).endswith("try again after 0.25 s")
