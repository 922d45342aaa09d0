"""COPY in its binary format gives the same rows as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from demo.postgres import Postgres
from pipeline.columns import Column, schema_of
from pipeline.warehouse import binary, copying
from tests.support import database

DAY, MOMENT = 2**31 - 1, 2**63 - 1


def whole(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def decimal(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(1 - 10**precision, 10**precision - 1).map(
        lambda number: Decimal(number).scaleb(-scale)
    )


# Dates and times are the numbers that Arrow stores: days and microseconds from 1970.
MOMENTS = st.integers(-210_866_803_200_000_000 + 1, 9_000_000_000_000_000_000 - 1)
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "smallint": whole(16),
    "integer": whole(32),
    "bigint": whole(64),
    "boolean": st.booleans(),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "date": st.integers(-2_440_588 + 10_957, 2_000_000_000) | st.sampled_from([DAY, -DAY, 0, -1, 10_957]),
    "time without time zone": st.integers(0, 86_400_000_000),
    "time(3) without time zone": st.integers(0, 86_400_000).map(lambda number: number * 1_000),
    "timestamp without time zone": MOMENTS | st.sampled_from([MOMENT, -MOMENT, 0, -1]),
    "timestamp with time zone": MOMENTS | st.sampled_from([MOMENT, -MOMENT, 0, -1]),
    "numeric(10,2)": decimal(10, 2),
    "numeric(18,0)": decimal(18, 0),
    "numeric(18,18)": decimal(18, 18),
    "numeric(9,5)": decimal(9, 5),
    "numeric(1,0)": decimal(1, 0),
}
COLUMNS = [Column(name=f"c{number}", type=type_) for number, type_ in enumerate(TYPES)]
ROWS = st.lists(st.tuples(*(st.none() | values for values in TYPES.values())), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def table(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A connection whose database has a table ``t`` of all these types."""
    with database(postgres, "copying") as url, psycopg.connect(url, autocommit=True) as connection:
        columns = ", ".join(f"{column.name} {column.type}" for column in COLUMNS)
        connection.execute(f"CREATE TABLE t ({columns})".encode())
        yield connection


def arrow(type_: pa.DataType, values: list[Any]) -> pa.Array[Any]:
    """An array of a type; dates and times are numbers."""
    if pa.types.is_temporal(type_):
        plain = pa.int32() if type_.bit_width == 32 else pa.int64()
        return pa.array(values, plain).view(type_)
    return pa.array(values, type_)


def stored(connection: psycopg.Connection, rows: ds.Dataset, columns: list[Column]) -> list[tuple[Any, ...]]:
    connection.execute("TRUNCATE t")
    copied = copying.copy_in(connection, sql.Identifier("t"), columns, rows, lambda _: None)
    shown = ", ".join(f"c{number}::text" for number in range(len(COLUMNS)))
    actual = connection.execute(f"SELECT {shown} FROM t ORDER BY ctid".encode()).fetchall()
    assert len(actual) == copied
    return actual


@given(rows=ROWS)
def test_every_value_of_a_fixed_size(
    table: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]]
) -> None:
    schema = schema_of(COLUMNS)
    arrays = [
        arrow(field.type, list(values)) for field, values in zip(schema, zip(*rows, strict=True), strict=True)
    ]
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)
    dataset = ds.dataset(str(path))
    assert binary.encoder(COLUMNS) is not None
    fast = stored(table, dataset, COLUMNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary, "encoder", lambda _: None)
        plain = stored(table, dataset, COLUMNS)
    assert fast == plain


@pytest.mark.parametrize(
    "type_", ["text", "numeric", "numeric(19,2)", "numeric(3,-2)", "uuid", "jsonb", "bytea", "integer[]"]
)
def test_values_of_variable_size_are_copied_as_csv(type_: str) -> None:
    assert binary.encoder([COLUMNS[0], Column(name="odd", type=type_)]) is None


def test_files_with_other_types_are_copied_as_csv(table: psycopg.Connection, tmp_path: Path) -> None:
    """The types of the files count, not the declared ones."""
    pq.write_table(pa.table({"c1": pa.array([1, 2], pa.int64())}), tmp_path / "rows.parquet")
    actual = stored(table, ds.dataset(str(tmp_path / "rows.parquet")), [COLUMNS[1]])
    assert [row[1] for row in actual] == ["1", "2"]


def test_many_rows_in_slices(table: psycopg.Connection, tmp_path: Path) -> None:
    numbers = pa.array(range(120_001), pa.int32())
    pq.write_table(pa.table({"c1": numbers}), tmp_path / "rows.parquet", row_group_size=7_001)
    actual = stored(table, ds.dataset(str(tmp_path / "rows.parquet")), [COLUMNS[1]])
    assert sorted(int(row[1]) for row in actual) == list(range(120_001))
