"""The state chart in ARCHITECTURE.md, as the code draws it. `python -m support.chart` writes it there."""

from __future__ import annotations

import re
from pathlib import Path

from layeron_job_server.domain.transitions import chart

PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"
_BETWEEN = re.compile(r"(<!-- chart -->\n).*?(<!-- /chart -->)", re.DOTALL)


def with_chart(page: str) -> str:
    """The page with the chart of today's code."""
    return _BETWEEN.sub(lambda found: f"{found[1]}```mermaid\n{chart()}\n```\n{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(with_chart(PAGE.read_text()))
