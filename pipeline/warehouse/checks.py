"""Run checks in the transaction of a load, where every table is as of the batch.

A check sees the models' tables by name and the batch's new rows as ``new_<model>``, and no other functions
and operators than Postgres's own: these relations are temporary views, and the search_path has no other
schema. It runs read-only in a savepoint that is rolled back.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import ModelError, WarehouseError
from pipeline.messages import message
from pipeline.models.checks import Check
from pipeline.models.target import Target
from pipeline.postgres import Connection, identifiers, statement, transaction
from pipeline.words import counted, line_of

Personal = Mapping[str, Collection[str]]
_SHOWN_COLUMNS, _SHOWN_SIGNS = 8, 60
# The lines of the statement before the check's own.
_LINES_BEFORE = 1


class CheckFailed(WarehouseError):
    """A check that lets a batch fail has found rows."""


class Warned(Frozen):
    """A check that warns: how many rows it found, or why it could not run."""

    name: str
    meaning: str
    rows: int
    error: str = ""

    @property
    def sentence(self) -> str:
        """What it says, in one line."""
        if self.error:
            return f"check {self.name} could not run: {self.error}"
        return f"check {self.name}: {counted(self.rows, 'row')}: {self.meaning}"


@dataclass(frozen=True)
class Checks:
    """The checks of a load. ``timeout`` is in seconds; ``personal`` finds personal columns by model."""

    checks: Sequence[Check] = ()
    timeout: int = 60
    personal: Callable[[], Personal] = dict


NO_CHECKS = Checks()


def verify(url: str, schema: str, targets: Mapping[str, Target], checks: Sequence[Check]) -> None:
    """Plan every check on the tables as they are; raises ModelError with file and line."""
    if found := problems(url, schema, targets, checks):
        raise ModelError("; ".join(found.values()))


def problems(url: str, schema: str, targets: Mapping[str, Target], checks: Sequence[Check]) -> dict[str, str]:
    """Why checks cannot be planned on the tables as they are, with file and line, by the check's name."""
    found: dict[str, str] = {}
    if not checks:
        return found
    with transaction(url, "warehouse") as connection, connection.transaction(force_rollback=True):
        _create_views(connection, schema, targets, checks, None, ())
        for check in checks:
            try:
                with _confined(connection, 0):
                    _execute(connection, _query(check, "EXPLAIN "))
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                found[check.name] = _located(check, error, "EXPLAIN ")
    return found


def run(
    connection: Connection,
    schema: str,
    targets: Mapping[str, Target],
    checks: Checks,
    at: datetime,
    loaded: Collection[str],
) -> list[Warned]:
    """Run the checks for the batch of the moment ``at``, which has new rows in the tables ``loaded``.

    Returns those that warn. Raises CheckFailed with the first row that a failing check has found.
    """
    warned: list[Warned] = []
    if checks.checks:
        with connection.transaction(force_rollback=True):
            _create_views(connection, schema, targets, checks.checks, at, loaded)
            for check in checks.checks:
                warned += _run(connection, check, checks, targets)
    return warned


def _run(
    connection: Connection, check: Check, checks: Checks, targets: Mapping[str, Target]
) -> Iterator[Warned]:
    found = Warned(name=check.name, meaning=check.meaning, rows=0)
    first: dict[str, object] = {}
    try:
        with _confined(connection, checks.timeout):
            ((number, row),) = _execute(connection, _query(check))
    except psycopg.errors.QueryCanceled:
        reason = f"{check.path}: it took longer than {checks.timeout} s (TOTESYS_CHECK_TIMEOUT)"
        found = found.model_copy(update={"error": reason})
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        found = found.model_copy(update={"error": _located(check, error)})
    else:
        found = found.model_copy(update={"rows": int(str(number))})
        first = json.loads(str(row)) if found.rows else {}
    if check.severity == "fail" and (found.rows or found.error):
        raise CheckFailed(
            f"warehouse: {found.sentence}{_shown(check, first, targets, checks)}; nothing was loaded; correct"
            " the source or the model, or change the check to `-- check: warn`"
        )
    if found.rows or found.error:
        yield found


def _shown(check: Check, first: Mapping[str, object], targets: Mapping[str, Target], checks: Checks) -> str:
    """The first row without personal values.

    If a table that the check names has personal columns, only columns of other warehouse columns' names
    are shown.
    """
    if not first:
        return ""
    personal = {
        column for model, columns in checks.personal().items() if check.names(model) for column in columns
    }
    known = {column.name for target in targets.values() for column in target.columns} - personal
    shown = [
        f"{name} {str(value)[:_SHOWN_SIGNS]}"
        for name, value in first.items()
        if not personal or (name in known and not isinstance(value, (dict, list)))
    ]
    return f"; the first: {', '.join(shown[:_SHOWN_COLUMNS])}" if shown else ""


@contextmanager
def _confined(connection: Connection, timeout: int) -> Iterator[None]:
    """A savepoint that is rolled back, in which nothing can be written."""
    with connection.transaction(force_rollback=True):
        connection.execute(
            sql.SQL("SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = {}").format(
                f"{timeout}s"
            )
        )
        yield


def _query(check: Check, prefix: str = "") -> bytes:
    # In FROM a statement that writes is no valid syntax.
    found = f"SELECT * FROM (\n{check.sql}\n) AS found"  # noqa: S608  the check is SQL
    return f"{prefix}WITH offending AS MATERIALIZED ({found}) {_COUNT}".encode()


_COUNT = "SELECT (SELECT count(*) FROM offending), (SELECT row_to_json(o)::text FROM offending AS o LIMIT 1)"


def _execute(connection: Connection, query: bytes) -> list[tuple[object, ...]]:
    """Run one statement: the extended protocol, which a binary result takes, allows no more of them."""
    return connection.cursor(binary=True).execute(query).fetchall()


def _located(check: Check, error: psycopg.Error, prefix: str = "") -> str:
    """Postgres's message with file and line."""
    place = int(error.diag.statement_position or 0)
    text = _query(check, prefix).decode()
    line = line_of(text, place - 1) - _LINES_BEFORE if place else 0
    lines = line_of(check.sql, len(check.sql))
    return f"{check.path}{f':{min(max(line, 1), lines)}' if place else ''}: {message(error)}"


def _create_views(
    connection: Connection,
    schema: str,
    targets: Mapping[str, Target],
    checks: Sequence[Check],
    at: datetime | None,
    loaded: Collection[str],
) -> None:
    """Create what the checks name: views of tables and histories, and tables of new rows."""
    for name, target in targets.items():
        relations = [name, f"{name}_history", *([f"{name}_current"] if target.fact else [])]
        for relation in relations:
            if any(check.names(relation) for check in checks):
                connection.execute(
                    statement("warehouse/check_view.sql").format(
                        view=sql.Identifier("pg_temp", relation), relation=sql.Identifier(schema, relation)
                    )
                )
        if any(check.names(f"new_{name}") for check in checks):
            connection.execute(
                statement("warehouse/check_new_rows.sql").format(
                    rows=sql.Identifier("pg_temp", f"new_{name}"),
                    columns=identifiers([column.name for column in target.columns]),
                    versions=sql.Identifier(schema, target.versions_table),
                    begins=sql.Identifier(target.span[0]),
                    at=sql.Literal(at),
                    is_loaded=sql.Literal(at is not None and name in loaded),
                )
            )
