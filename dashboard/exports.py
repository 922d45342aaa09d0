"""A view's rows as a CSV or Parquet file, with their exact values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from dashboard.filters import FilterError, Filters, Period
from dashboard.rows import selected
from dashboard.warehouse import Reports, View
from pipeline.columns import Column, base_of, numeric_of, schema_of
from pipeline.postgres import template

_ROWS = 20_000
# Numbers without declared decimals, such as averages, get ten.
_NUMERIC = "numeric(38,10)"
_PLAIN = frozenset(["smallint", "integer", "bigint", "boolean", "real", "double precision"]).union(
    ["date", "time", "timestamp", "timestamptz", "text", "character varying"]
)


def _as_csv(reports: Reports, view: View, filters: Filters, period: Period | None, path: Path) -> None:
    query, bound = selected(reports, view, filters, period)
    copy = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(query)
    with reports.connection.cursor().copy(copy, bound) as chunks, path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _as_parquet(reports: Reports, view: View, filters: Filters, period: Period | None, path: Path) -> None:
    types = {name: _type(column.type) for name, column in view.columns.items()}
    columns = sql.SQL(", ").join(
        template(f"{{0}}::{type_} AS {{0}}").format(sql.Identifier(name)) for name, type_ in types.items()
    )
    query, bound = selected(reports, view, filters, period, columns)
    schema = schema_of([Column(name=name, type=type_) for name, type_ in types.items()])
    try:
        with (
            reports.connection.cursor("export") as cursor,
            pq.ParquetWriter(path, schema, compression="zstd") as writer,
        ):
            cursor.execute(query, bound)
            while rows := cursor.fetchmany(_ROWS):
                arrays = [
                    pa.array(values, field.type)
                    for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
    except (psycopg.DataError, pa.ArrowInvalid):
        raise FilterError(
            f"export: {view.name} has a value that Parquet lacks, such as infinity; choose CSV"
        ) from None


# What writes all rows of a view that pass the filters into a file, by the end of its name.
FORMATS: Mapping[str, Callable[[Reports, View, Filters, Period | None, Path], None]] = {
    "csv": _as_csv,
    "parquet": _as_parquet,
}


def _type(type_: str) -> str:
    """The type in which a column of this type is exported: types that Parquet lacks as text."""
    if type_ == "numeric":
        return _NUMERIC
    return type_ if base_of(type_) in _PLAIN or numeric_of(type_) else "text"
