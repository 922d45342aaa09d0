"""Transactions that write many rows use more memory than the server's default, and never less."""

from __future__ import annotations

import pytest

from pipeline.postgres import Connection, transaction
from pipeline.warehouse import memory


def _shown(connection: Connection, name: str) -> object:
    return connection.execute("SELECT current_setting(%s)", (name,)).fetchone()


@pytest.mark.parametrize(("given", "used"), [("4MB", "64MB"), ("1GB", "1GB")])
def test_joins_use_more_memory_unless_they_have_as_much(warehouse_url: str, given: str, used: str) -> None:
    with transaction(warehouse_url, "warehouse") as connection:
        connection.execute("SELECT set_config('work_mem', %s, true)", (given,))
        memory.for_joins(connection)
        assert _shown(connection, "work_mem") == (used,)


def test_temporary_tables_use_more_memory_unless_the_session_has_used_some(warehouse_url: str) -> None:
    with transaction(warehouse_url, "warehouse") as connection:
        before = _shown(connection, "temp_buffers")
        connection.execute("CREATE TEMP TABLE used AS SELECT 1")
        memory.for_temporary_tables(connection)
        assert _shown(connection, "temp_buffers") == before
    with transaction(warehouse_url, "warehouse") as connection:
        memory.for_temporary_tables(connection)
        assert _shown(connection, "temp_buffers") == ("128MB",)
