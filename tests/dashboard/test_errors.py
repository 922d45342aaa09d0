"""Bad input and a warehouse that cannot be read: one line that says what to do, and no traceback."""

from __future__ import annotations

import re
import uuid
from contextlib import ExitStack

import httpx
import psycopg
import pytest
from psycopg import sql

from demo.home import PROJECT
from demo.postgres import Postgres, free_port
from pipeline.models import library
from pipeline.warehouse import catalogue
from tests.dashboard.conftest import served
from tests.support import database, value

SECRET = "hunter-two-secret"


def failure(client: httpx.Client, address: str, status: int) -> str:
    """The line of a page that could not be shown."""
    response = client.get(address)
    assert response.status_code == status, response.text
    assert "Traceback" not in response.text
    assert SECRET not in response.text
    (line,) = re.findall(r'role="alert"><h2>[^<]+</h2><p>([^<]+)</p>', response.text)
    assert "\n" not in line
    return str(line)


def test_a_moment_before_the_first_batch(page: httpx.Client, shop_url: str) -> None:
    first = value(shop_url, "SELECT min(snapshot_at) FROM etl.batch")
    line = failure(page, "/sales?as_of=2020-01-01", 400)
    assert line == (
        "as_of: nothing is known of 2020-01-01 00:00:00 UTC; the first batch shows"
        f" {first:%Y-%m-%d %H:%M:%S} UTC, choose that time or a later one"
    )


@pytest.mark.parametrize(
    ("address", "start"),
    [
        ("/?since=soon", "since: write a day"),
        (
            "/table?view=nothing",
            "view: the warehouse has no view reporting.nothing, or the role may not read it",
        ),
        ("/table?view=sales&sort=nothing", "sort: sales has no such column"),
        ("/export/nothing.csv", "view: the warehouse has no view"),
        ("/export/sales.xlsx", "export: write csv or parquet behind"),
    ],
)
def test_a_choice_that_does_not_exist(page: httpx.Client, address: str, start: str) -> None:
    assert failure(page, address, 400).startswith(start)


def test_a_page_that_does_not_exist(page: httpx.Client) -> None:
    assert failure(page, "/nothing", 404) == "Choose a page of the menu."


def test_an_empty_database_an_empty_warehouse_and_one_that_went_away(postgres: Postgres) -> None:
    with ExitStack() as stack:
        with database(postgres, "warehouse") as url:
            client = stack.enter_context(served(url))
            assert "has no schema reporting: `make run` creates it" in failure(client, "/", 503)
            folder = PROJECT / "transforms"
            catalogue.prepare(url, "public", library.load(folder), folder)
            line = failure(client, "/", 400)
            assert line == "the warehouse is empty: `make run` loads the first batch, then reload"
        line = failure(client, "/", 503)
        assert "does not exist" in line
        assert line.endswith("correct TOTESYS_DASHBOARD_URL, then reload")


def test_a_server_that_does_not_answer() -> None:
    with served(f"postgresql://reader:{SECRET}@127.0.0.1:{free_port()}/warehouse") as client:
        line = failure(client, "/", 503)
    assert line.startswith("warehouse: cannot be reached")
    assert line.endswith("start the database or correct TOTESYS_DASHBOARD_URL, then reload")


def test_a_role_without_rights(postgres: Postgres, shop_url: str) -> None:
    role = f"nobody_{uuid.uuid4().hex[:12]}"
    name = shop_url.rpartition("/")[2]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), SECRET))
        try:
            with served(postgres.url(name, role, SECRET)) as client:
                line = failure(client, "/", 403)
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert "permission denied for schema reporting" in line
    assert line.endswith("the role lacks rights; docs/reader-role.sql grants them")


def test_a_query_that_takes_too_long(shop_url: str) -> None:
    with served(shop_url, timeout=0.001) as client:
        assert "took longer" in failure(client, "/sales", 504)
