"""Columns that a fact's model gained are filled in place where that is exact."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.recovery.restating import MODELS, SOURCE, change

PLAIN = (
    (
        "UPDATE sale SET amount = 70, item = 'item 8' WHERE sale_id = 7",
        "INSERT INTO sale VALUES (30, 1, 'x', 5)",
    ),
    ("DELETE FROM sale WHERE sale_id IN (3, 30)",),
    ("INSERT INTO sale VALUES (30, 2, 'y', 6)", "UPDATE sale SET shop_id = 2 WHERE sale_id = 8"),
)
OTHERS = {
    "an edit of nothing but the new column": "UPDATE sale SET item = 'z' WHERE sale_id = 9",
    "a rejected row": "INSERT INTO sale VALUES (31, 1, 'x', -1)",
}


@pytest.mark.parametrize("other", [None, *OTHERS])
def test_new_columns_are_filled_in_place_where_that_is_exact(
    shared: Pair, other: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    for day in PLAIN:
        shared.do(*day)
        shared.run()
    if other:
        shared.do(OTHERS[other])
        shared.run()
    caplog.set_level("INFO", "pipeline")
    changed = MODELS["fact_sale"].replace("amount", "amount, upper(item) AS item")
    assert change(shared, fact_sale=changed) == ["fact_sale"]
    assert ("fact_sale: item filled in place" in caplog.text) == (other is None)
    assert ("item cannot be filled in place" in caplog.text) == (other is not None)
    items = "SELECT item, deleted FROM fact_sale_history WHERE sale_id = 30 ORDER BY valid_from"
    assert shared.house.query(items) == [("X", False), ("X", True), ("Y", False)]
