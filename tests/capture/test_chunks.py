"""How tables are split into chunks, and how a plan summarizes them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.source.changes import Slice
from tests.capture.orders import run
from tests.house import Warehouse, plan_batch
from tests.support import execute, parquet_rows


@pytest.mark.since(14, "finding a range of pages without reading all others")
@pytest.mark.parametrize("pages", [1, 3, 1_000])
def test_a_large_table_is_read_in_ranges_of_pages(source_url: str, house: Warehouse, pages: int) -> None:
    execute(source_url, "INSERT INTO orders SELECT i, 1, repeat('x', 500) FROM generate_series(6, 200) AS i")
    planned, manifest = plan_batch(source_url, house, pages=pages)
    chunks = [(chunk, spec) for chunk, spec in planned.chunks("public", pages) if chunk.table == "orders"]
    size = planned.tables["orders"].table.pages
    assert len(chunks) == -(-size // pages)
    bounds = [(spec.slice.first_page, spec.slice.end_page) for _, spec in chunks]
    if len(chunks) > 1:
        assert bounds[0][0] == 0
        assert bounds[-1][1] == size
        assert all(before[1] == after[0] for before, after in pairwise(bounds))
        assert chunks[1][0].name == f"orders 2 of {len(chunks)}"
    else:
        assert (bounds, chunks[0][0].name) == ([(0, size)], "orders")
    assert all(spec.slice.concatenated for _, spec in chunks)
    assert manifest is not None
    rows = parquet_rows(house.raw, manifest.tables["orders"].files)
    assert sorted(row["order_id"] for row in rows) == list(range(1, 201))


def test_changes_are_read_in_one_chunk(source_url: str, house: Warehouse) -> None:
    run(source_url, house)
    execute(source_url, "INSERT INTO orders SELECT i, 1, repeat('x', 500) FROM generate_series(6, 200) AS i")
    planned, _ = plan_batch(source_url, house)
    ((chunk, spec),) = planned.chunks("public", 1)
    assert (chunk.table, chunk.of, spec.slice.first_page, spec.expected_rows) == ("orders", 1, None, 195)


@pytest.mark.since(14, "finding a range of pages without reading all others")
def test_a_table_with_inheriting_tables_is_read_to_an_open_end(source_url: str, house: Warehouse) -> None:
    execute(source_url, "INSERT INTO orders SELECT i, 1, repeat('x', 500) FROM generate_series(6, 200) AS i")
    execute(source_url, "CREATE TABLE more_orders () INHERITS (orders)")
    execute(
        source_url,
        "INSERT INTO more_orders SELECT i, 1, repeat('x', 500) FROM generate_series(201, 900) AS i",
    )
    planned, manifest = plan_batch(source_url, house, pages=3)
    slices = [spec.slice for chunk, spec in planned.chunks("public", 3) if chunk.table == "orders"]
    assert not any(slice_.concatenated for slice_ in slices)
    assert (slices[0].first_page, slices[-1].end_page) == (0, None)
    assert manifest is not None
    rows = parquet_rows(house.raw, manifest.tables["orders"].files)
    assert sorted(row["order_id"] for row in rows) == list(range(1, 901))


def test_a_table_without_page_ranges_is_one_chunk(source_url: str, house: Warehouse) -> None:
    """Like all tables before Postgres 14."""
    planned, _ = plan_batch(source_url, house)
    orders = planned.tables["orders"]
    old = orders.table.model_copy(update={"has_pages": False, "pages": 1_000_000})
    planned = replace(planned, tables={"orders": replace(orders, table=old)})
    ((_, spec),) = planned.chunks("public", 1)
    assert spec.slice == Slice()


def test_the_summary_names_tables_rows_and_reasons(source_url: str, house: Warehouse) -> None:
    planned, manifest = plan_batch(source_url, house)
    assert manifest is not None
    house.bring(manifest)
    assert all(words in planned.summary for words in ("orders", "shops", "towns", "first batch"))
    execute(source_url, "INSERT INTO orders SELECT i FROM generate_series(1001, 3000) AS i")
    planned, _ = plan_batch(source_url, house)
    assert "2,000 rows" in planned.summary
    assert "orders" in planned.summary
