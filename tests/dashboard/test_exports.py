"""CSV and Parquet files have the rows that the page shows, with their exact values."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import query

ALL = "since=2020-01-01&until=2030-12-31"


def parquet(page: httpx.Client, address: str) -> pa.Table:
    response = page.get(address)
    assert response.status_code == 200, response.text
    return pq.read_table(io.BytesIO(response.content))


def test_both_files_have_the_filtered_rows(page: httpx.Client, shop_url: str) -> None:
    expected = query(
        shop_url,
        "SELECT sales_order_id, units_sold * unit_price FROM fact_sales_order_current"
        " JOIN dim_currency USING (currency_id) WHERE currency_code = 'GBP' ORDER BY 1",
    )
    response = page.get(f"/export/sales.csv?currency=GBP&{ALL}")
    assert 'filename="sales.csv"' in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert sorted((int(row["sales_order_id"]), Decimal(row["revenue"])) for row in rows) == expected

    table = parquet(page, f"/export/sales.parquet?currency=GBP&{ALL}")
    pairs = zip(table["sales_order_id"].to_pylist(), table["revenue"].to_pylist(), strict=True)
    assert sorted(pairs) == expected
    assert table.schema.field("day").type == pa.date32()
    assert pa.types.is_decimal(table.schema.field("revenue").type)


@pytest.mark.parametrize(
    "view", ["amendments", "batches", "rejected", "freshness", "receivables", "dim_date"]
)
def test_every_kind_of_column_can_be_exported(page: httpx.Client, view: str) -> None:
    table = parquet(page, f"/export/{view}.parquet")
    rows = list(csv.reader(io.StringIO(page.get(f"/export/{view}.csv").text)))
    assert (rows[0], len(rows) - 1) == (table.column_names, table.num_rows)


def test_no_rows_make_a_file_with_a_head(page: httpx.Client) -> None:
    assert parquet(page, "/export/sales.parquet?since=1990-01-01&until=1990-01-02").num_rows == 0
    text = page.get("/export/sales.csv?since=1990-01-01&until=1990-01-02").text
    assert text.startswith("sales_order_id,day,")
    assert text.count("\n") == 1
