"""SQL and HTML in every input stay text."""

from __future__ import annotations

import time

import httpx
import pytest

from dashboard.filters import Filters
from tests.support import query

ATTACKS = (
    "'; DROP TABLE fact_sales_order CASCADE; --",
    '" OR 1=1; SELECT pg_sleep(9); --',
    "%(since)s{view}%s</td><script>alert(1)</script>",
    "1) UNION SELECT rolpassword FROM pg_authid --\\",
)
_PAGES = {
    "changed_since": "/amendments",
    "silent": "/amendments",
    "view": "/table",
    "sort": "/table",
    "order": "/table",
}


@pytest.mark.parametrize("name", sorted(Filters.model_fields))
def test_a_parameter_is_never_part_of_the_sql(page: httpx.Client, shop_url: str, name: str) -> None:
    before = query(shop_url, "SELECT count(*) FROM fact_sales_order")
    began = time.monotonic()
    for attack in ATTACKS:
        response = page.get(_PAGES.get(name, "/sales"), params={name: attack})
        assert response.status_code in {200, 400}, response.text
        assert "<script>alert" not in response.text
        assert "SCRAM-SHA-256" not in response.text
    assert time.monotonic() - began < 9
    assert query(shop_url, "SELECT count(*) FROM fact_sales_order") == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_path_or_header_is_never_part_of_the_sql(page: httpx.Client, attack: str) -> None:
    for path in (f"/export/{attack}.csv", f"/export/sales.{attack}", f"/{attack}"):
        response = page.get(path.replace("%", "%25").replace("#", "%23"))
        assert response.status_code in {400, 404}, response.text
        assert "<script>alert" not in response.text
    assert page.get("/", headers={"X-Batch": attack}).status_code == 200


def test_an_export_binds_what_it_filters(page: httpx.Client) -> None:
    for attack in ATTACKS:
        response = page.get("/export/sales.csv", params={"currency": attack, "department": attack})
        assert response.status_code == 200
        assert response.text.count("\n") == 1
