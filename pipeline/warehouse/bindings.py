"""What etl believes of a table, bound to that very table: which one it is, and how many rows it has."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import cast

from psycopg import sql
from psycopg.rows import class_row

from pipeline.columns import Frozen
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, statement, template, transaction
from pipeline.words import counted

# How many rows etl knows of a table that it knows nothing of.
UNKNOWN = -1

# Of a table: its rows where they were counted, how many were added, and its versions where they were counted.
_Numbers = tuple[int | None, int, int | None]


class Doubt(Frozen):
    """A table that is not as it was loaded.

    ``found`` says why. What it has up to the batch ``since`` is right; None where nothing is. With
    ``lacks_history`` a dimension's versions are not those that were loaded. One that ``may_be_ahead`` may
    have later batches than etl, which was restored.
    """

    table: str
    found: str
    is_empty: bool
    lacks_history: bool = False
    may_be_ahead: bool = False
    since: str | None = None


class _Binding(Frozen):
    """What is believed of a table, and whether the catalogue says the same."""

    table_name: str
    batch_id: str
    loaded: str
    row_count: int | None
    version_count: int | None
    is_there: bool
    has_versions: bool
    is_same_table: bool
    is_same_file: bool
    is_same_etl: bool

    @property
    def versions(self) -> str:
        """The table of its history, if it is a dimension."""
        return versions_name(self.table_name)

    @property
    def was_restored(self) -> bool:
        """Whether both it and etl were, perhaps at different states."""
        return self.is_there and self.row_count is not None and not (self.is_same_table or self.is_same_etl)

    @property
    def is_loose(self) -> bool:
        """Whether it has to be bound anew where its rows are there."""
        return not (
            self.row_count is not None and self.is_same_table and self.is_same_file and self.is_same_etl
        )


def examine(url: str, schema: str, targets: Iterable[str]) -> list[Doubt]:
    """Find the tables that are not as they were loaded; those that were only rewritten are bound anew."""
    with transaction(url, "warehouse") as connection:
        found = _look(connection, schema, targets)
        moved = {
            name: rows for name, (binding, rows, doubt) in found.items() if not doubt and binding.is_loose
        }
        _bind(connection, schema, None, {name: (rows, 0, None) for name, rows in moved.items()})
    return [doubt for _, _, doubt in found.values() if doubt]


def look(connection: Connection, schema: str, targets: Iterable[str]) -> list[Doubt]:
    """Find the tables that are not as they were loaded, and change nothing."""
    return [doubt for _, _, doubt in _look(connection, schema, targets).values() if doubt]


def bind(
    connection: Connection,
    schema: str,
    batch_id: str,
    targets: Mapping[str, Target],
    added: Mapping[str, int | None],
) -> None:
    """Note that the tables have a batch, which ``added`` so many rows to those that it touched.

    Rows are counted where that is not known, and versions of dimensions that were touched.
    """
    known = {each.table_name: each for each in _bindings(connection, schema, targets)}
    uncounted = [name for name, each in known.items() if each.row_count is None or added.get(name, 0) is None]
    rows = count(connection, schema, uncounted)
    histories = {
        name: versions_name(name)
        for name, each in known.items()
        if not targets[name].fact and (name in added or each.version_count is None)
    }
    versions = count(connection, schema, histories.values())
    _bind(
        connection,
        schema,
        batch_id,
        {
            name: (rows.get(name), added.get(name) or 0, versions.get(histories.get(name, "")))
            for name in known
        },
    )


def count(connection: Connection, schema: str, tables: Iterable[str]) -> dict[str, int]:
    """How many rows tables have, by one statement for all of them."""
    parts = [
        sql.SQL("SELECT {}, count(*) FROM {}").format(sql.Literal(name), sql.Identifier(schema, name))
        for name in tables
    ]
    if not parts:
        return {}
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {str(name): cast(int, number) for name, number in rows}


def newest(connection: Connection, schema: str, tables: Mapping[str, bool]) -> dict[str, datetime]:
    """The time of the last batch that is seen in tables' versions, where there is any; a fact's are its rows.

    ``tables`` says of each whether it is a fact.
    """
    parts = [_newest(schema, name, is_fact=is_fact) for name, is_fact in tables.items()]
    if not parts:
        return {}
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    return {str(name): time for name, time in rows if isinstance(time, datetime)}


def _newest(schema: str, name: str, *, is_fact: bool) -> sql.Composed:
    """A query for the last time that a batch gave to a table's versions."""
    times = "recorded_at" if is_fact else "GREATEST(valid_from, valid_to)"
    return template("SELECT {}, NULLIF(max({}), '-infinity'::timestamptz) FROM {}").format(
        sql.Literal(name), template(times), sql.Identifier(schema, name if is_fact else versions_name(name))
    )


def _look(
    connection: Connection, schema: str, targets: Iterable[str]
) -> dict[str, tuple[_Binding, int, Doubt | None]]:
    bindings = _bindings(connection, schema, targets)
    histories = [each.versions for each in bindings if each.has_versions and each.version_count is not None]
    rows = count(connection, schema, [*(each.table_name for each in bindings if each.is_there), *histories])
    restored = {each.table_name: not each.has_versions for each in bindings if each.was_restored}
    stale = _at_another_time(connection, schema, restored)
    return {
        each.table_name: (each, number, _doubt(schema, each, number, rows.get(each.versions, 0), stale))
        for each in bindings
        for number in [rows.get(each.table_name, 0)]
    }


def _at_another_time(connection: Connection, schema: str, tables: Mapping[str, bool]) -> set[str]:
    """The tables whose last change is not the one that etl knows."""
    if not tables:
        return set()
    seen = newest(connection, schema, tables)
    known = connection.execute(statement("warehouse/last_changes.sql"), {"schema": schema}).fetchall()
    return {str(name) for name, at in known if name in tables and seen.get(str(name)) != at}


def _doubt(schema: str, binding: _Binding, rows: int, versions: int, stale: Collection[str]) -> Doubt | None:
    """What is wrong with a table, if anything."""
    known, since = binding.row_count, None
    lacks_history = binding.version_count not in {None, versions}
    may_be_ahead = known is not None and not binding.is_same_etl
    if not binding.is_there:
        wrong = "is missing"
    elif known is None and rows == 0:
        wrong = "is empty"
    elif known == UNKNOWN or (may_be_ahead and binding.is_same_table):
        wrong = "may hold later batches than the schema etl, which was restored"
    elif known is not None and rows != known:
        wrong = f"has {counted(rows, 'row')}, and {known:,} were loaded"
    elif binding.table_name in stale:
        wrong = "was last changed at another time than the schema etl, which was restored, knows"
    elif known is not None and binding.is_same_etl and not binding.is_same_table:
        wrong = "is another table than the one that was loaded"
    elif lacks_history:
        wrong = f"has {counted(versions, 'version')} of its rows, and {binding.version_count:,} were loaded"
    elif binding.batch_id != binding.loaded:
        wrong, since = f"has no batch after {binding.batch_id}, as its model was not there", binding.batch_id
    else:
        return None
    found = f"warehouse: {schema}.{binding.table_name} {wrong}"
    return Doubt(
        table=binding.table_name,
        found=found,
        is_empty=rows == 0,
        lacks_history=lacks_history or may_be_ahead,
        may_be_ahead=may_be_ahead,
        since=since,
    )


def _bindings(connection: Connection, schema: str, targets: Iterable[str]) -> list[_Binding]:
    with connection.cursor(row_factory=class_row(_Binding)) as cursor:
        parameters = {"schema": schema, "tables": list(targets)}
        return cursor.execute(statement("warehouse/bindings.sql"), parameters).fetchall()


def _bind(
    connection: Connection,
    schema: str,
    batch_id: str | None,
    rows: Mapping[str, _Numbers],
) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            statement("warehouse/bind_model.sql"),
            [
                {
                    "schema": schema,
                    "table": name,
                    "batch": batch_id,
                    "rows": number,
                    "added": added,
                    "versions": versions,
                }
                for name, (number, added, versions) in rows.items()
            ],
        )


def growth(target: Target, *, added: int, changed: int, deleted: int) -> int | None:
    """How many rows more a table has after a load that did this; None where that is to be counted.

    A fact has a row for each version.
    """
    if target.bridge:
        return None
    return added + changed + deleted if target.fact else added
