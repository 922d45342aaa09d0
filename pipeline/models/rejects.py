"""Rows of a model that do not fit its table: why, with their key and their values."""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from pipeline.columns import identity
from pipeline.duck import ROWS_PER_BATCH, literal, quote
from pipeline.models.contract import Check, reasons
from pipeline.models.target import Target

REJECTED = pa.schema([("key", pa.string()), ("reason", pa.string()), ("row", pa.string())])
# Of rows that share a key and are rejected together.
_ROWS_SHOWN = 100


def keep_repeated_keys(
    connection: duckdb.DuckDBPyConnection, target: Target, found: Sequence[Check], rows: str
) -> bool:
    """Note in the table ``repeated`` the keys that more than one row has; returns whether there are any."""
    keys = _identities(target, found)
    named = ", ".join(f"{key} AS k{place}" for place, key in enumerate(keys))
    present = " AND ".join(f"k{place} IS NOT NULL" for place in range(len(keys)))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT * FROM (SELECT {named} FROM {rows}) AS keys"  # noqa: S608
        f" WHERE {present} GROUP BY ALL HAVING count(*) > 1"
    )
    return connection.execute("SELECT count(*) FROM repeated").fetchall() != [(0,)]


def is_repeated(target: Target, found: Sequence[Check]) -> str:
    """A condition that more than one row has this row's key."""
    same = " AND ".join(f"k{place} = {key}" for place, key in enumerate(_identities(target, found)))
    return f"EXISTS (SELECT 1 FROM repeated WHERE {same})"  # noqa: S608


def _identities(target: Target, found: Sequence[Check]) -> list[str]:
    """The values of a row's key, the same just where the warehouse calls them equal."""
    values = {check.column: check.value for check in found}
    types = {column.name: column.type for column in target.columns}
    return [identity(f"({values[name]})", types[name]) for name in target.key]


def rejected_rows(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    found: Sequence[Check],
    rows: str,
    *,
    repeated: bool,
) -> Iterator[pa.RecordBatch]:
    """The rejected rows: key and row as JSON with values as text, and the reason in words.

    A key stands once, because it is rejected as a whole; where several rows have it,
    ``row`` is a list of the first of them.
    """
    why = reasons(found)
    if repeated:
        why = f"CASE WHEN {is_repeated(target, found)} THEN 'more than one row has this key' ELSE {why} END"
    reader = connection.sql(
        f"SELECT key, first(reason ORDER BY row) AS reason, CASE count(*) WHEN 1 THEN first(row)"  # noqa: S608
        f" ELSE '[' || array_to_string(arg_min(row, row, {_ROWS_SHOWN}), ', ') || ']' END AS row FROM ("
        f"SELECT {_key_json(target, found)} AS key, {why} AS reason, {_row_json(found)} AS row"
        f" FROM {rows} AS model) AS judged WHERE reason <> '' GROUP BY key"
    ).to_arrow_reader(ROWS_PER_BATCH)
    return (batch.cast(REJECTED) for batch in reader)


def _key_json(target: Target, found: Sequence[Check]) -> str:
    """The key as the warehouse spells it, and as the model does where it does not fit."""
    values = {check.column: check.value for check in found}
    return _json({name: f"COALESCE(CAST({values[name]} AS VARCHAR), {_text(name)})" for name in target.key})


def _row_json(found: Sequence[Check]) -> str:
    return _json({check.column: _text(check.column) for check in found})


def _text(name: str) -> str:
    return f"CAST({quote(name)} AS VARCHAR)"


def _json(texts: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{literal(name)}, {text}" for name, text in texts.items())
    return f"CAST(json_object({pairs}) AS VARCHAR)"
