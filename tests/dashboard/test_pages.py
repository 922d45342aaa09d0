"""The pages' figures equal those of the warehouse's tables."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import httpx
import pytest

from dashboard.filters import Filters
from dashboard.page import days_with_sales
from dashboard.rows import shown
from dashboard.warehouse import Warehouse
from tests.support import query, value

PAGES = ("/", "/sales", "/purchases", "/owed", "/amendments", "/table", "/health")
ALL = "since=2020-01-01&until=2030-12-31"


def text_of(page: httpx.Client, address: str) -> str:
    """The page's text, its tags as spaces."""
    response = page.get(address)
    assert response.status_code == 200, response.text
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", response.text)).split())


def orders_on(page: httpx.Client, address: str) -> int:
    """The number on the card of sales orders."""
    found = re.search(r"Sales orders ([\d,]+)", text_of(page, address))
    assert found
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize(
    "address", [*PAGES, "/sales?by=design", "/purchases?by=location", "/table?view=amendments"]
)
def test_every_page_answers_and_asks_no_other_server(page: httpx.Client, address: str) -> None:
    response = page.get(address)
    assert response.status_code == 200, response.text
    assert re.findall(r"""(?:src|href|action)=["']?(?:https?:)?//""", response.text) == []
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "behind the source" in response.text


def test_revenue_is_told_by_currency(page: httpx.Client, shop_url: str) -> None:
    expected = query(
        shop_url,
        "SELECT currency_code, sum(units_sold * unit_price) FROM fact_sales_order_current"
        " JOIN dim_currency USING (currency_id) GROUP BY 1 ORDER BY 1",
    )
    found = re.findall(
        r'<span class="value" title="([\d,.]+)"><small>(\w{3})</small>', page.get(f"/?{ALL}").text
    )
    assert [(code, amount) for amount, code in found[: len(expected)]] == [
        (code, f"{amount:,}") for code, amount in expected
    ]


@pytest.mark.parametrize(
    ("choice", "condition"),
    [
        ("currency=GBP", "currency_code = 'GBP'"),
        ("department=Sales", "department_name = 'Sales'"),
        ("counterparty=3", "counterparty_id = 3"),
        ("currency=USD&counterparty=3", "currency_code = 'USD' AND counterparty_id = 3"),
        ("since=2024-08-01&until=2024-08-10", "created_date BETWEEN '2024-08-01' AND '2024-08-10'"),
    ],
)
def test_filters_leave_the_orders_that_they_name(
    page: httpx.Client, shop_url: str, choice: str, condition: str
) -> None:
    expected = value(
        shop_url,
        "SELECT count(*) FROM fact_sales_order_current JOIN dim_currency USING (currency_id)"
        f" JOIN dim_staff ON staff_id = sales_staff_id WHERE {condition}",
    )
    address = f"/sales?{choice}" if "since" in choice else f"/sales?{choice}&{ALL}"
    assert orders_on(page, address) == expected


def test_a_past_moment_shows_all_of_it_as_it_was(page: httpx.Client, shop_url: str) -> None:
    first = value(shop_url, "SELECT min(snapshot_at) FROM etl.batch")
    moment = first.isoformat().replace("+00:00", "")
    assert orders_on(page, f"/?{ALL}") == orders_on(page, f"/?{ALL}&as_of={moment}") - 1
    assert "O'Keefe & Sons" not in text_of(page, f"/sales?{ALL}&by=staff&as_of={moment}")


def test_more_purchases_are_neither_good_nor_bad(page: httpx.Client, shop_url: str) -> None:
    """With orders in both halves of the days that have any."""
    ((first, last),) = query(shop_url, "SELECT min(day), max(day) FROM reporting.purchases_by_day")
    choice = f"since={first + (last - first) / 2 + timedelta(1)}&until={last}"
    tones = {
        path: re.findall(r'class="change(?: (good|bad))?', page.get(f"{path}?{choice}").text)
        for path in ("/sales", "/purchases")
    }
    assert {*tones["/purchases"]} == {""}
    assert {*tones["/sales"]} & {"good", "bad"}


def test_seconds_are_drawn_if_they_are_known(page: httpx.Client) -> None:
    """No step of a run has recorded any here."""
    assert "Rows loaded" in text_of(page, "/health")
    assert "Duration" not in text_of(page, "/health")


def test_names_are_shown_as_text(page: httpx.Client) -> None:
    assert "<b>O'Keefe & Sons</b>" in text_of(page, f"/sales?{ALL}&by=staff")
    assert "<b>O'Keefe" not in page.get(f"/sales?{ALL}&by=staff").text


def test_amendments_have_old_and_new_value_order_by_order(page: httpx.Client, shop_url: str) -> None:
    ((before,),) = query(
        shop_url,
        "SELECT agreed_delivery_date FROM fact_sales_order_history WHERE sales_order_id = 7"
        " ORDER BY valid_from LIMIT 1",
    )
    found = text_of(page, "/amendments")
    assert f"sales order 7 agreed_delivery_date silent {before} 2031-02-03" in found
    assert re.search(r"sales order 8 unit_price \d\.\d+ \d\.\d+", found)
    silent = text_of(page, "/amendments?silent=1")
    assert "sales order 7" in silent
    assert "sales order 8" not in silent
    assert "Nothing was amended since 2031-01-01" in text_of(page, "/amendments?changed_since=2031-01-01")


def test_the_amendments_page_explains_a_changed_month(page: httpx.Client, shop_url: str) -> None:
    deleted = value(
        shop_url, "SELECT units_sold * unit_price FROM fact_sales_order WHERE sales_order_id = 9 LIMIT 1"
    )
    assert f"-{deleted:,.2f}" in text_of(page, "/amendments")


def test_the_page_follows_the_warehouse(page: httpx.Client, shop_url: str) -> None:
    batch = value(shop_url, "SELECT max(snapshot_at) FROM etl.batch")
    same = page.get("/", headers={"X-Batch": str(batch)})
    assert (same.headers.get("X-Same-Batch"), "data-chart" in same.text) == ("1", False)
    newer = page.get("/", headers={"X-Batch": "an earlier one"})
    assert ("X-Same-Batch" in newer.headers, "data-chart" in newer.text) == (False, True)


def test_a_table_is_sorted_by_a_column(page: httpx.Client) -> None:
    response = page.get(f"/table?view=sales&sort=revenue&order=asc&{ALL}")
    cells = re.findall(r"<tr>(.*?)</tr>", response.text, re.DOTALL)[1:]
    heads = re.findall(r"sort=(\w+)", re.findall(r"<thead>.*?</thead>", response.text, re.DOTALL)[0])
    place = heads.index("revenue")
    found = [float(re.findall(r"<td[^>]*>(.*?)</td>", each)[place].replace(",", "")) for each in cells]
    assert found == sorted(found)
    assert len(found) > 10


@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_the_newest_rows_are_those_of_the_whole_period(shop_url: str, limit: int) -> None:
    """However many of them the last days have, which are searched first."""
    expected = "SELECT sales_order_id FROM reporting.sales ORDER BY day DESC, 1 DESC LIMIT {}"
    with Warehouse(shop_url).reports() as reports:
        period = days_with_sales(reports)
        found = shown(reports, "sales", Filters(), period, limit)
    assert [(row["sales_order_id"],) for row in found] == query(shop_url, expected.format(limit))


def test_a_view_is_shown_with_its_meaning_alone(page: httpx.Client) -> None:
    found = text_of(page, "/table?view=silent_edits")
    assert "One row per changed value of an order or payment" in found
    assert "Made by the pipeline" not in found


def test_currencies_without_a_rate_are_named(page: httpx.Client) -> None:
    line = "so there is no sum in the reporting currency: add it to transforms/seeds/exchange_rate.csv"
    for path in ("/", "/sales", "/purchases"):
        assert f"No rate for EUR, USD on some of these days, {line}" in text_of(page, f"{path}?{ALL}")
    found = text_of(page, f"/sales?{ALL}&currency=GBP")
    assert "No rate" not in found
    assert "in the reporting currency" in found


def test_only_this_machine_names_the_page(page: httpx.Client) -> None:
    assert page.get("/", headers={"Host": "evil.example"}).status_code == 400
