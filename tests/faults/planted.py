"""Violations for the tests of the checker: each plants one into an ordinary history, whose run_id it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from layeron_job_server.domain.transitions import Failed, Succeeded

from .records import OVERDUE_SCHEDULES, Answered, Life
from .scene import POLICY, Scene, ns, us

Plant: TypeAlias = Callable[[Scene, str], None]


def a_promised_run_is_gone(scene: Scene, run_id: str) -> None:
    asked = scene.ask(50)
    scene.call("enqueue", 50, asked=(asked,), answers=(Answered(asked.run_id, "queued", True),))


def a_run_is_neither_open_nor_ended(scene: Scene, run_id: str) -> None:
    scene.dump.ended_runs = [row for row in scene.dump.ended_runs if row["run_id"] != run_id]


def a_batch_is_made_in_part(scene: Scene, run_id: str) -> None:
    made, missing = scene.ask(50), scene.ask(51)
    scene.make(50, made)
    scene.call("batch", 50, outcome="unknown", asked=(made, missing))
    scene.cancel(made.run_id, 60)


def a_promised_run_is_not_found_later(scene: Scene, run_id: str) -> None:
    scene.call("get", 900, outcome="fail", reason="RUN_NOT_FOUND", target=run_id)


def a_replay_does_not_find_what_was_promised(scene: Scene, run_id: str) -> None:
    new = replace(scene.ask(900), replays=run_id)
    scene.call("replay", 900, outcome="fail", reason="RUN_NOT_FOUND", asked=(new,))


def a_refused_run_is_made(scene: Scene, run_id: str) -> None:
    asked = scene.ask(50)
    scene.make(50, asked)
    scene.call("enqueue", 50, outcome="fail", reason="RUN_ID_REUSED", asked=(asked,))
    scene.cancel(asked.run_id, 60)


def a_run_that_nobody_asked_for(scene: Scene, run_id: str) -> None:
    asked = scene.ask(50)
    scene.make(50, asked)
    scene.cancel(asked.run_id, 60)


def two_attempts_are_open_at_once(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.attempts[:-1], run_id, ended_us=us(650), retry_us=None)


def one_grant_is_handled_twice(scene: Scene, run_id: str) -> None:
    first = next(line for line in scene.evidence.journal if line.run_id == run_id)
    scene.evidence.journal.append(replace(first, at_ns=ns(350)))


def two_handlers_go_on_at_once(scene: Scene, run_id: str) -> None:
    scene.line("end", run_id, 650, "w1")
    scene.evidence.journal = [
        line for line in scene.evidence.journal if (line.run_id, line.what, line.attempt) != (run_id, "end", 1)
    ]
    scene.change_line(run_id, "end", attempt=1, worker="w1", at_ns=ns(650))
    scene.line("end", run_id, 699, "w2", how="returned")


def a_handler_without_a_grant(scene: Scene, run_id: str) -> None:
    scene.line("begin", run_id, 800, "w2")
    scene.change_line(run_id, "begin", attempt=3)


def a_handler_in_another_process_than_the_granted_one(scene: Scene, run_id: str) -> None:
    scene.change_line(run_id, "begin", pid=103, worker="w3")
    scene.change_line(run_id, "end", pid=103, worker="w3")


def a_transition_that_is_not_allowed(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.transitions, run_id, reason="ATTEMPT_LOST")


def a_transition_after_the_end(scene: Scene, run_id: str) -> None:
    last = [row for row in scene.dump.transitions if row["run_id"] == run_id][-1]
    scene.dump.transitions.append({**last, "seq": last["seq"] + 1})


def a_transition_is_missing(scene: Scene, run_id: str) -> None:
    scene.dump.transitions = [row for row in scene.dump.transitions if (row["run_id"], row["seq"]) != (run_id, 2)]


def a_run_began_in_the_middle(scene: Scene, run_id: str) -> None:
    scene.change([row for row in scene.dump.transitions if row["seq"] == 0], run_id, to_status="retrying")


def a_run_that_is_not_where_its_transitions_led(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.ended_runs, run_id, status="dead_lettered")


def a_run_that_is_open_and_ended(scene: Scene, run_id: str) -> None:
    scene.dump.open_runs.append({"run_id": run_id, "status": "succeeded", "attempt": 2, "counted": 1, "due_us": 0})


def an_attempt_without_an_end(scene: Scene, run_id: str) -> None:
    scene.dump.attempts = [row for row in scene.dump.attempts if (row["run_id"], row["number"]) != (run_id, 1)]
    scene.change(scene.dump.ended_runs, run_id, counted=0)


def a_run_with_another_number_of_attempts(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.ended_runs, run_id, attempt=3)


def more_attempts_than_the_policy_has(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.runs, run_id, retry={**scene.dump.runs[0]["retry"], "max_attempts": 0})


def a_run_that_counts_otherwise(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.ended_runs, run_id, counted=2)


def a_retry_after_a_fatal_error(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.runs, run_id, retry={**scene.dump.runs[0]["retry"], "non_retryable": ["ValueError"]})


def a_retry_too_long_after_the_first_start(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.runs, run_id, retry={**scene.dump.runs[0]["retry"], "max_elapsed": 100})


def a_start_before_the_delay_is_over(scene: Scene, run_id: str) -> None:
    scene.change_asked(run_id, delay_ms=200)


def a_start_before_run_at(scene: Scene, run_id: str) -> None:
    scene.change_asked(run_id, run_at_us=us(201))


def a_start_after_start_by(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.runs, run_id, start_by_us=us(150))


def a_retry_before_its_time(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.attempts[:-1], run_id, retry_us=us(601))


def a_retry_sooner_than_the_policy_says(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.attempts[:-1], run_id, retry_us=us(450))


def a_retry_sooner_than_the_handler_said(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.attempts[:-1], run_id, error_type="RetryAfter")


def a_start_after_a_cancel(scene: Scene, run_id: str) -> None:
    scene.call("cancel", 400, target=run_id, answers=(Answered(run_id, "running", False),))


def a_canceled_run_that_was_given_up(scene: Scene, run_id: str) -> None:
    failed = scene.enqueue(50, policy=replace(POLICY, max_attempts=1))
    scene.start(failed, 60)
    scene.call("cancel", 70, target=failed, answers=(Answered(failed, "running", False),))
    scene.end(failed, 90, Failed("ValueError"))


def a_run_that_was_said_to_be_canceled(scene: Scene, run_id: str) -> None:
    scene.call("cancel", 720, target=run_id, answers=(Answered(run_id, "canceled", False),))


def two_runs_of_one_key(scene: Scene, run_id: str) -> None:
    for at in (50, 60):
        scene.cancel(scene.enqueue(at, key="key", window="ttl"), at + 5)


def two_open_runs_of_one_key(scene: Scene, run_id: str) -> None:
    first = scene.enqueue(50, key="key", window="while_active")
    scene.cancel(scene.enqueue(60, key="key", window="while_active"), 70)
    scene.cancel(first, 80)


def one_run_made_twice(scene: Scene, run_id: str) -> None:
    first = next(operation for operation in scene.evidence.history if operation.about == run_id)
    scene.evidence.history.append(replace(first, client="s1"))


def an_answer_that_is_another_run(scene: Scene, run_id: str) -> None:
    asked = scene.ask(50)
    scene.call("enqueue", 50, asked=(replace(asked, payload=scene.dump.runs[-1]["payload"]),),
               answers=(Answered(run_id, "queued", False),))  # fmt: skip


def a_run_with_another_payload(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.runs, run_id, task="flaky")


def a_handler_with_another_runs_payload(scene: Scene, run_id: str) -> None:
    scene.change_line(run_id, "begin", number=999)


def a_result_that_no_handler_returned(scene: Scene, run_id: str) -> None:
    scene.change(scene.dump.attempts, run_id, result={"attempt": 2, "began_ns": 1})


def a_success_of_a_handler_that_raised(scene: Scene, run_id: str) -> None:
    scene.change_line(run_id, "end", how="raised")


def a_success_without_a_handler(scene: Scene, run_id: str) -> None:
    lonely = scene.enqueue(50)
    scene.start(lonely, 60, handled=False)
    scene.end(lonely, 90, Succeeded(), how="returned")


def a_run_that_never_ends(scene: Scene, run_id: str) -> None:
    scene.enqueue(50)


def a_row_is_left(scene: Scene, run_id: str) -> None:
    scene.dump.left["outbox rows"] = 1


def a_schedule_that_never_fires_though_nats_server_was_well(scene: Scene, run_id: str) -> None:
    scene.dump.left[OVERDUE_SCHEDULES] = 1


def a_system_that_never_comes_to_rest(scene: Scene, run_id: str) -> None:
    scene.dump.drain_seconds = None


def an_internal_error(scene: Scene, run_id: str) -> None:
    scene.call("get", 900, outcome="unknown", reason="INTERNAL", target=run_id)


def a_process_that_ends_by_itself(scene: Scene, run_id: str) -> None:
    scene.evidence.lives.append(Life("s1", 200, 0, ns(500), 1, False))


def a_process_that_does_not_end(scene: Scene, run_id: str) -> None:
    scene.evidence.lives.append(Life("s1", 200, 0, ns(500), -9, True, hung=True))


# What breaks the rule, and what else it then breaks.
ALSO: dict[Plant, set[str]] = {
    a_run_is_neither_open_nor_ended: {"illegal transitions", "counted over policy"},
    a_run_that_is_open_and_ended: {"stuck runs"},
}
PLANTED: list[tuple[str, Plant]] = [
    ("lost", a_promised_run_is_gone),
    ("lost", a_run_is_neither_open_nor_ended),
    ("lost", a_batch_is_made_in_part),
    ("lost", a_promised_run_is_not_found_later),
    ("lost", a_replay_does_not_find_what_was_promised),
    ("lost", a_refused_run_is_made),
    ("lost", a_run_that_nobody_asked_for),
    ("overlapping grants", two_attempts_are_open_at_once),
    ("overlapping grants", one_grant_is_handled_twice),
    ("overlapping handlers", two_handlers_go_on_at_once),
    ("phantom starts", a_handler_without_a_grant),
    ("phantom starts", a_handler_in_another_process_than_the_granted_one),
    ("illegal transitions", a_transition_that_is_not_allowed),
    ("illegal transitions", a_transition_after_the_end),
    ("illegal transitions", a_transition_is_missing),
    ("illegal transitions", a_run_began_in_the_middle),
    ("illegal transitions", a_run_that_is_not_where_its_transitions_led),
    ("illegal transitions", a_run_that_is_open_and_ended),
    ("illegal transitions", an_attempt_without_an_end),
    ("illegal transitions", a_run_with_another_number_of_attempts),
    ("counted over policy", more_attempts_than_the_policy_has),
    ("counted over policy", a_run_that_counts_otherwise),
    ("counted over policy", a_retry_after_a_fatal_error),
    ("counted over policy", a_retry_too_long_after_the_first_start),
    ("early starts", a_start_before_the_delay_is_over),
    ("early starts", a_start_before_run_at),
    ("early starts", a_start_after_start_by),
    ("early starts", a_retry_before_its_time),
    ("early starts", a_retry_sooner_than_the_policy_says),
    ("early starts", a_retry_sooner_than_the_handler_said),
    ("starts after a cancel", a_start_after_a_cancel),
    ("starts after a cancel", a_canceled_run_that_was_given_up),
    ("starts after a cancel", a_run_that_was_said_to_be_canceled),
    ("keys or ids with two runs", two_runs_of_one_key),
    ("keys or ids with two runs", two_open_runs_of_one_key),
    ("keys or ids with two runs", one_run_made_twice),
    ("keys or ids with two runs", an_answer_that_is_another_run),
    ("mixed up", a_run_with_another_payload),
    ("mixed up", a_handler_with_another_runs_payload),
    ("mixed up", a_result_that_no_handler_returned),
    ("mixed up", a_success_of_a_handler_that_raised),
    ("mixed up", a_success_without_a_handler),
    ("stuck runs", a_run_that_never_ends),
    ("left over", a_row_is_left),
    ("left over", a_schedule_that_never_fires_though_nats_server_was_well),
    ("left over", a_system_that_never_comes_to_rest),
    ("INTERNAL answers", an_internal_error),
    ("unexpected ends", a_process_that_ends_by_itself),
    ("unexpected ends", a_process_that_does_not_end),
]
