"""Fixtures of the demo's tests: a server with a filled shop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from demo import shop
from demo.postgres import Postgres
from tests.demo.shop_database import contents, filled
from tests.servers import running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with running_server("shop") as server:
        yield server


@pytest.fixture(scope="session")
def full(server: Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(filled(server, "full", shop.ORDERS), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def day(server: Postgres) -> Iterator[tuple[shop.Day, dict[str, Any], psycopg.Connection]]:
    """Return a working day, the rows before it, and a connection to what it left."""
    url = filled(server, "day", 300)
    with psycopg.connect(url, autocommit=True) as connection:
        before = contents(connection)
        yield shop.working_day(url), before, connection
