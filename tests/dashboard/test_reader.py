"""The page as docs/dashboard.md tells to run it: with the role of docs/reader-role.sql."""

from __future__ import annotations

from demo.postgres import Postgres
from tests.dashboard.conftest import served
from tests.dashboard.test_pages import PAGES
from tests.postgres.roles import roles_of


def test_the_reader_role_sees_every_page_and_export(postgres: Postgres, shop_url: str) -> None:
    with roles_of(postgres) as new_role, served(new_role("reader-role.sql", shop_url)) as client:
        for address in (*PAGES, "/export/amendments.csv", "/export/sales.parquet"):
            assert client.get(address).status_code == 200, address
