"""Tables that others replicate from the warehouse: an update needs a replica identity."""

from collections.abc import Sequence

from psycopg import sql

from pipeline.postgres import Connection, statement


def identify_rows(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """Let Postgres update the tables without a primary key that a publication sends.

    A fact has no key of its own, because it holds several versions of each row.
    """
    found = connection.execute(
        statement("warehouse/unidentified.sql"), {"schema": schema, "tables": list(tables)}
    ).fetchall()
    for home, name in found:
        table = sql.Identifier(str(home), str(name))
        connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(table))
