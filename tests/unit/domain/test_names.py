"""Names and short texts: what passes, and what each refusal says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from layeron_job_server.domain.names import labels_problem, namespace_problem, queue_problem, task_problem, text_problem


@pytest.mark.parametrize("problem", [namespace_problem, queue_problem])
@pytest.mark.parametrize("name", ["default", "a", "0", "-", "team-7", "x" * 63])
def test_namespaces_and_queues_pass(problem: Callable[[str], str | None], name: str) -> None:
    assert problem(name) is None


@pytest.mark.parametrize("problem", [namespace_problem, queue_problem])
@pytest.mark.parametrize("name", ["", "A", "a_b", "a.b", "a b", "a\n", "é", "١", "a\0", "x" * 64, "a*", "a>"])
def test_other_namespaces_and_queues_are_refused(problem: Callable[[str], str | None], name: str) -> None:
    assert problem(name) == "must be 1 to 63 characters of a-z, 0-9 and '-'"


@pytest.mark.parametrize("name", ["deliver-webhook", "Send_Mail", "7", "x" * 64])
def test_task_names_pass(name: str) -> None:
    assert task_problem(name) is None


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a\n", "ü", "a/b", "a*", "a>", "a\0", "x" * 65])
def test_other_task_names_are_refused(name: str) -> None:
    assert task_problem(name) == "must be 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'"


def test_free_text_has_a_length_in_characters_and_no_nul() -> None:
    assert text_problem("", limit=3) is None
    assert text_problem("😀" * 3, limit=3) is None
    assert text_problem("abcd", limit=3) == "is 4 characters; the limit is 3"
    assert text_problem("a\0", limit=3) == "must not contain U+0000"


def test_labels_have_limits_on_number_keys_and_values() -> None:
    assert labels_problem({}) is None
    assert labels_problem({f"{n:063}": "v" * 255 for n in range(16)}) is None
    assert labels_problem({"empty": ""}) is None
    assert labels_problem({str(n): "" for n in range(17)}) == "are 17; the limit is 16"
    assert labels_problem({"": "v"}) == "must not have an empty key"
    assert labels_problem({"k" * 64: "v"}) == "has a key that is 64 characters; the limit is 63"
    assert labels_problem({"k\0": "v"}) == "has a key that must not contain U+0000"
    assert labels_problem({"k": "v" * 256}) == "has a value (of 'k') that is 256 characters; the limit is 255"
    assert labels_problem({"k": "\0"}) == "has a value (of 'k') that must not contain U+0000"
