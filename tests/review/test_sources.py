"""The lineage of models over what the last batch holds."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError
from pipeline.models import library, lineage
from pipeline.review import sources
from tasks.lineage import lines
from tests.pair import Pair
from tests.support import write_models


def fed(shop: Pair, table: str | None = None) -> list[str]:
    house = shop.house
    found = sources.lineage_of(house.url, "public", library.load(house.folder), house.raw, table)
    return list(lines(lineage.fed(found, table)))


def test_each_column_of_the_source_is_named_with_what_it_feeds(shop: Pair) -> None:
    assert fed(shop, "shop") == [
        "shop.city: dim_shop.city",
        "shop.manager: dim_shop.manager",
        "shop.shop_id: dim_shop.shop_id",
    ]
    assert "sale.amount: fact_sale.amount, dim_total.total" in fed(shop)
    assert "sale.shop_id: fact_sale.shop_id, dim_total.shop_id, dim_total.total; rows of dim_total" in fed(
        shop
    )


def test_a_table_that_no_model_reads_and_a_model_that_was_never_run(shop: Pair) -> None:
    with pytest.raises(ModelError, match="nothing: no model reads such a table; they read sale, shop"):
        fed(shop, "nothing")
    path = shop.house.folder / "dim_other.sql"
    write_models(shop.house.folder, {"dim_other": "SELECT other_id FROM other"})
    try:
        with pytest.raises(
            ModelError, match=r"dim_other.sql: reads other, which the last batch does not hold"
        ):
            fed(shop)
        path.write_text("SELECT shop_id, opened IS NULL AS unknown FROM dim_shop JOIN shop USING (shop_id)")
        assert "shop.opened: dim_other.unknown" in fed(shop)
    finally:
        path.unlink()
