"""Parse the output of COPY into Arrow, each value exactly."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from pipeline.columns import Column, arrow_type, decimal_of, duckdb_type, schema_of, spelled_for_duckdb
from pipeline.duck import session
from pipeline.errors import NotCarried
from pipeline.messages import message, of_arrow

# How encode(…, 'escape') prints a byte that is no ASCII character, or a backslash.
_ESCAPE = re.compile(rb"\\(?:([0-7]{3})|\\)")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse(
    table: str, columns: Sequence[Column], csv: bytes | bytearray, *, concatenated: bool
) -> pa.RecordBatch:
    """Parse whole rows as COPY prints them or, ``concatenated``, as read_concatenated.sql does.

    Raises NotCarried, naming table and column, for a value that its Arrow type cannot hold.
    """
    types = [arrow_type(column.type) for column in columns]
    if not concatenated and csv.startswith(_BYTE_ORDER_MARK):
        csv = _BYTE_ORDER_MARK + csv  # Arrow drops the first; the second is data
    try:
        values = _values(csv, types, concatenated=concatenated)
    except pa.ArrowInvalid:
        values = _values_by_text(table, columns, csv, concatenated=concatenated)
    values = [
        _unescaped(value) if column.is_escaped else value
        for column, value in zip(columns, values, strict=True)
    ]
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
    """The columns' values, dates and times parsed from text: Arrow's CSV reader does not know all of them."""
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


def _not_carried(table: str, column: Column | None, csv: bytes | bytearray, reason: str) -> NotCarried:
    where = f"table {table}, column {column.name}" if column else f"table {table}"
    problem = f"{where}: a value cannot be carried exactly: {reason}"
    found = NotCarried(f"source: {problem}; correct it in the source and run again")
    if column and (not decimal_of(column.type) or b"NaN" in csv):
        found.place = table, column.name
    return found


def _unescaped(text: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Texts of which Postgres has escaped the bytes.

    One that is not UTF-8 gets a NUL before it, which no text in Postgres has, so the warehouse rejects it.
    """
    if not pc.any(pc.match_substring(text, "\\")).as_py():
        return text
    return pa.chunked_array([pa.array(map(_decoded, text.to_pylist()), pa.string())])


def _decoded(text: str | None) -> str | None:
    if text is None or "\\" not in text:
        return text
    octets = _ESCAPE.sub(lambda found: bytes([int(found[1], 8)]) if found[1] else b"\\", text.encode())
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return "\0" + octets.decode(errors="backslashreplace")


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
            raise _not_carried(table, column, b"", message(error)) from None
    values: pa.ChunkedArray[Any] = parsed["value"].cast(type_)
    return values
