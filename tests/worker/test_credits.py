"""Credits: never more than there are, by weight while all are busy, and nobody is starved or paid back later."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from layeron_job_worker.credits import WEIGHTS, Share, share_out

MANY = 10**6

priorities = st.sampled_from(sorted(WEIGHTS))
rounds = st.tuples(st.integers(0, 500), st.lists(st.integers(0, 300), min_size=12, max_size=12))


def busy(priority: str, backlog: int = MANY) -> Share:
    share = Share(priority)
    share.backlog = backlog
    return share


def pulled(free: int, *shares: Share) -> list[int]:
    """How much each share pulls, in the order given."""
    pulls = dict(share_out(free, shares))
    return [pulls.get(share, 0) for share in shares]


@settings(deadline=None)
@given(st.lists(priorities, min_size=1, max_size=12), st.lists(rounds, max_size=20))
def test_busy_consumers_never_get_more_than_is_free_nor_more_than_they_have(
    names: list[str], turns: list[tuple[int, list[int]]]
) -> None:
    shares = [Share(name) for name in names]
    for free, backlogs in turns:
        for share, backlog in zip(shares, backlogs, strict=False):
            share.backlog = backlog
        counts = {share: count for share, count in share_out(free, shares) if share.backlog}
        assert all(0 < count <= share.backlog for share, count in counts.items())
        wanted = sum(share.backlog for share in shares)
        assert sum(counts.values()) == min(free, wanted)
        assert all(share.owed > -1 for share in shares)


def test_what_is_owed_to_several_at_once_is_not_paid_from_credits_that_are_not_there() -> None:
    shares = [busy("normal") for _ in range(6)]
    while len(shares) > 1:
        assert sum(pulled(1, *shares)) == 1
        shares.pop(0)


def test_credits_go_by_weight_while_all_are_busy() -> None:
    assert pulled(210, busy("high"), busy("normal"), busy("low")) == [160, 40, 10]


def test_one_slot_serves_all_three_priorities_by_weight_and_starves_none() -> None:
    shares = [busy("low"), busy("normal"), busy("high")]
    turns = [pulled(1, *shares) for _ in range(2_100)]
    assert [sum(counts) for counts in zip(*turns, strict=True)] == [100, 400, 1_600]
    assert max(turn for turn, counts in enumerate(turns) if counts[0]) > 2_000
    assert any(counts[0] for counts in turns[:21])


def test_what_one_has_no_use_for_goes_to_the_others_by_priority() -> None:
    assert pulled(100, busy("high", 3), busy("normal"), busy("low", 1)) == [3, 96, 1]


def test_what_others_had_no_use_for_is_not_held_against_a_consumer_later() -> None:
    high, low = busy("high"), busy("low", 1)
    for _ in range(1_000):
        low.backlog = 1
        assert pulled(100, high, low) == [99, 1]
    low.backlog = MANY
    assert pulled(170, high, low) == [160, 10]


def test_many_equal_consumers_share_few_credits_in_turn() -> None:
    shares = [busy("normal") for _ in range(96)]
    turns = [pulled(5, *shares) for _ in range(96)]
    assert {sum(counts) for counts in turns} == {5}
    assert {sum(counts) for counts in zip(*turns, strict=True)} == {5}


def test_without_credits_nobody_pulls() -> None:
    assert share_out(0, [busy("high"), Share("low")]) == []
    assert share_out(-3, [busy("high"), Share("low")]) == []


def test_a_worker_with_one_slot_listens_to_every_quiet_consumer() -> None:
    assert pulled(1, Share("low"), Share("high"), Share("normal")) == [1, 1, 1]


def test_a_quiet_consumer_is_listened_to_also_while_another_takes_all_credits() -> None:
    assert pulled(10, busy("high"), Share("low")) == [10, 1]


def test_a_quiet_consumer_holds_no_credits_that_another_could_use() -> None:
    assert pulled(60, Share("high"), Share("normal"), Share("low")) == [1, 1, 1]


def test_a_consumer_with_a_pull_under_way_gets_no_second_one() -> None:
    high, low = busy("high"), busy("low")
    high.outstanding = 5
    assert pulled(10, high, low) == [0, 10]
    high.close()
    assert pulled(10, high, low)[0] > 0


def test_a_doorbell_holds_no_credit_and_a_pull_all_that_it_may_bring() -> None:
    share = Share("high")
    share.outstanding, share.listening = 1, True
    assert share.reserved == 0
    share.outstanding, share.listening = 4, False
    assert share.reserved == 4
    share.close()
    assert share.reserved == 0


def test_an_unknown_priority_counts_as_normal() -> None:
    assert Share("urgent").weight == WEIGHTS["normal"]
    assert pulled(10, busy("urgent"), busy("normal")) == [5, 5]
