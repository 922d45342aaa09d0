"""The rows for which a model's SQL fails, as a cast does: they are rejected, and block no others.

Only for a model that is computed row by row. For any other one, the batch fails, as Postgres does: which rows
of the result depend on a source row is not known. Without it, others would be wrong, and one that comes from
it would count as deleted.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Callable, Sequence

import duckdb
import pyarrow as pa

from pipeline.duck import json_object, quote, relation_name
from pipeline.errors import ModelError
from pipeline.lake.manifest import TableBatch
from pipeline.messages import message
from pipeline.models.inputs import RESULT, naming_model, stored_name
from pipeline.models.rejects import REJECTED
from pipeline.models.work import Work
from pipeline.words import unused

# With more, or if all rows of a table fail, the model is wrong.
_MOST_ROWS = 1_000
_EXAMINED = "examined_rows"


def leave_out_failing_rows(
    connection: duckdb.DuckDBPyConnection, work: Work, table: TableBatch, error: ModelError, *, complete: bool
) -> pa.RecordBatch:
    """Leave the rows for which the model fails out of the table that it reads; returns them as rejected.

    ``complete``: the model reads all rows of the table. Raises ``error`` where it has another reason than
    single rows.
    """
    if not work.analysed[0].carries.keys() >= set(work.target.key):
        raise error
    stored = quote(stored_name(table.table))
    place = unused("place", [column.name for column in table.columns])
    numbered = f"SELECT *, row_number() OVER () - 1 AS {place} FROM {stored}"  # noqa: S608
    connection.execute(f"CREATE TEMP TABLE {_EXAMINED} AS {numbered}")

    def read_only(condition: str) -> None:
        query = f"SELECT * EXCLUDE ({place}) FROM {_EXAMINED} WHERE {place} {condition}"  # noqa: S608
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {stored} AS {query}")

    failing = _failing(connection, work, read_only, error, complete=complete)
    key, row = _json(work, work.target.key), _json(work, [column.name for column in work.columns])
    query = f"SELECT {key}, {row} FROM {quote(relation_name(table.table))}"  # noqa: S608
    rejected = []
    for number, reason in failing.items():
        read_only(f"= {number}")
        rejected += [(found[0], reason, found[1]) for found in connection.execute(query).fetchall()]
    read_only(f"NOT IN ({', '.join(map(str, failing))})")
    columns = [pa.array(values, pa.string()) for values in zip(*rejected, strict=True)]
    return pa.record_batch(columns, schema=REJECTED)


def _failing(
    connection: duckdb.DuckDBPyConnection,
    work: Work,
    read_only: Callable[[str], None],
    error: ModelError,
    *,
    complete: bool,
) -> dict[int, str]:
    """The numbers of the rows for which the model fails, and why; they are found by halves.

    Each half is searched to its end before the other, so that a model which fails for all rows is soon known.
    """
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {_EXAMINED}").fetchall()  # noqa: S608
    failing: dict[int, str] = {}
    ranges = [(0, rows), (0, 0)]
    while ranges:
        first, end = ranges.pop()
        read_only(f"BETWEEN {first} AND {end - 1}")
        if (reason := _failure(connection, work)) is None:
            continue
        if first == end or len(failing) == _MOST_ROWS:
            raise error
        if end - first == 1:
            failing[first] = reason
        else:
            middle = (first + end) // 2
            ranges += [(middle, end), (first, middle)]
    if not failing or (complete and 1 < len(failing) == rows):
        raise error
    return failing


def _failure(connection: duckdb.DuckDBPyConnection, work: Work) -> str | None:
    """Why the model fails for the rows that it reads now; None if it does not."""
    try:
        with naming_model(work.model):
            connection.execute(f"CREATE OR REPLACE TEMP TABLE computed AS SELECT * FROM {RESULT}")  # noqa: S608
    except ModelError as error:
        return message(error).removeprefix(f"{work.model.path.parent}/")
    return None


def _json(work: Work, names: Sequence[str]) -> str:
    """These columns as text, if the model only passes them on; the others are NULL."""
    carries = work.analysed[0].carries
    return json_object(
        {name: f"CAST({quote(carries[name])} AS VARCHAR)" if name in carries else "NULL" for name in names}
    )
