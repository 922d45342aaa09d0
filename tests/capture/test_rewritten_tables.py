"""Tables that are rewritten, emptied or partitioned."""

from __future__ import annotations

import pytest

from tests.capture.sales import equal, versions
from tests.pair import Pair

REWRITES = {
    "vacuum full": "VACUUM FULL sale",
    "vacuum freeze": "VACUUM FREEZE sale",
    "cluster": "CLUSTER sale USING sale_pkey",
    "a wider type": "ALTER TABLE sale ALTER sale_id TYPE bigint",
    "a type that rewrites": "ALTER TABLE sale ALTER amount TYPE numeric(20, 5)",
    "a volatile default": "ALTER TABLE sale ADD COLUMN more float DEFAULT random()",
    "an index": "CREATE INDEX ON sale (amount)",
    "statistics": "ANALYZE sale",
    "another key": (
        "ALTER TABLE sale DROP CONSTRAINT sale_pkey; ALTER TABLE sale ADD PRIMARY KEY (shop_id, sale_id)"
    ),
}


def test_a_rewritten_table_gives_no_version_and_hides_no_change(pair: Pair) -> None:
    """Changes from before and from after the rewrite are in the same batch."""
    expected = versions(pair)
    for number, (case, rewrite) in enumerate(REWRITES.items()):
        pair.do(f"UPDATE sale SET amount = {20 + number} WHERE sale_id = 2", *rewrite.split("; "))
        pair.do(f"UPDATE sale SET amount = {30 + number} WHERE sale_id = 3")
        pair.run()
        equal(pair)
        expected += 2
        assert versions(pair) == expected, case
        pair.do(*rewrite.replace("ADD COLUMN more", "ADD COLUMN yet_more").split("; "))
        pair.run()
        assert versions(pair) == expected, case


def test_a_lookup_table_may_get_another_key(pair: Pair) -> None:
    """Rows that are stored under the old key are not matched by the new one."""
    pair.do(
        "ALTER TABLE town ADD COLUMN code int",
        "UPDATE town SET code = town_id",
        "ALTER TABLE town DROP CONSTRAINT town_pkey",
        "ALTER TABLE town ADD PRIMARY KEY (code)",
    )
    pair.run()
    equal(pair)
    pair.do("ALTER TABLE town DROP CONSTRAINT town_pkey", "ALTER TABLE town ADD PRIMARY KEY (town_id)")
    pair.run()
    pair.do("UPDATE town SET code = 7, name = 'Hull' WHERE town_id = 1")
    pair.run()
    equal(pair)
    pair.do("ALTER TABLE town DROP CONSTRAINT town_pkey", "UPDATE town SET name = 'Ayr' WHERE town_id = 2")
    pair.run()
    equal(pair)


def test_a_table_that_was_emptied_and_filled_again(pair: Pair) -> None:
    """Equal rows add no version, different rows do, and missing rows are deleted."""
    pair.do(
        "CREATE TABLE kept AS SELECT * FROM sale",
        "TRUNCATE sale",
        "INSERT INTO sale SELECT sale_id, shop_id, amount * CASE sale_id WHEN 2 THEN 10 ELSE 1 END"
        " FROM kept WHERE sale_id < 5",
        "TRUNCATE town",
        "INSERT INTO town VALUES (1, 'York'), (2, 'Hull')",
    )
    counts = pair.run()
    assert counts is not None
    assert (counts["fact_sale"].changed, counts["fact_sale"].deleted) == (1, 1)
    assert versions(pair) == 7
    assert pair.house.query("SELECT town FROM dim_shop ORDER BY shop_id") == [("York",), ("Hull",)]
    equal(pair)
    pair.run(reconcile=True)
    assert versions(pair) == 7


def test_a_table_that_is_emptied_and_stays_so(pair: Pair) -> None:
    pair.do("TRUNCATE sale")
    pair.run()
    equal(pair)
    assert versions(pair) == 10
    assert pair.run() is None


@pytest.mark.parametrize("attached", [True, False], ids=["attached", "copied"])
def test_a_table_that_becomes_partitioned(pair: Pair, attached: bool) -> None:
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2", "ALTER TABLE sale RENAME TO old")
    pair.do("CREATE TABLE sale (LIKE old INCLUDING DEFAULTS) PARTITION BY RANGE (sale_id)")
    pair.do("CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (100) TO (200)")
    if attached:
        pair.do("ALTER TABLE sale ATTACH PARTITION old FOR VALUES FROM (0) TO (100)")
    else:
        pair.do("CREATE TABLE sale_1 PARTITION OF sale DEFAULT", "INSERT INTO sale SELECT * FROM old")
    pair.do("INSERT INTO sale VALUES (100, 1, 1)")
    pair.run()
    equal(pair)
    assert versions(pair) == 7
    pair.do("UPDATE sale SET sale_id = 101 WHERE sale_id = 3", "UPDATE sale SET amount = 0 WHERE sale_id = 4")
    pair.run()
    equal(pair)
    assert versions(pair) == 10, "a new key, the end of the old one, and a change"
    pair.do("CREATE TABLE sale_3 (LIKE old)", "INSERT INTO sale_3 VALUES (300, 2, 3)")
    pair.run()
    pair.do("ALTER TABLE sale ATTACH PARTITION sale_3 FOR VALUES FROM (300) TO (400)")
    pair.run()
    equal(pair)
    pair.do("ALTER TABLE sale DETACH PARTITION sale_3")
    pair.run()
    equal(pair)
