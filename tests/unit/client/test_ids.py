"""Ids: they come back as they went out, and newer ones sort after older ones."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layeron_job.ids import attempt_id, decode, encode, new_run_id, new_uuid7, unix_ms_of


@settings(deadline=None)  # a busy machine is not a wrong answer
@given(st.uuids())
def test_an_id_comes_back_as_it_went_out(value: UUID) -> None:
    text = encode("run", value)
    assert len(text) == 30
    assert decode("run", text) == value


@settings(deadline=None)  # a busy machine is not a wrong answer
@given(st.uuids(), st.uuids())
def test_ids_sort_as_their_uuids_do(one: UUID, other: UUID) -> None:
    assert (encode("run", one) < encode("run", other)) == (one < other)


def test_an_id_is_the_typeid_of_its_uuid() -> None:
    # From the TypeID specification's own examples.
    assert encode("prefix", UUID("01890a5d-ac96-774b-bcce-b302099a8057")) == "prefix_01h455vb4pex5vsknk084sn02q"
    assert encode("prefix", UUID(int=2**128 - 1)) == "prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run_",
        "run_01h455vb4pex5vsknk084sn02",
        "run_01h455vb4pex5vsknk084sn02qq",
        "att_01h455vb4pex5vsknk084sn02q",
        "run-01h455vb4pex5vsknk084sn02q",
        "run_01H455VB4PEX5VSKNK084SN02Q",
        "run_01h455vb4pex5vsknk084sn0-q",
        "run_ul455vb4pex5vsknk084sn02qa",
        "run_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "run_01h455vb4pex5vsknk084sn0_q",
        "run_ 1h455vb4pex5vsknk084sn02q",
        "run_+1h455vb4pex5vsknk084sn02q",
        "run_01h455vb4pex5vsknk084sn02\N{ARABIC-INDIC DIGIT TWO}",
        "run_01h455vb4pex5vsknk084sn02\ud800",
    ],
)
def test_what_is_no_run_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be 'run_' and 26 characters"):
        decode("run", text)


def test_a_new_run_id_is_a_uuid_of_version_7_and_of_now() -> None:
    before = time.time_ns() // 1_000_000
    value = decode("run", new_run_id())
    assert (value.version, value.variant) == (7, "specified in RFC 4122")
    assert before <= unix_ms_of(value) <= time.time_ns() // 1_000_000


def test_a_uuid_of_a_given_time_has_that_time_and_is_never_made_twice() -> None:
    made = {new_uuid7(1_700_000_000_123) for _ in range(1_000)}
    assert len(made) == 1_000
    assert {unix_ms_of(value) for value in made} == {1_700_000_000_123}
    assert all(value.version == 7 for value in made)


def test_an_attempt_is_named_after_its_run() -> None:
    assert attempt_id("run_01h455vb4pex5vsknk084sn02q", 3) == "att_01h455vb4pex5vsknk084sn02q_3"
