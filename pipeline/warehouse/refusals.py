"""Find the rows for which Postgres refuses a set of rows, by its own judgement and for any reason.

A set is tried as a whole first, so this costs nothing where nothing is refused. Where it is, a
function on the server tries its halves, and theirs, each in a subtransaction, until single rows
remain: about ``2 * refused * log2(rows)`` tries, without a round trip each.
"""

from typing import cast

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, statement, template

# Classes of SQLSTATE that say nothing of a row: connection, transaction, dependent objects, rollback,
# missing rights or objects, resources, objects in use, an operator's hand, the system, a broken server.
_NO_REFUSALS = (
    "08",
    "25",
    "26",
    "2B",
    "2D",
    "3B",
    "3D",
    "3F",
    "40",
    "42",
    "53",
    "55",
    "57",
    "58",
    "F0",
    "XX",
)
# Of values on their way into a type they do: jsonpath and tsquery call theirs a syntax error, regclass
# an unknown object.
_REFUSALS_OF_VALUES = ("3D", "3F", "42")
_TOO_MANY = "TT001"
# What a statement's placeholder {chosen} becomes, for one that is run for some rows at a time.
CHOSEN = template("s.ctid = ANY($1)")
# Finds all of them, however many there are.
ANY_NUMBER = 2**62


class TooManyRefused(WarehouseError):
    """More rows are refused than may be: how many in words, and the reason of some."""

    def __init__(self, number: str, reason: str) -> None:
        super().__init__(f"rows that would be rejected: {number} ({reason})")
        self.number, self.reason = number, reason


def is_refusal(error: psycopg.Error, *, of_values: bool = False) -> bool:
    """Whether Postgres refuses some row, and not the statement or the session.

    With ``of_values`` the statement does nothing but give values their types.
    """
    return bool(error.sqlstate) and str(error.sqlstate)[:2] not in (*_no_refusals(of_values), _TOO_MANY[:2])


def _no_refusals(of_values: bool) -> list[str]:
    return [name for name in _NO_REFUSALS if not (of_values and name in _REFUSALS_OF_VALUES)]


def find(
    connection: Connection, text: str, staged: sql.Identifier, most: int, *, of_values: bool = False
) -> tuple[int, int]:
    """Run a statement for all rows of a temporary table that are not refused; returns its counts.

    The statement takes the rows' places as ``$1`` and returns an array of two counts. What is
    refused stands in ``pg_temp.refused`` then, with the reason. Rows are tried another time once
    others are in, which they may need; not where the statement does nothing but give values their
    types. Raises TooManyRefused as soon as more than ``most`` rows are refused.
    """
    connection.execute(statement("warehouse/find_refused.sql"))
    try:
        row = connection.execute(
            "SELECT pg_temp.find_refused(%s, %s::regclass, %s, %s, %s)",
            (text, staged.as_string(connection), most, _no_refusals(of_values), not of_values),
        ).fetchone()
    except psycopg.Error as error:
        if error.sqlstate == _TOO_MANY:
            raise TooManyRefused(f"more than {most:,}", error.diag.message_primary or "") from None
        raise
    return counts(row)


def counts(row: tuple[object, ...] | None) -> tuple[int, int]:
    """The two counts that a statement returns as an array."""
    added, changed = cast(list[int], row[0]) if row else (0, 0)
    return added, changed
