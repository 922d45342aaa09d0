"""What COPY prints, parsed into Arrow without a value that differs."""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import re
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pv

from pipeline.columns import Column, arrow_type, duckdb_type, schema_of
from pipeline.duck import session
from pipeline.errors import SourceError
from pipeline.messages import message, of_arrow

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse(table: str, columns: Sequence[Column], csv: bytes | bytearray, *, packed: bool) -> pa.RecordBatch:
    """Parse whole rows as COPY or, ``packed``, as read_packs.sql prints them, exactly."""
    types = [arrow_type(column.type) for column in columns]
    if not packed and csv.startswith(_BYTE_ORDER_MARK):
        csv = _BYTE_ORDER_MARK + csv  # Arrow drops one; the one that is data must stay
    try:
        values = _values(csv, types, packed=packed)
    except pa.ArrowInvalid:
        values = _with_odd_times(table, columns, csv, packed=packed)
    return pa.RecordBatch.from_arrays([value.combine_chunks() for value in values], schema=schema_of(columns))


def _values(
    csv: bytes | bytearray, types: Sequence[pa.DataType], *, packed: bool
) -> list[pa.ChunkedArray[Any]]:
    """The columns' values; a pack's rows begin and end with a bracket, each a column more."""
    names = [str(number) for number in range(len(types))]
    rows = pv.read_csv(
        pa.BufferReader(csv),  # type: ignore[arg-type]
        pv.ReadOptions(column_names=["(", *names, ")"] if packed else names, block_size=len(csv) + 1),
        pv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=False, escape_char="\\" if packed else False
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


def _with_odd_times(
    table: str, columns: Sequence[Column], csv: bytes | bytearray, *, packed: bool
) -> list[pa.ChunkedArray[Any]]:
    """The same where dates and times may be such that Arrow has no words for."""
    types = [arrow_type(column.type) for column in columns]
    as_text = [pa.string() if pa.types.is_temporal(type_) else type_ for type_ in types]
    try:
        values = _values(csv, as_text, packed=packed)
    except pa.ArrowInvalid as error:
        where, _, words = str(error).partition(": ")
        found = re.fullmatch(r"In CSV column #(\d+)", where)
        column = f", column {columns[int(found[1]) - packed].name}" if found else ""
        raise SourceError(
            f"source: table {table}{column}: a value cannot be carried exactly: {of_arrow(words or where)}"
        ) from None
    return [
        _temporal(table, column, value, type_) if pa.types.is_temporal(type_) else value
        for column, value, type_ in zip(columns, values, types, strict=True)
    ]


def _temporal(
    table: str, column: Column, text: pa.ChunkedArray[Any], type_: pa.DataType
) -> pa.ChunkedArray[Any]:
    """Parse dates and times; DuckDB knows what Arrow does not: infinity, BC, year 20223."""
    try:
        return text.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    readable = r"regexp_replace(value, '^(\S+)(.*) BC$', '\1 (BC)\2')"
    with session() as connection:
        rows = connection.from_arrow(pa.table({"value": text}))
        try:
            parsed = rows.project(f"CAST({readable} AS {duckdb_type(column.type)}) AS value").to_arrow_table()
        except duckdb.Error as error:
            raise SourceError(f"source: table {table}, column {column.name}: {message(error)}") from None
    values: pa.ChunkedArray[Any] = parsed["value"].cast(type_)
    return values
