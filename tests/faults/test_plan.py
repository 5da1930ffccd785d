"""What a seed stands for: the same every time, legal, and never two faults at one thing at once."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from faults import plan
from faults.workload import POLICIES

from layeron_job.ids import decode, unix_ms_of

SEEDS = range(1, 21)
SECONDS = 120.0
BEGAN_US = time.time_ns() // 1000


def test_the_same_seed_makes_the_same_plan_and_another_one_another() -> None:
    assert plan.calls(7, 20, BEGAN_US) == plan.calls(7, 20, BEGAN_US)
    assert plan.faults(7, SECONDS) == plan.faults(7, SECONDS)
    assert plan.calls(7, 20, BEGAN_US) != plan.calls(8, 20, BEGAN_US)
    assert plan.faults(7, SECONDS) != plan.faults(8, SECONDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_are_healed_by_the_end_and_never_two_at_one_thing(seed: int) -> None:
    faults = plan.faults(seed, SECONDS)
    assert all(fault.at_seconds > 0 and fault.at_seconds + fault.seconds <= SECONDS for fault in faults)
    for number, later in enumerate(faults):
        for earlier in faults[:number]:
            if earlier.at_seconds + earlier.seconds > later.at_seconds:
                assert set(plan.touched(earlier)).isdisjoint(plan.touched(later))


def test_twenty_seeds_have_every_kind_of_fault_and_of_call() -> None:
    kinds = Counter(fault.kind for seed in SEEDS for fault in plan.faults(seed, SECONDS))
    assert set(kinds) == set(plan.FAULTS)
    calls = [call for seed in SEEDS for call in plan.calls(seed, 30, BEGAN_US)]
    assert {call.kind for call in calls} == {"enqueue", "batch", "cancel", "replay", "get", "pause", "resume"}
    asked = [asked for call in calls for asked in call.asked]
    assert {one.task for one in asked if one.task} == set(plan.TASKS)
    assert {one.policy for one in asked if one.policy} == set(POLICIES)
    assert {one.window for one in asked if one.key} == {"ttl", "while_active", "forever"}


def test_chosen_run_ids_are_of_their_moment() -> None:
    for call in plan.calls(3, 30, BEGAN_US):
        for asked in call.asked:
            assert 0 <= unix_ms_of(decode("run", asked.run_id)) - BEGAN_US // 1000 <= 30_000


def test_a_key_is_asked_for_by_many_mostly_with_the_same_request() -> None:
    by_key: dict[str, list[dict[str, object]]] = {}
    for call in plan.calls(3, 60, BEGAN_US):
        for asked in call.asked:
            if asked.key:
                by_key.setdefault(asked.key, []).append(asked.payload)
    again = [payload == payloads[0] for payloads in by_key.values() for payload in payloads[1:]]
    assert len(again) > 50
    assert 0.6 < sum(again) / len(again) < 1
