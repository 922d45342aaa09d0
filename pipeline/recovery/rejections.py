"""Rejected rows of tables that are computed again: those that waited for other tables, and too many."""

from collections.abc import Iterable, Mapping

from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.models.target import Target
from pipeline.postgres import Connection, count_in, texts
from pipeline.warehouse.integrity import refers_ahead
from pipeline.warehouse.limits import Limits
from pipeline.words import counted


def unresolved(connection: Connection, schema: str) -> dict[str, int]:
    """How many rejected rows of each table of a schema are not resolved."""
    rows = connection.execute(
        "SELECT table_name, count(*) FROM etl.rejected WHERE schema_name = %s AND NOT resolved"
        " GROUP BY table_name",
        (schema,),
    ).fetchall()
    return {str(name): int(str(number)) for name, number in rows}


def tables(connection: Connection, schema: str) -> set[str]:
    """The tables of a schema of which a row was ever rejected."""
    query = "SELECT DISTINCT table_name FROM etl.rejected WHERE schema_name = %s"
    return set(texts(connection, query, (schema,)))


def waited_for(
    connection: Connection, schema: str, targets: Mapping[str, Target], names: Iterable[str]
) -> set[str]:
    """The tables of which rows had to wait for rows of these tables, or of one that is found.

    If these are there from an earlier batch on, so are those that waited.
    """
    rows = connection.execute(
        "SELECT DISTINCT table_name, reason FROM etl.rejected WHERE schema_name = %s", (schema,)
    ).fetchall()
    reasons = {(str(name), reason) for name, text in rows for reason in str(text).split("; ")}
    waits = {
        (name, reference.to_table)
        for name, target in targets.items()
        for reference in target.references
        if (name, reference.missing) in reasons
    }
    found, new = set[str](), set(names)
    while new:
        new = {name for name, other in waits if other in new} - found
        found |= new
    return found


def restate_early(
    connection: Connection, schema: str, targets: Mapping[str, Target], names: Iterable[str]
) -> None:
    """Mark those of these tables as to be restated that have accepted rows which had to wait for others.

    They were filled beside tables that have the rows of later batches, too. Each comes after those that it
    refers to.
    """
    early = set[str]()
    for name in names:
        refers_to = {reference.to_table for reference in targets[name].references}
        if refers_to & early or refers_ahead(connection, schema, targets[name], targets):
            early.add(name)
    connection.execute(
        "UPDATE etl.model SET to_restate = true WHERE schema_name = %s AND table_name = ANY(%s)",
        (schema, list(early)),
    )


def check_share(
    connection: Connection, schema: str, targets: Iterable[Target], before: Mapping[str, int], limits: Limits
) -> None:
    """Raise WarehouseError if tables of a schema, computed again, have lost too many rows by rejections.

    ``before`` are the unresolved rejections of the tables as they were; that many are accepted.
    """
    after = unresolved(connection, schema)
    for target in targets:
        rejected = after.get(target.name, 0)
        if rejected <= before.get(target.name, 0) or limits.rejected_share >= 1:
            continue
        present = _present_rows(connection, schema, target)
        total = rejected + present
        if rejected > limits.rejected_rows(total, complete=True) or (not present and total > 1):
            raise WarehouseError(
                f"warehouse: table {target.name}: {rejected:,} of {counted(total, 'row')} would be rejected"
                f" ({_reason(connection, schema, target)}); correct the model or the table, or allow it by"
                " TOTESYS_MAX_REJECTED_SHARE=1; nothing was changed"
            )


def _present_rows(connection: Connection, schema: str, target: Target) -> int:
    is_present = sql.SQL("superseded_at IS NULL AND NOT deleted" if target.fact else "valid_to IS NULL")
    query = sql.SQL("SELECT count(*) FROM {} WHERE {}")
    versions = sql.Identifier(schema, target.versions_table)
    return count_in(connection.execute(query.format(versions, is_present)))


def _reason(connection: Connection, schema: str, target: Target) -> str:
    """The most common reason."""
    query = (
        "SELECT reason FROM etl.rejected WHERE schema_name = %s AND table_name = %s AND NOT resolved"
        " GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 1"
    )
    return next(iter(texts(connection, query, (schema, target.name))), "")
