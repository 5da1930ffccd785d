"""What the documents say of the code is so."""

from __future__ import annotations

from support.chart import PAGE, with_chart


def test_the_state_chart_is_the_one_the_code_draws() -> None:
    page = PAGE.read_text()
    assert "stateDiagram" in page
    assert page == with_chart(page), "run make generate"


def test_the_architecture_fits_on_150_lines() -> None:
    assert len(PAGE.read_text().splitlines()) <= 150
