"""Which table holds each model's rows, and how many rows it has, as etl.model records it after each load."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import cast

from psycopg import sql

from pipeline.columns import Frozen
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, select, statement, template
from pipeline.warehouse.counts import Growth

# The row count of a table whose rows are unknown, because etl.model was restored or written again.
UNKNOWN = -1

# Tables with fewer rows, or fewer changes of rows, are counted in every run.
_FEW_ROWS = 10_000


@dataclass(frozen=True)
class _Numbers:
    """A table's counts of rows and versions, with Postgres' counters of changes that belong to them.

    Where a count is None, so many rows or versions were added to the recorded one.
    """

    rows: int | None
    versions: int | None
    added: int = 0
    added_versions: int = 0
    changes: int | None = None
    version_changes: int | None = None


class Binding(Frozen):
    """What etl.model records about a table, and whether the catalogue agrees.

    ``batch_id`` is the last batch of the table, ``loaded`` that of the warehouse. ``changes`` is Postgres'
    counter of rows inserted and deleted, ``version_changes`` that of versions.
    """

    table_name: str
    batch_id: str
    loaded: str
    row_count: int | None
    version_count: int | None
    is_there: bool
    has_versions: bool
    is_same_table: bool
    is_same_file: bool
    has_same_versions: bool
    is_same_etl: bool
    changes: int | None
    has_same_changes: bool
    version_changes: int | None
    has_same_version_changes: bool

    @property
    def versions(self) -> str:
        """The name of a dimension's table of versions."""
        return versions_name(self.table_name)

    @property
    def is_behind(self) -> bool:
        """Whether batches were loaded while the table had no model."""
        return self.batch_id != self.loaded

    @property
    def was_replaced(self) -> bool:
        """Whether it is another table than the one that was loaded."""
        return self.is_there and self.row_count is not None and not self.is_same_table

    @property
    def was_restored(self) -> bool:
        """Whether both the table and the schema etl were restored, perhaps from different moments."""
        return self.was_replaced and not self.is_same_etl

    @property
    def is_outdated(self) -> bool:
        """Whether the table was restored or rewritten, so that it has to be bound again."""
        return not (
            self.row_count is not None and self.is_same_table and self.is_same_file and self.is_same_etl
        )

    @property
    def will_be_trusted(self) -> bool:
        """Whether the next run need not count its rows or versions, if their counters are recorded now."""
        rows = 0 if self.is_untouched else min(self.row_count or 0, self.changes or 0)
        versions = (
            0 if self.has_untouched_versions else min(self.version_count or 0, self.version_changes or 0)
        )
        return max(rows, versions) >= _FEW_ROWS

    @property
    def is_untouched(self) -> bool:
        """Whether no row was inserted or deleted since the row count was recorded, by Postgres' own counters.

        A change that another session has just committed may be missing from them until the next run. When
        Postgres crashes or is restored, they begin at 0.
        """
        return self.has_same_changes and not self.is_outdated

    @property
    def has_untouched_versions(self) -> bool:
        """Whether no version was inserted or deleted since they were counted, like ``is_untouched``."""
        return self.has_same_version_changes and self.is_same_etl


def read(connection: Connection, schema: str, targets: Iterable[str], few: int = _FEW_ROWS) -> list[Binding]:
    """The bindings of those tables that have been loaded."""
    tables = list(targets)
    return select(connection, Binding, "warehouse/bindings.sql", schema=schema, tables=tables, few=few)


def bind(
    connection: Connection,
    schema: str,
    batch_id: str,
    targets: Mapping[str, Target],
    grown: Mapping[str, Growth | None],
) -> None:
    """Record that the tables have a batch.

    ``grown`` are the tables that it changed. Rows and versions are counted where that is None, and where
    nobody knows how many there were.
    """
    bindings = {each.table_name: each for each in read(connection, schema, targets)}
    growth = {name: grown.get(name, Growth()) for name in bindings}
    uncounted = [name for name, each in bindings.items() if each.row_count is None or growth[name] is None]
    rows = count_rows(connection, schema, uncounted)
    histories = {
        name: versions_name(name)
        for name, each in bindings.items()
        if not targets[name].fact and (each.version_count is None or growth[name] is None)
    }
    versions = count_rows(connection, schema, histories.values())
    _write(
        connection,
        schema,
        batch_id,
        {
            name: _Numbers(
                rows=rows.get(name),
                versions=versions.get(histories.get(name, "")),
                added=(each or Growth()).rows,
                added_versions=(each or Growth()).versions,
            )
            for name, each in growth.items()
        },
    )


def bind_again(connection: Connection, schema: str, counted: Iterable[tuple[Binding, int]]) -> None:
    """Record which tables these are, and their row counts; version counts and last batches stay."""
    numbers = {
        each.table_name: _Numbers(
            rows, each.version_count, changes=each.changes, version_changes=each.version_changes
        )
        for each, rows in counted
    }
    _write(connection, schema, None, numbers)


def record_removed(connection: Connection, schema: str, target: Target, versions: int) -> None:
    """Take versions that were removed from the recorded count; the next run counts all of the table's.

    So what others have changed before is still found, and what a table without a model holds is known.
    """
    if versions:
        connection.execute(
            sql.SQL(
                "UPDATE etl.model SET {count} = {count} - %s"
                " WHERE schema_name = %s AND table_name = %s AND {count} <> %s"
            ).format(count=sql.Identifier("row_count" if target.fact else "version_count")),
            (versions, schema, target.name, UNKNOWN),
        )


def _write(
    connection: Connection, schema: str, batch_id: str | None, numbers: Mapping[str, _Numbers]
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            statement("warehouse/bind_model.sql"),
            [
                {"schema": schema, "table": name, "batch": batch_id, **asdict(each)}
                for name, each in numbers.items()
            ],
        )


def recorded_models(connection: Connection, schema: str) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
    """The texts of the models that tables were computed with, as far as they are recorded.

    And the columns, in lower case, that somebody has dropped to add others of their names.
    """
    rows = connection.execute(statement("warehouse/recorded_models.sql"), {"schema": schema}).fetchall()
    texts = {str(name): str(text) for name, text, _ in rows if text is not None}
    return texts, {str(name): frozenset(cast(list[str], columns)) for name, _, columns in rows if columns}


def count_rows(connection: Connection, schema: str, tables: Iterable[str]) -> dict[str, int]:
    """The row counts of tables, by one statement for all of them."""
    parts = [
        sql.SQL("SELECT {}, count(*) FROM {}").format(sql.Literal(name), sql.Identifier(schema, name))
        for name in tables
    ]
    if not parts:
        return {}
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {str(name): cast(int, number) for name, number in rows}


def last_changes(connection: Connection, schema: str, tables: Mapping[str, bool]) -> dict[str, datetime]:
    """The time of the last batch among the versions of tables, for those that have any.

    ``tables`` maps a name to whether the table is a fact.
    """
    parts = [_last_change(schema, name, is_fact=is_fact) for name, is_fact in tables.items()]
    if not parts:
        return {}
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {str(name): time for name, time in rows if isinstance(time, datetime)}


def _last_change(schema: str, name: str, *, is_fact: bool) -> sql.Composed:
    times = "recorded_at" if is_fact else "GREATEST(valid_from, valid_to)"
    return template("SELECT {}, NULLIF(max({}), '-infinity'::timestamptz) FROM {}").format(
        sql.Literal(name), template(times), sql.Identifier(schema, name if is_fact else versions_name(name))
    )
