"""What came of every cell, and the table of it: language × group of cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .cases import Case, Role
from .languages import LANGUAGES


@dataclass(frozen=True, slots=True)
class Column:
    """A language as caller or as worker."""

    language: str
    role: Role

    def __str__(self) -> str:
        return f"{self.language} {self.role}"


def columns_of(language: str) -> list[Column]:
    """The columns of a language."""
    return [Column(language, role) for role in LANGUAGES[language].roles]


@dataclass(slots=True)
class Results:
    """What came of the cells: "" is green, any other text says what is wrong. A cell without either is missing."""

    columns: list[Column] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    of_cells: dict[tuple[Column, str], str] = field(default_factory=dict)

    def cells(self, column: Column, group: str = "") -> list[Case]:
        """The cases that a column has cells for."""
        return [
            case
            for case in self.cases
            if column.role in case.roles and column.language not in case.not_applicable and group in ("", case.group)
        ]

    def wrong(self, column: Column) -> list[str]:
        """Each red or missing cell of a column, and why."""
        names = [case.name for case in self.cells(column)]
        of_column = {name: self.of_cells.get((column, name), "missing") for name in names}
        return [f"{column} × {name}: {why}" for name, why in of_column.items() if why]

    def lines(self) -> Iterable[str]:
        """The table, and what is wrong."""
        groups = list(dict.fromkeys(case.group for case in self.cases))
        rows = [[str(column), *(self._count(column, group) for group in [*groups, ""])] for column in self.columns]
        rows.insert(0, ["", *groups, "all"])
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        yield from ("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
        for case in self.cases:
            yield from (f"not applicable: {name} × {case.name}: {why}" for name, why in case.not_applicable.items())
        for column in self.columns:
            yield from self.wrong(column)

    def _count(self, column: Column, group: str) -> str:
        cases = self.cells(column, group)
        green = sum(self.of_cells.get((column, case.name)) == "" for case in cases)
        return f"{green}/{len(cases)}" if cases else "-"
