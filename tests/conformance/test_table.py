"""A cell that is not green is told with its reason, whatever is wrong: the answer, the driver, the case or a tool."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.cases import load
from conformance.column import play_column
from conformance.languages import LANGUAGES, Language, build
from conformance.table import Column, Results

CASES = """
- name: right
  for: callers
  not_applicable: {other: it cannot}
  steps:
    - enqueue: {task: work}
      expect: {created: true, status: queued}
- name: wrong
  for: callers
  steps:
    - enqueue: {task: work}
      expect: {created: true}
    - enqueue: {task: work}
      expect: {status: scheduled}
- name: an error that does not come
  for: callers
  steps: [{enqueue: {task: work}, error: {type: TaskNotRegistered}}]
- name: an error that was not expected
  for: callers
  steps: [{enqueue: {task: nobody}}]
- name: too early
  for: callers
  steps:
    - enqueue: {task: work, options: {delay_ms: 60000}}
      save: {run: run_id}
    - get: {run_id: "${run}"}
      timing: [{from: run.created_at, to: run.due_at, at_least_ms: 70000}]
- name: no time
  for: callers
  steps:
    - enqueue: {task: work, options: {run_id: "${run_id}"}}
    - get: {run_id: "${run_id}"}
      timing: [{from: run.created_at, to: run.finished_at}]
- name: too quick
  for: callers
  steps: [{tasks: {}, took_ms: [60000, 90000]}]
- name: another field
  for: callers
  steps: [{enqueue: {task: a b}, invalid: [name, payload]}]
- name: a variable that is not set
  for: callers
  steps: [{get: {run_id: "${nothing}"}}]
"""
PYTHON = Column("python", "caller")


def results_of(folder: Path, text: str) -> Results:
    (folder / "group.yaml").write_text(text)
    return Results(cases=load(folder))


async def test_every_cell_that_is_not_green_is_named_with_its_step(tmp_path: Path, address: str) -> None:
    results = results_of(tmp_path, CASES)
    await play_column(PYTHON, results, address)
    wrong, no_error, error, early, no_time, quick, field, no_variable = results.wrong(PYTHON)
    assert wrong == "python caller × wrong: step 2, enqueue: status: \"queued\" is not 'scheduled'"
    assert "python caller × an error that does not come: step 1, enqueue: the answer: has no 'error'" in no_error
    assert "step 1, enqueue: TaskNotRegistered TASK_NOT_REGISTERED: task 'nobody'" in error
    assert (
        "too early: step 2, get: the ms from run.created_at to run.due_at: 60000.0 is not a number from 70000" in early
    )
    assert "no time: step 2, get: run.finished_at: None is not a time" in no_time
    assert "too quick: step 1, tasks: the time it took, in ms: " in quick
    assert 'another field: step 1, enqueue: error.violations.0.field: "task" is not one of' in field
    assert "a variable that is not set: KeyError('nothing')" in no_variable


async def test_a_driver_that_ends_makes_every_cell_of_its_column_red(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LANGUAGES, "broken", Language("broken", ["false"]))
    results = results_of(tmp_path, CASES)
    await play_column(Column("broken", "caller"), results, address)
    wrong = results.wrong(Column("broken", "caller"))
    assert len(wrong) == 9
    assert all("the driver ended" in why for why in wrong[:-1])


def test_a_cell_that_was_not_played_is_missing_and_one_that_does_not_apply_is_not(tmp_path: Path) -> None:
    results = results_of(tmp_path, CASES)
    other = Column("other", "caller")
    results.columns += [other, Column("other", "worker")]
    results.of_cells = {(other, case.name): "" for case in results.cases[2:]}
    assert results.wrong(other) == ["other caller × wrong: missing"]
    header, caller_row, worker_row, *rest = results.lines()
    assert (header.split(), caller_row.split()) == (["group", "all"], ["other", "caller", "7/8", "7/8"])
    assert worker_row.split() == ["other", "worker", "-", "-"]
    assert rest == ["not applicable: other × right: it cannot", "other caller × wrong: missing"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: a, for: callers, steps: [{enqueue: {}, list: {}}]}", "a step has one op"),
        ("- {name: a, for: callers, steps: [{enqueue: {}, expects: {}}]}", "a step has one op"),
        ("- {name: a, for: callers, steps: [], step: []}", "nobody knows"),
        ("- {name: a, for: callers, server: gone, steps: []}", "there is no server 'gone'"),
        ("- {name: a, for: everyone, steps: []}", "everyone"),
        ("- {name: a, steps: []}", "for"),
        ("- {name: a, for: callers, steps: []}\n- {name: a, for: callers, steps: []}", "two cases are named 'a'"),
        ("- {name: [}", "group.yaml is not YAML"),
    ],
)
def test_a_case_of_another_form_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        results_of(tmp_path, text)


def test_a_tool_that_is_missing_is_told_by_its_name() -> None:
    with pytest.raises(RuntimeError, match="cobol was asked for, and there is no cobol-compiler on this machine"):
        build(Language("cobol", [], tools=["cobol-compiler"]))


def test_a_driver_that_is_missing_is_told_by_its_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"cobol was asked for, and there is no .*/drivers/cobol"):
        build(Language("cobol", [], sources=[Path(__file__).parent / "drivers" / "cobol"]))


def test_a_driver_that_cannot_be_built_shows_what_was_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        build(
            Language("cobol", [], sources=[tmp_path], build=[(tmp_path, ["sh", "-c", "echo no such luck >&2; exit 1"])])
        )
