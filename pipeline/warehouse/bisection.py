"""Find the staged rows that Postgres rejects, for whatever reason, by bisection.

A set of rows is tried as a whole first, so nothing is paid if no row is rejected. Otherwise a function on the
server tries each half, in a subtransaction, down to single rows: about ``2 * rejected * log2(rows)`` tries
and one round trip.
"""

from typing import cast

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, statement, template

# Classes of SQLSTATE that do not reject a row: connection, transaction, dependent objects, rollback, missing
# privileges or objects, resources, objects in use, operator intervention, system and internal errors.
_OTHERS = ("08", "25", "26", "2B", "2D", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "XX")
# These do reject a value that is cast: jsonpath and tsquery raise a syntax error, regclass an unknown object.
_REJECTIONS_OF_VALUES = ("3D", "3F", "42")
_TOO_MANY = "TT001"
# The placeholder {chosen} of a statement that is run for some rows at a time.
CHOSEN = template("s.ctid = ANY($1)")


class RejectionLimitExceeded(WarehouseError):
    """More rows of a table are rejected than allowed: how many, as text, and the reason of one of them."""

    def __init__(self, number: str, reason: str) -> None:
        super().__init__(f"rows that would be rejected: {number} ({reason})")
        self.number, self.reason = number, reason


def is_rejection(error: psycopg.Error, *, of_values: bool = False) -> bool:
    """Whether an error is about a row, and not about the statement or the session.

    ``of_values`` says that the statement only casts values.
    """
    other_errors = (*_other_errors(of_values), _TOO_MANY[:2])
    return bool(error.sqlstate) and str(error.sqlstate)[:2] not in other_errors


def _other_errors(of_values: bool) -> list[str]:
    return [name for name in _OTHERS if not (of_values and name in _REJECTIONS_OF_VALUES)]


def run(
    connection: Connection, text: str, staged: sql.Identifier, row_limit: int, *, of_values: bool = False
) -> tuple[int, int]:
    """Run a statement for all rows of a temporary table that Postgres accepts; returns its two counts.

    The statement takes the rows' places (ctid) as ``$1`` and returns an array of two counts. The rejected
    rows are then in ``pg_temp.postgres_rejections``, with the reason. Unless the statement only casts values
    (``of_values``), rejected rows are tried again after the others, which they may refer to. Raises
    RejectionLimitExceeded as soon as more than ``row_limit`` rows are rejected.
    """
    connection.execute(statement("warehouse/bisection.sql"))
    try:
        row = connection.execute(
            "SELECT pg_temp.find_rejected(%s, %s::regclass, %s, %s, %s)",
            (text, staged.as_string(connection), row_limit, _other_errors(of_values), not of_values),
        ).fetchone()
    except psycopg.Error as error:
        if error.sqlstate == _TOO_MANY:
            raise RejectionLimitExceeded(
                f"more than {row_limit:,}", error.diag.message_primary or ""
            ) from None
        raise
    return counts(row)


def counts(row: tuple[object, ...] | None) -> tuple[int, int]:
    """The two counts that a statement returns as an array."""
    added, changed = cast(list[int], row[0]) if row else (0, 0)
    return added, changed
