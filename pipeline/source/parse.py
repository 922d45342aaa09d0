"""Parse the output of COPY into Arrow, each value exactly."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pv

from pipeline.columns import Column, arrow_type, decimal_of, duckdb_type, schema_of, spelled_for_duckdb
from pipeline.duck import session
from pipeline.errors import HoldsNaN, SourceError
from pipeline.messages import message, of_arrow

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse(
    table: str, columns: Sequence[Column], csv: bytes | bytearray, *, concatenated: bool
) -> pa.RecordBatch:
    """Parse whole rows as COPY prints them or, ``concatenated``, as read_concatenated.sql does.

    Raises SourceError, naming table and column, for a value that its Arrow type cannot hold.
    """
    types = [arrow_type(column.type) for column in columns]
    if not concatenated and csv.startswith(_BYTE_ORDER_MARK):
        csv = _BYTE_ORDER_MARK + csv  # Arrow drops the first; the second is data
    try:
        values = _values(csv, types, concatenated=concatenated)
    except pa.ArrowInvalid:
        values = _values_by_text(table, columns, csv, concatenated=concatenated)
    return pa.RecordBatch.from_arrays([value.combine_chunks() for value in values], schema=schema_of(columns))


def _values(
    csv: bytes | bytearray, types: Sequence[pa.DataType], *, concatenated: bool
) -> list[pa.ChunkedArray[Any]]:
    """The columns' values; concatenated rows have a bracket as first and as last column."""
    names = [str(number) for number in range(len(types))]
    rows = pv.read_csv(
        pa.BufferReader(csv),  # type: ignore[arg-type]
        pv.ReadOptions(column_names=["(", *names, ")"] if concatenated else names, block_size=len(csv) + 1),
        pv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=False, escape_char="\\" if concatenated else False
        ),
        pv.ConvertOptions(
            include_columns=names,
            column_types=dict(zip(names, types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return rows.columns


def _values_by_text(
    table: str, columns: Sequence[Column], csv: bytes | bytearray, *, concatenated: bool
) -> list[pa.ChunkedArray[Any]]:
    """The same, with dates and times parsed from text: Arrow's CSV reader does not know all of them."""
    types = [arrow_type(column.type) for column in columns]
    as_text = [pa.string() if pa.types.is_temporal(type_) else type_ for type_ in types]
    try:
        values = _values(csv, as_text, concatenated=concatenated)
    except pa.ArrowInvalid as error:
        where, _, reason = str(error).partition(": ")
        number = re.fullmatch(r"In CSV column #(\d+)", where)
        column = columns[int(number[1]) - concatenated] if number else None
        raise _not_carried(table, column, csv, of_arrow(reason or where)) from None
    return [
        _temporal(table, column, value, type_) if pa.types.is_temporal(type_) else value
        for column, value, type_ in zip(columns, values, types, strict=True)
    ]


def _not_carried(table: str, column: Column | None, csv: bytes | bytearray, reason: str) -> SourceError:
    where = f"table {table}, column {column.name}" if column else f"table {table}"
    problem = f"{where}: a value cannot be carried exactly: {reason}"
    text = f"source: {problem}; correct it in the source and run again"
    if column and decimal_of(column.type) and b"NaN" in csv:
        found = HoldsNaN(text)
        found.place = (table, column.name)
        return found
    return SourceError(text)


def _temporal(
    table: str, column: Column, text: pa.ChunkedArray[Any], type_: pa.DataType
) -> pa.ChunkedArray[Any]:
    """Parse dates and times; DuckDB parses what Arrow does not: infinity, BC, year 20223."""
    try:
        return text.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    with session() as connection:
        rows = connection.from_arrow(pa.table({"value": text}))
        try:
            parsed = rows.project(
                f"CAST({spelled_for_duckdb('value')} AS {duckdb_type(column.type)}) AS value"
            ).to_arrow_table()
        except duckdb.Error as error:
            raise SourceError(
                f"source: table {table}, column {column.name}: {message(error)};"
                " correct it in the source and run again"
            ) from None
    values: pa.ChunkedArray[Any] = parsed["value"].cast(type_)
    return values
