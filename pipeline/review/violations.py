"""Rows of a tried model that the warehouse would reject: by the contract and by references."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterable, Sequence

import duckdb
import psycopg
import pyarrow as pa
from psycopg import sql

from pipeline.columns import Frozen
from pipeline.duck import json_object, quote
from pipeline.models.contract import ContractColumn
from pipeline.models.rejects import rejected_rows
from pipeline.models.target import Reference, Target
from pipeline.postgres import Connection, statement, template
from pipeline.review.live import RESULT

# How many distinct values are looked up in a referenced table.
_MOST_VALUES = 100_000


class Rejected(Frozen):
    """Rows that would be rejected for one reason, and the key of the first of them as JSON."""

    reason: str
    rows: int
    first_key: str


def of_contract(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    contract: Sequence[ContractColumn],
    rows: str,
    *,
    repeated: bool,
) -> list[Rejected]:
    """The rows that do not fit the types, NULLs and keys of the table."""
    return by_reason(rejected_rows(connection, target, contract, rows, repeated=repeated))


def by_reason(batches: Iterable[pa.RecordBatch]) -> list[Rejected]:
    """Rejected rows, the most frequent reason first."""
    counts: dict[str, list[str]] = {}
    for batch in batches:
        for row in batch.to_pylist():
            counts.setdefault(row["reason"], []).append(row["key"])
    found = [Rejected(reason=why, rows=len(keys), first_key=min(keys)) for why, keys in counts.items()]
    return sorted(found, key=lambda each: (-each.rows, each.reason))


def of_references(
    connection: duckdb.DuckDBPyConnection, warehouse: Connection, target: Target, names: Sequence[str]
) -> tuple[list[Rejected], list[str]]:
    """The rows whose references lead nowhere in the warehouse as it is, and remarks on what was not checked.

    CHECK rules and unique columns are left to the load.
    """
    found, remarks = [], []
    for reference in target.references:
        if not set(reference.columns) <= set(names) or reference.to_table == target.name:
            continue
        values = _values(connection, reference)
        if len(values) > _MOST_VALUES:
            remarks.append(f"{', '.join(reference.columns)}: more than {_MOST_VALUES:,} values, not checked")
            continue
        absent = _absent(warehouse, target, reference, values) if values else []
        if absent:
            found.append(_rejected(connection, target, reference, absent))
    return found, remarks


def _values(connection: duckdb.DuckDBPyConnection, reference: Reference) -> list[tuple[str, ...]]:
    listed = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in reference.columns)
    present = " AND ".join(f"{quote(name)} IS NOT NULL" for name in reference.columns)
    query = f"SELECT DISTINCT {listed} FROM {RESULT} WHERE {present} LIMIT {_MOST_VALUES + 1}"  # noqa: S608
    return connection.execute(query).fetchall()


def _absent(
    warehouse: Connection, target: Target, reference: Reference, values: Iterable[tuple[str, ...]]
) -> list[tuple[object, ...]]:
    """Those of the values that the table referred to does not have."""
    places = range(len(reference.columns))
    types = [column.type for name in reference.columns if (column := target.column(name))]
    same = [
        equality.between(
            template("d.{}").format(sql.Identifier(name)), template(f"v.c{place}::{types[place]}")
        )
        for place, name, equality in zip(places, reference.to_columns, reference.equality, strict=True)
    ]
    query = statement("review/absent_references.sql").format(
        arrays=template(", ").join(template("%s::text[]") for _ in places),
        columns=template(", ").join(template(f"c{place}") for place in places),
        to_table=sql.Identifier(reference.to_schema, reference.to_table),
        same=template(" AND ").join(same),
    )
    try:
        with warehouse.transaction():
            return warehouse.execute(query, [list(each) for each in zip(*values, strict=True)]).fetchall()
    except psycopg.DataError:
        return []  # a value that the contract has not caught; the load rejects it


def _rejected(
    connection: duckdb.DuckDBPyConnection,
    target: Target,
    reference: Reference,
    absent: Sequence[tuple[object, ...]],
) -> Rejected:
    columns = {f"c{place}": [str(row[place]) for row in absent] for place in range(len(reference.columns))}
    connection.register("absent", pa.table(columns))
    same = " AND ".join(
        f"CAST({quote(name)} AS VARCHAR) = absent.c{place}" for place, name in enumerate(reference.columns)
    )
    key = json_object({name: f"CAST({quote(name)} AS VARCHAR)" for name in target.key})
    query = f"SELECT count(*), min({key}) FROM {RESULT} JOIN absent ON {same}"  # noqa: S608
    number, first = connection.execute(query).fetchall()[0]
    connection.unregister("absent")
    reason = reference.missing
    return Rejected(reason=reason, rows=number, first_key=str(first))
