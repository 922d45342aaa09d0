"""Temporary tables of a rebuild are kept in memory, as far as the session lets them."""

from __future__ import annotations

from pipeline.postgres import Connection, transaction
from pipeline.recovery import table_copies


def _shown(connection: Connection) -> object:
    return connection.execute("SELECT current_setting('temp_buffers')").fetchone()


def test_temporary_tables_use_more_memory_unless_the_session_has_used_some(warehouse_url: str) -> None:
    with transaction(warehouse_url, "warehouse") as connection:
        before = _shown(connection)
        connection.execute("CREATE TEMP TABLE used AS SELECT 1")
        table_copies.take_memory(connection)
        assert _shown(connection) == before
    with transaction(warehouse_url, "warehouse") as connection:
        table_copies.take_memory(connection)
        assert _shown(connection) == ("128MB",)
