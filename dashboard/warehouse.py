"""The warehouse as the page reads it: reporting views at one moment, read-only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from typing import Any

from psycopg import DataError, sql
from psycopg.abc import Loader
from psycopg.rows import dict_row
from psycopg.types.datetime import (
    DateLoader,
    IntervalLoader,
    TimeLoader,
    TimestampLoader,
    TimestamptzLoader,
    TimetzLoader,
)

from dashboard.filters import FilterError
from pipeline.errors import PipelineError
from pipeline.postgres import Connection, template, transaction
from pipeline.warehouse.marts import meaning_of
from pipeline.warehouse.schemas import reporting_schema

Row = Mapping[str, Any]
_NOTHING: Row = {"as_of": None, "behind": None, "first_batch": None, "last_batch": None, "rejected_rows": 0}


# Estimates that are far too high would have short queries compiled, and little memory has groups and sorts of
# many orders written to disk.
_LIMITS = """
    SELECT
        set_config('statement_timeout', %s, true),
        set_config('jit', 'off', true),
        set_config('work_mem', '64MB', true)
"""


def _or_text(loader: type[Loader]) -> type[Loader]:
    """A loader that leaves a value which Python lacks, such as infinity, as Postgres prints it."""

    class OrText(loader):  # type: ignore[misc, valid-type]
        def load(self, data: Any) -> Any:  # noqa: ANN401  as psycopg declares it
            try:
                return super().load(data)
            except DataError:
                return bytes(data).decode()

    return OrText


_LOADERS = {
    "date": _or_text(DateLoader),
    "time": _or_text(TimeLoader),
    "timetz": _or_text(TimetzLoader),
    "timestamp": _or_text(TimestampLoader),
    "timestamptz": _or_text(TimestamptzLoader),
    "interval": _or_text(IntervalLoader),
}


class NoReports(PipelineError):
    """The database has no reporting views."""


class OtherModels(PipelineError):
    """A page shows the shop's models, and the warehouse has others."""


@dataclass(frozen=True)
class Column:
    """A column of a view, with its type as Postgres prints it."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class View:
    """A view of the reporting schema."""

    name: str
    meaning: str
    columns: Mapping[str, Column]


@dataclass
class Reports:
    """The reporting views at one moment, in one transaction."""

    connection: Connection
    schema: str
    freshness: Row
    moment: datetime | None

    @cached_property
    def views(self) -> Mapping[str, View]:
        """The views that the role may read, by name."""
        found: dict[str, View] = {}
        for row in self.rows(statement("views.sql"), {"schema": self.schema}):
            view = found.setdefault(row["view"], View(row["view"], meaning_of(row["view_meaning"]), {}))
            column = Column(row["name"], row["type"], row["meaning"] or "")
            found[view.name] = View(view.name, view.meaning, {**view.columns, column.name: column})
        return found

    def view(self, name: str) -> View:
        """A view by its name; raises FilterError if there is none."""
        if name not in self.views:
            raise FilterError(
                f"view: the warehouse has no view {self.schema}.{name[:60]}, or the role may not read it;"
                " choose another"
            )
        return self.views[name]

    def lacking(self, needed: Iterable[str]) -> list[str]:
        """Those of these views that do not exist, with their schema."""
        names = [self.relation(name).as_string() for name in needed]
        query = template("SELECT name FROM unnest(%(names)s::text[]) AS name WHERE to_regclass(name) IS NULL")
        return [row["name"].replace('"', "") for row in self.rows(query, {"names": names})]

    def relation(self, name: str) -> sql.Identifier:
        """The quoted name of a view or function."""
        return sql.Identifier(self.schema, name)

    def rows(self, query: sql.SQL | sql.Composed, bound: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a query."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            for name, loader in _LOADERS.items():
                cursor.adapters.register_loader(name, loader)
            return list(cursor.execute(query, bound or {}).fetchall())

    def look_at(self, moment: datetime | None) -> None:
        """Show this moment, or now, until the transaction ends or another moment is chosen."""
        self.connection.execute(template("SELECT etl.look_at(%s, for_transaction => true)"), (moment,))


@dataclass(frozen=True)
class Warehouse:
    """A warehouse by its URL; ``schema`` has its tables, and queries end after ``timeout`` seconds."""

    url: str
    schema: str = "public"
    timeout: float = 30

    @property
    def reporting(self) -> str:
        """The schema of the reporting views."""
        return reporting_schema(self.schema)

    @contextmanager
    def reports(self, moment: datetime | None = None) -> Iterator[Reports]:
        """The views as of a moment, by default now; raises FilterError for one before the first batch."""
        with transaction(self.url, "warehouse", reading=True, pauses=()) as connection:
            connection.execute(template(_LIMITS), (f"{self.timeout}s",))
            reports = Reports(connection, self.reporting, _NOTHING, moment)
            _check_schema(reports)
            # Behind a pooler, the session may have another client's moment.
            reports.look_at(None)
            reports.freshness = _freshness(reports)
            first = reports.freshness["first_batch"]
            if moment and first and moment < first:
                raise FilterError(
                    f"as_of: nothing is known of {moment:%Y-%m-%d %H:%M:%S} UTC; the first batch shows"
                    f" {first:%Y-%m-%d %H:%M:%S} UTC, choose that time or a later one"
                )
            if moment:
                reports.look_at(moment)
            yield reports


def _check_schema(reports: Reports) -> None:
    row = reports.connection.execute("SELECT to_regnamespace(quote_ident(%s)) IS NULL", (reports.schema,))
    if row.fetchone() == (True,):
        raise NoReports(
            f"the database has no schema {reports.schema}: `make run` creates it with the next batch;"
            " if it is another warehouse's database, correct TOTESYS_DASHBOARD_URL"
        )


def _freshness(reports: Reports) -> Row:
    rows = reports.rows(sql.SQL("SELECT * FROM {}").format(reports.relation("freshness")))
    return rows[0] if rows else _NOTHING


def statement(file: str) -> sql.SQL:
    """A query in ``dashboard/sql``."""
    return template(files("dashboard").joinpath("sql", file).read_text(encoding="utf-8"))


def names(columns: Sequence[str]) -> sql.Composed:
    """Quoted names of columns, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))
