"""The checker finds every class of violation that is planted, names it, and finds nothing in what is legal."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.checker import RULES, check
from faults.planted import ALSO, PLANTED, Plant
from faults.records import OVERDUE_SCHEDULES, Answered, Evidence
from faults.scene import Scene, ordinary
from hypothesis import given, settings
from hypothesis import strategies as st

from layeron_job_server.domain.transitions import (
    CancelConfirmed,
    Event,
    Failed,
    Interrupted,
    Lost,
    Succeeded,
    TimedOut,
)


def broken(evidence: Evidence) -> set[str]:
    """The rules that found something."""
    return {rule for rule, found in check(evidence).items() if found}


def test_an_ordinary_history_is_clean() -> None:
    scene, _ = ordinary()
    assert broken(scene.evidence) == set()


@pytest.mark.parametrize(("rule", "plant"), [pytest.param(*one, id=one[1].__name__) for one in PLANTED])
def test_a_planted_violation_is_found_and_named(rule: str, plant: Plant) -> None:
    scene, run_id = ordinary()
    plant(scene, run_id)
    assert broken(scene.evidence) == {rule} | ALSO.get(plant, set())


def test_a_violation_of_every_class_is_planted() -> None:
    assert {rule for rule, _ in PLANTED} == set(RULES)


# What looks like two handlers of one run at once, and is not a violation.


def overlapping(task: str = "succeed", event: Event | None = None) -> tuple[Scene, str]:
    """A run whose second handler begins at 4500 while the first one goes on until 5000, its lease having ended."""
    scene = Scene()
    run_id = scene.enqueue(0, task=task)
    scene.start(run_id, 100)
    scene.end(run_id, 4400, event or Lost(), how="returned")
    scene.line("end", run_id, 5000, "w1", how="returned")
    scene.start(run_id, 4800, "w2")
    scene.end(run_id, 4900, Succeeded(), "w2", how="returned")
    return scene, run_id


def test_a_paused_worker_may_go_on_with_what_is_no_longer_its_own() -> None:
    scene, _ = overlapping()
    assert broken(scene.evidence) == {"overlapping handlers"}
    scene.stall("w1", 300, 400)
    assert broken(scene.evidence) == set(), "a pause within two leases before"
    scene.evidence.journal.pop()
    scene.fault("stop worker", "w1", 4000, 4950, pid=101)
    assert broken(scene.evidence) == set(), "a pause that the fault log tells of"
    scene.evidence.faults.clear()
    scene.stall("w2", 4000, 4600)
    assert broken(scene.evidence) == {"overlapping handlers"}, "another worker's pause"


def test_a_worker_without_a_recorded_heartbeat_may_go_on_only_if_a_server_did_not_reach_the_database() -> None:
    scene, _ = overlapping()
    scene.lose_session("w1", 4400)
    assert broken(scene.evidence) == {"overlapping handlers"}, "a worker that reaches nobody stops its handlers"
    scene.fault("break link", "s1-postgres", 2000, 3000)
    assert broken(scene.evidence) == set()


def test_a_handler_that_ignores_its_stop_may_go_on_once_its_attempt_was_ended_for_it() -> None:
    scene, _ = overlapping("stubborn")
    assert broken(scene.evidence) == set()
    scene, _ = overlapping("stubborn", Failed("ValueError"))
    assert broken(scene.evidence) == {"overlapping handlers"}, "it said itself that it had ended"


@pytest.mark.parametrize("kind", ["kill nats", "roll back nats"])
def test_only_overdue_schedules_may_be_left_and_only_if_nats_server_lost_its_state(kind: str) -> None:
    scene, _ = ordinary()
    scene.dump.left[OVERDUE_SCHEDULES] = 2
    scene.fault("stop nats", "nats", 100, 200)
    assert broken(scene.evidence) == {"left over"}
    scene.fault(kind, "nats", 300, 400)
    assert broken(scene.evidence) == set()
    for what in ("deliveries", "schedules", "unacknowledged"):
        scene.dump.left[what] = 1
        assert broken(scene.evidence) == {"left over"}, what
        del scene.dump.left[what]


def test_a_key_may_have_a_second_run_once_the_first_one_has_ended() -> None:
    scene = Scene()
    for at in (0, 100):
        scene.cancel(scene.enqueue(at, key="key", window="while_active"), at + 50)
    assert broken(scene.evidence) == set()


def test_a_batch_of_which_others_made_a_run_is_not_made_in_part() -> None:
    scene = Scene()
    made, missing = scene.ask(50), scene.ask(51)
    scene.make(50, made)
    scene.call("batch", 50, outcome="unknown", asked=(made, missing))
    scene.call("enqueue", 51, asked=(made,), answers=(Answered(made.run_id, "queued", True),))
    scene.cancel(made.run_id, 60)
    assert broken(scene.evidence) == set()


def test_evidence_that_was_saved_is_read_again_as_it_was(tmp_path: Path) -> None:
    scene, _ = ordinary()
    scene.fault("stop worker", "w1", 1, 2, pid=101)
    scene.evidence.save(tmp_path)
    assert Evidence.load(tmp_path) == scene.evidence


EVENTS: st.SearchStrategy[Event] = st.sampled_from(
    [Succeeded(), Failed("ValueError"), Failed("Fatal", retryable=False), TimedOut(), Lost(), Interrupted()]
)
STEP_MS = st.integers(min_value=3, max_value=900)
WORKER = st.sampled_from(["w1", "w2", "w3"])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_happens_to_runs_by_the_domains_rules_is_clean(data: st.DataObject) -> None:
    scene = Scene()
    for _ in range(data.draw(st.integers(1, 5))):
        _live(scene, data)
    assert broken(scene.evidence) == set()


def _live(scene: Scene, data: st.DataObject) -> None:
    """One run from its enqueue to its end, one event after the other."""
    at = data.draw(STEP_MS)
    task = data.draw(st.sampled_from(["succeed", "stubborn"]))
    run_id = scene.enqueue(at, task=task, delay_ms=data.draw(st.sampled_from([0, 500])))
    while not scene.status(run_id).is_terminal:
        if data.draw(st.integers(0, 5)) == 0:
            at += data.draw(STEP_MS)
            scene.cancel(run_id, at)
            continue
        at = max(at, int(scene.due_ms(run_id))) + data.draw(STEP_MS)
        worker = data.draw(WORKER)
        scene.start(run_id, at, worker)
        if data.draw(st.integers(0, 3)) == 0:
            at += data.draw(STEP_MS)
            scene.cancel(run_id, at)
        at += data.draw(STEP_MS) + 3
        event = data.draw(EVENTS)
        canceled = any(call.kind == "cancel" and call.target == run_id for call in scene.evidence.history)
        if canceled and data.draw(st.booleans()):
            event = CancelConfirmed()
        if isinstance(event, Lost):
            # Its handler ended in time: without an answer a worker stops before the server gives its runs away.
            scene.line("end", run_id, at - 2, worker, how="stopped")
        scene.end(run_id, at, event, worker, how="returned" if isinstance(event, Succeeded) else "raised")
