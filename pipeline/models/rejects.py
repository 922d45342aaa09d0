"""The rows of a model that its table rejects, with reason, key and values."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from pipeline.columns import identity
from pipeline.duck import json_object, literal, quote, streamed
from pipeline.models.contract import ContractColumn, reasons
from pipeline.models.target import REPEATED_KEY, Target

REJECTED = pa.schema([("key", pa.string()), ("reason", pa.string()), ("row", pa.string())])
# How many of the rows that share a key are recorded.
_ROWS_SHOWN = 100


def keep_repeated_keys(
    connection: duckdb.DuckDBPyConnection, target: Target, contract: Sequence[ContractColumn], rows: str
) -> bool:
    """Store the keys of more than one row in the table ``repeated``; returns whether there are any."""
    keys = _identities(target, contract)
    present = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT {_as_one(keys)} AS keys FROM {rows}"  # noqa: S608
        f" WHERE {present} GROUP BY ALL HAVING count(*) > 1"
    )
    return connection.execute("SELECT count(*) FROM repeated").fetchall() != [(0,)]


def _is_repeated(target: Target, contract: Sequence[ContractColumn]) -> str:
    """The condition that more than one row has this row's key."""
    # Not EXISTS: in its query, a column of the row could be taken for one of the table.
    return f"{_as_one(_identities(target, contract))} IN (SELECT keys FROM repeated)"  # noqa: S608


def accepts(target: Target, contract: Sequence[ContractColumn], *, repeated: bool) -> str:
    """The condition that a row is not rejected; ``repeated``: some keys are."""
    conditions = [f"({column.reason}) IS NULL" for column in contract if column.reason]
    if repeated:
        conditions.append(f"NOT {_is_repeated(target, contract)}")
    return " AND ".join(conditions) or "true"


def _as_one(keys: Sequence[str]) -> str:
    """The parts of a key as one value."""
    return f"struct_pack({', '.join(f'k{place} := {key}' for place, key in enumerate(keys))})"


def _identities(target: Target, contract: Sequence[ContractColumn]) -> list[str]:
    """Expressions for a row's key that are equal exactly if the warehouse compares the keys as equal."""
    values = {column.name: column.value for column in contract}
    types = {column.name: column.type for column in target.columns}
    return [identity(f"({values[name]})", types[name]) for name in target.key]


def rejected_rows(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    contract: Sequence[ContractColumn],
    rows: str,
    *,
    repeated: bool,
) -> Iterator[pa.RecordBatch]:
    """The rejected rows: key and row as JSON with values as text, and the reason.

    Each key comes once. If several rows have it, all are rejected, and ``row`` is a list of the first of
    them.
    """
    reason = reasons(contract)
    if repeated:
        is_repeat = _is_repeated(target, contract)
        reason = f"CASE WHEN {is_repeat} THEN {literal(REPEATED_KEY)} ELSE {reason} END"
    query = (
        f"SELECT key, first(reason ORDER BY row) AS reason, CASE count(*) WHEN 1 THEN first(row)"  # noqa: S608
        f" ELSE '[' || array_to_string(arg_min(row, row, {_ROWS_SHOWN}), ', ') || ']' END AS row FROM ("
        f"SELECT {key_json(target, contract)} AS key, {reason} AS reason, {_row_json(contract)} AS row"
        f" FROM {rows} AS model) AS judged WHERE reason <> '' GROUP BY key"
    )
    return streamed(connection, query, REJECTED)


def key_json(target: Target, contract: Sequence[ContractColumn]) -> str:
    """The key as the warehouse prints it; a value that does not fit is printed as the model yields it."""
    values = {column.name: column.value for column in contract}
    return json_object(
        {name: f"COALESCE(CAST({values[name]} AS VARCHAR), {_text(name)})" for name in target.key}
    )


def _row_json(contract: Sequence[ContractColumn]) -> str:
    return json_object({column.name: _text(column.name) for column in contract})


def _text(name: str) -> str:
    return f"CAST({quote(name)} AS VARCHAR)"
