"""Refilled tables are as they were."""

from __future__ import annotations

import pytest

from tests.pair import Pair
from tests.support import execute


@pytest.mark.parametrize("harm", ["DELETE FROM {} WHERE shop_id = 1", "TRUNCATE {}"])
@pytest.mark.parametrize("kind", ["dimension", "bridge"])
def test_a_refilled_row_has_the_untracked_values_of_its_version(shared: Pair, kind: str, harm: str) -> None:
    head = f'-- kind: {kind}\n-- key: shop_id\n-- untracked: rating, "a note"\n'
    shared.fresh(
        {
            "stores": f'{head}SELECT shop_id, city, rating, note AS "a note" FROM shop',
            "schema": 'CREATE TABLE IF NOT EXISTS stores (shop_id int, city text, rating int, "a note" json)',
        },
        "CREATE TABLE shop (shop_id int PRIMARY KEY, city text, rating int, note json)",
        "INSERT INTO shop VALUES (1, 'York', 1, '[1]'), (2, 'Hull', 1, '[2]'), (3, 'Ely', 1, '[3]')",
    )
    shared.run()
    shared.do(
        "UPDATE shop SET rating = 2, note = '[9]' WHERE shop_id < 3", "DELETE FROM shop WHERE shop_id = 3"
    )
    shared.run()
    shared.do("UPDATE shop SET rating = 3, city = 'Bath' WHERE shop_id = 2")
    shared.run()
    shown = 'SELECT shop_id, city, rating, "a note"::text FROM stores ORDER BY 1'
    before = shared.house.query(shown)
    assert before[:2] == [(1, "York", 1, "[1]"), (2, "Bath", 3, "[9]")]
    execute(shared.house.url, harm.format("stores"))
    shared.run()
    assert shared.house.query(shown) == before
