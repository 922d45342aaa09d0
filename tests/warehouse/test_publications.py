"""A warehouse that others replicate by a publication is loaded like any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pair import Pair
from tests.support import execute

MODELS = {
    "dim_shop": "SELECT id, town FROM shop",
    "fact_sale": "-- key: id\nSELECT id, amount FROM sale",
    "bridge_tag": "-- key: shop, tag\nSELECT shop, tag FROM tagged",
    "schema": """
        CREATE TABLE dim_shop (id int PRIMARY KEY, town text);
        CREATE TABLE fact_sale (id int, amount int);
        CREATE TABLE bridge_tag (shop int, tag int);
    """,
}
SOURCE = (
    "CREATE TABLE shop (id int PRIMARY KEY, town text)",
    "CREATE TABLE sale (id int PRIMARY KEY, amount int)",
    "CREATE TABLE tagged (shop int, tag int, PRIMARY KEY (shop, tag))",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Hull')",
    "INSERT INTO sale VALUES (1, 10), (2, 20), (3, 30)",
    "INSERT INTO tagged VALUES (1, 1), (2, 1)",
)
CHANGES = (
    "UPDATE shop SET town = 'Bath' WHERE id = 1",
    "UPDATE sale SET amount = NULL WHERE id = 1",
    "DELETE FROM sale WHERE id = 2",
    "DELETE FROM tagged WHERE shop = 2",
)


@pytest.fixture
def published(shared: Pair) -> Iterator[Pair]:
    """A pair whose warehouse may have a publication, which no other test is to meet."""
    shared.fresh(MODELS, *SOURCE)
    yield shared
    execute(shared.house.url, "DROP PUBLICATION IF EXISTS everything")


@pytest.mark.parametrize("first", [True, False], ids=["before the first load", "after the first load"])
def test_tables_that_a_publication_sends_are_loaded(published: Pair, first: bool) -> None:
    house, publish = published.house, "CREATE PUBLICATION everything FOR ALL TABLES"
    if first:
        execute(house.url, publish)
    published.run()
    if not first:
        execute(house.url, publish)
        house.prepared = None
    published.do(*CHANGES)
    published.run()
    assert house.query("SELECT town FROM dim_shop ORDER BY id") == [("Bath",), ("Hull",)]
    assert house.query("SELECT id, amount FROM fact_sale_current ORDER BY id") == [(1, None), (3, 30)]
    assert house.query("SELECT shop, tag FROM bridge_tag") == [(1, 1)]


def test_tables_that_no_publication_sends_keep_their_identity(published: Pair) -> None:
    published.run()
    query = "SELECT count(*) FROM pg_class WHERE relreplident = 'f'"
    assert published.house.query(query) == [(0,)]
