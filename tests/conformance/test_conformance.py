"""Every language behaves as the cases say: one test for each language, which plays its columns of the table."""

from __future__ import annotations

import asyncio

import pytest
from conformance.column import play_column
from conformance.languages import LANGUAGES, build
from conformance.table import Results, columns_of


@pytest.mark.timeout(600)
async def test_every_cell_is_green(language: str, results: Results, address: str) -> None:
    columns = columns_of(language)
    build(LANGUAGES[language])
    await asyncio.gather(*(play_column(column, results, address) for column in columns))
    wrong = [why for column in columns for why in results.wrong(column)]
    assert not wrong, "\n".join(wrong)
