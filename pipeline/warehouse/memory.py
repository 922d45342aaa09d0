"""More memory for transactions that write many rows.

With the server's defaults a join of millions of rows is split into parts, so that the rows to write come in
no order: each one then needs other pages of the table and its indexes, which takes several times as long.
"""

from contextlib import suppress

import psycopg

from pipeline.postgres import Connection

_FOR_JOINS, _FOR_TEMPORARY_TABLES = "64MB", "128MB"
_RAISE = (
    "SELECT set_config(name, %(least)s, true) FROM pg_settings"
    " WHERE name = %(name)s AND pg_size_bytes(current_setting(name)) < pg_size_bytes(%(least)s)"
)


def for_joins(connection: Connection) -> None:
    """Let the transaction's joins and sorts use more, unless the server lets them use as much already."""
    connection.execute(_RAISE, {"name": "work_mem", "least": _FOR_JOINS})


def for_temporary_tables(connection: Connection) -> None:
    """The same for temporary tables and their indexes, if the session has used none yet."""
    with suppress(psycopg.errors.InvalidParameterValue), connection.transaction():
        connection.execute(_RAISE, {"name": "temp_buffers", "least": _FOR_TEMPORARY_TABLES})
