"""The tests that docs/reliability.md names are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
_NAMED = re.compile(r"`((?:\w+/)+test_\w+\.py)`(?:: `(\w+)`)?")


def test_every_test_that_the_reliability_page_names_is_there() -> None:
    named = _NAMED.findall(PAGE.read_text())
    assert len(named) > 40
    for file, words in named:
        tests = re.findall(r"def (test_\w+)", (TESTS / file).read_text())
        found = [name for name in tests if words in name]
        assert found if not words else len(found) == 1, f"{file} has {len(found)} tests named {words!r}: {found}"
