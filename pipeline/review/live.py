"""The present rows of a warehouse table in DuckDB, and how a model's result differs from them."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from pipeline.columns import Column, Frozen, comparable, duckdb_type, identity, spelled_for_duckdb
from pipeline.duck import quote
from pipeline.lake.state import same_key
from pipeline.models.target import Target, TargetColumn
from pipeline.postgres import Connection, each, statement

Row = dict[str, str | None]
# The rows of the model, and those of the warehouse, with the same types.
RESULT, LIVE = "accepted", "live"
_MOST_VALUES = 50_000
# A row has to fit into a block.
_BLOCK_BYTES = 32 << 20
# Whether the pipeline has loaded a row; those of others are not missing from a result.
_IS_LOADED = "is loaded (pipeline)"


class Changed(Frozen):
    """A row that differs: its key, and the old and new value of each column that does."""

    key: Row
    columns: dict[str, tuple[str | None, str | None]]


class Difference(Frozen):
    """How a result differs from a table: counts, and the first rows of each kind.

    ``missing`` are rows that only the table has.
    """

    added: int = 0
    changed: int = 0
    missing: int = 0
    first_added: tuple[Row, ...] = ()
    first_changed: tuple[Changed, ...] = ()
    first_missing: tuple[Row, ...] = ()


def bind_live(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Connection,
    schema: str,
    target: Target,
    names: Sequence[str],
) -> None:
    """Create the table ``live`` of the present rows, with these columns."""
    columns = [column for column in target.columns if column.name in names]
    query = statement("review/present_rows.sql").format(
        columns=sql.SQL(", ").join(_printed(column) for column in columns),
        history=sql.Identifier(schema, f"{target.name}_history"),
    )
    listed = ", ".join(f"{_as_result(column)} AS {quote(column.name)}" for column in columns)
    listed += f", CAST({quote(_IS_LOADED)} AS BOOLEAN) AS {quote(_IS_LOADED)}"
    with _copied(warehouse, query, [*(column.name for column in columns), _IS_LOADED]) as rows:
        connection.register("present rows", rows)
        connection.execute(f'CREATE TEMP TABLE {LIVE} AS SELECT {listed} FROM "present rows"')  # noqa: S608
        connection.unregister("present rows")


def _printed(column: TargetColumn) -> sql.Composed:
    """The column as COPY prints it, as a cast adds a mask to inet; char(n) without blanks, as in models."""
    return each("{0}::text" if column.type.startswith("character(") else "{0}", [column.name])


def _as_result(column: TargetColumn) -> str:
    """The printed value in the type that the model's result has."""
    type_, text = duckdb_type(column.type), quote(column.name)
    return f"CAST({spelled_for_duckdb(text) if type_.startswith(('DATE', 'TIME')) else text} AS {type_})"


@contextmanager
def _copied(
    warehouse: Connection, query: sql.Composed, names: Sequence[str]
) -> Iterator[pa.RecordBatchReader | pa.Table]:
    """The rows of a query whose columns are texts; they go through a temporary file."""
    schema = pa.schema([(name, pa.string()) for name in names])
    with TemporaryFile() as file:
        with warehouse.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)) as copy:
            for block in copy:
                file.write(block)
        if file.tell() == 0:
            yield schema.empty_table()
            return
        file.seek(0)
        yield pyarrow.csv.open_csv(
            cast(BinaryIO, file),
            read_options=pyarrow.csv.ReadOptions(column_names=list(names), block_size=_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


def normalize(
    connection: duckdb.DuckDBPyConnection, warehouse: Connection, target: Target, names: Sequence[str]
) -> None:
    """Spell the values of the result as Postgres prints them, if their type has several spellings."""
    for column in target.columns:
        special = comparable(Column(name=column.name, type=column.type)) == "no" and not _is_number(
            column.type
        )
        if column.name not in names or not special:
            continue
        name = quote(column.name)
        values = connection.execute(
            f"SELECT DISTINCT {name} FROM {RESULT} WHERE {name} IS NOT NULL LIMIT {_MOST_VALUES}"  # noqa: S608
        ).fetchall()
        texts = [str(value) for (value,) in values]
        query = sql.SQL("SELECT v, v::{}::text FROM unnest(%s::text[]) AS v").format(sql.SQL(column.type))
        try:
            with warehouse.transaction():
                spelled = warehouse.execute(query, (texts,)).fetchall()
        except psycopg.DataError:
            continue  # the load rejects the value
        connection.register("spelled", pa.table({"v": [v for v, _ in spelled], "s": [s for _, s in spelled]}))
        connection.execute(
            f"UPDATE {RESULT} SET {name} = spelled.s FROM spelled WHERE {RESULT}.{name} = spelled.v"  # noqa: S608
        )
        connection.unregister("spelled")


def _is_number(type_: str) -> bool:
    return type_ == "numeric" or type_.startswith("numeric(")


def difference(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    names: Sequence[str],
    all_keys: str,
    *,
    keeps_rows: bool,
    first: int,
) -> Difference:
    """Compare the tables ``accepted`` and ``live`` by key.

    ``all_keys`` is a query for the keys of all rows of the result, rejected ones included. With
    ``keeps_rows`` rows that the result lacks stay.
    """
    columns = {column.name: Column(name=column.name, type=column.type) for column in target.columns}
    key = [columns[name] for name in target.key]
    values = [name for name in names if name not in {*target.key, *target.untracked}]
    differing = " OR ".join(_differs(columns[name]) for name in values) or "false"
    added = f"FROM {RESULT} ANTI JOIN {LIVE} ON {same_key(key, RESULT, LIVE)}"
    missing = f"FROM {LIVE} ANTI JOIN ({all_keys}) AS k ON {same_key(key, LIVE, 'k')}"
    missing += f" WHERE {LIVE}.{quote(_IS_LOADED)}"
    changed = f"FROM {RESULT} JOIN {LIVE} ON {same_key(key, RESULT, LIVE)} WHERE {differing}"
    return Difference(
        added=count(connection, added),
        changed=count(connection, changed),
        missing=0 if keeps_rows else count(connection, missing),
        first_added=tuple(rows(connection, added, RESULT, names, target.key, first)),
        first_changed=tuple(_changed(connection, changed, target.key, values, columns, first)),
        first_missing=() if keeps_rows else tuple(rows(connection, missing, LIVE, names, target.key, first)),
    )


def _differs(column: Column) -> str:
    sides = [f"{table}.{quote(column.name)}" for table in (RESULT, LIVE)]
    if column.type != "citext":
        sides = [identity(side, column.type) for side in sides]
    return f"{sides[0]} IS DISTINCT FROM {sides[1]}"


def count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    """The number of rows of a source, which is the FROM of a query."""
    row = connection.execute(f"SELECT count(*) {source}").fetchone()
    return int(row[0]) if row else 0


def rows(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    table: str,
    names: Sequence[str],
    key: Sequence[str],
    first: int,
) -> Iterator[Row]:
    """The ``first`` rows of a table in a source by key, with these columns as text."""
    listed = ", ".join(f"CAST({table}.{quote(name)} AS VARCHAR)" for name in names)
    order = ", ".join(f"{table}.{quote(name)}" for name in key)
    query = f"SELECT {listed} {source} ORDER BY {order} LIMIT {first}"
    for row in connection.execute(query).fetchall():
        yield dict(zip(names, row, strict=True))


def _changed(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    key: Sequence[str],
    values: Sequence[str],
    columns: dict[str, Column],
    first: int,
) -> Iterator[Changed]:
    order = ", ".join(f"{RESULT}.{quote(name)}" for name in key)
    keys = [f"CAST({RESULT}.{quote(name)} AS VARCHAR)" for name in key]
    sides = [f"CAST({table}.{quote(name)} AS VARCHAR)" for name in values for table in (LIVE, RESULT)]
    flags = [_differs(columns[name]) for name in values]
    query = f"SELECT {', '.join([*keys, *sides, *flags])} {source} ORDER BY {order} LIMIT {first}"
    for row in connection.execute(query).fetchall():
        of_key, rest = row[: len(key)], row[len(key) :]
        pairs, differ = rest[: 2 * len(values)], rest[2 * len(values) :]
        yield Changed(
            key=dict(zip(key, of_key, strict=True)),
            columns={
                name: (pairs[2 * place], pairs[2 * place + 1])
                for place, name in enumerate(values)
                if differ[place]
            },
        )
