"""A random model: its file, its table and the expected contents of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import psycopg

from tests.differential.relations import Query

Connection = psycopg.Connection[tuple[object, ...]]
Row = tuple[object, ...]
Rows = dict[Row, Row]


@dataclass(frozen=True)
class Contents:
    """The expected contents of a table: its ``rows`` by key, and those that are ``present``."""

    rows: Rows = field(default_factory=dict)
    present: Rows = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A random model.

    ``short``: a column of numbers of one digit. ``filled``: a column that is NOT NULL. ``refers``: a column,
    and the dimension to whose key it refers. ``keeps_deleted``: rows that leave the result stay. ``appends``:
    the same, and it reads changed rows only. ``cursor``: the cursor of the view that it reads.
    ``untracked``: a column whose change alone makes no version, so that its value can be out of date.
    """

    name: str
    kind: str
    query: Query
    short: str | None = None
    filled: str | None = None
    refers: tuple[str, Drawn] | None = None
    keeps_deleted: bool = False
    untracked: str | None = None
    appends: bool = False
    cursor: str | None = None

    @property
    def columns(self) -> list[str]:
        """Its columns, those of the key first."""
        rest = [each for each in (*self.query.numbers, *self.query.texts) if each not in self.query.key]
        return [*self.query.key, *rest]

    @property
    def tracked(self) -> list[str]:
        """Its columns whose values are never out of date."""
        return [name for name in self.columns if name != self.untracked]

    @property
    def file(self) -> str:
        """The model's text."""
        headers = [f"-- kind: {self.kind}", f"-- key: {', '.join(self.query.key)}"]
        headers += ["-- deletes: ignore"] if self.keeps_deleted else []
        headers += ["-- reads: changes"] if self.appends else []
        headers += [f"-- cursor: {self.cursor}"] if self.cursor else []
        headers += [f"-- untracked: {self.untracked}"] if self.untracked else []
        return "\n".join([*headers, self.query.sql, ""])

    @property
    def types(self) -> dict[str, str]:
        """The types of its columns."""
        types = dict.fromkeys(self.query.numbers, "bigint") | dict.fromkeys(self.query.texts, "text")
        return types | ({self.short: "numeric(1,0)"} if self.short else {})

    @property
    def table(self) -> str:
        """The statement that creates its table."""
        types = self.types
        if self.filled:
            types[self.filled] += " NOT NULL"
        if self.refers:
            types[self.refers[0]] += f" REFERENCES {self.refers[1].name}"
        columns = [f"{name} {type_}" for name, type_ in types.items()]
        if self.kind == "dimension":
            columns.append(f"PRIMARY KEY ({', '.join(self.query.key)})")
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)});"

    @property
    def views(self) -> tuple[str, str]:
        """Views for Postgres: the model's result, and the result as other models read it."""
        names = [*self.query.numbers, *self.query.texts]
        shown = [f"CASE WHEN abs({n}) < 10 THEN {n} END AS {n}" if n == self.short else n for n in names]
        return (
            f"CREATE VIEW all_of_{self.name} AS {self.query.sql}",
            f"CREATE VIEW {self.name} AS SELECT {', '.join(shown)} FROM all_of_{self.name}",
        )

    @property
    def now(self) -> str:
        """The relation of its present rows in the warehouse; a dimension has deleted ones, too."""
        return f"{self.name}_current" if self.kind == "fact" else self.name

    def select(self, connection: Connection, relation: str) -> list[Row]:
        """The rows of a relation with its columns; all numbers are whole."""
        rows = connection.execute(f"SELECT {', '.join(self.columns)} FROM {relation}".encode()).fetchall()
        return [tuple(int(each) if isinstance(each, Decimal) else each for each in row) for row in rows]

    def contents(self, result: Sequence[Row], before: Contents, others: Mapping[str, Contents]) -> Contents:
        """The expected contents for a result; the key of a rejected row keeps its last row."""
        keys = [row[: len(self.query.key)] for row in result]
        times = Counter(keys)
        present: Rows = dict(before.present) if self.keeps_deleted or self.appends else {}
        for key, row in zip(keys, result, strict=True):
            if times[key] == 1 and self._fits(row, others):
                present[key] = row
            elif key in before.present:
                present[key] = before.present[key]
        return Contents(before.rows | present if self.kind == "dimension" else present, present)

    def _fits(self, row: Row, others: Mapping[str, Contents]) -> bool:
        named = dict(zip(self.columns, row, strict=True))
        if self.short and named[self.short] is not None and abs(Decimal(str(named[self.short]))) >= 10:
            return False
        if self.filled and named[self.filled] is None:
            return False
        value, other = (named[self.refers[0]], self.refers[1].name) if self.refers else (None, "")
        return value is None or (value,) in others[other].rows
