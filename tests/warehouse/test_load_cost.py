"""The cost of a load follows the changed rows: they are found by key, and no table is read in full."""

from typing import Any

import pytest

from pipeline.warehouse import bisection
from tests.house import plan_batch
from tests.pair import Pair
from tests.support import counted, execute

MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "schema": """
        CREATE TABLE dim_shop (shop_id integer PRIMARY KEY, city text);
        CREATE TABLE fact_sale (record_id serial PRIMARY KEY, sale_id integer, amount integer);
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, amount int)",
    "INSERT INTO shop SELECT n, 'York' FROM generate_series(1, 20000) AS n",
    "INSERT INTO sale SELECT n, n FROM generate_series(1, 20000) AS n",
)
CHANGES = (
    "UPDATE sale SET amount = -amount WHERE sale_id % 100 = 0",
    "DELETE FROM sale WHERE sale_id % 100 = 1",
    "UPDATE shop SET city = 'Hull' WHERE shop_id % 100 = 0",
    "DELETE FROM shop WHERE shop_id % 100 = 1",
)
SCANNED = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'fact_sale'"


def test_rows_that_fit_are_loaded_without_a_search_for_others(
    shared: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []
    real = bisection.run

    def counted(*arguments: Any, **options: Any) -> tuple[int, int]:
        searched.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(bisection, "run", counted)
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do(*CHANGES)
    shared.run()
    assert searched == []
    execute(shared.house.url, "ALTER TABLE fact_sale ADD UNIQUE (recorded_at, amount)")
    shared.house.prepared = None
    shared.do("UPDATE sale SET amount = 7 WHERE sale_id < 9")
    shared.run()
    assert searched, "the test can fail"


def test_a_load_finds_changed_rows_by_their_keys(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    execute(shared.house.url, "ANALYZE")
    shared.do(*CHANGES)
    _, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    before = counted(shared.house.url, SCANNED)

    counts = shared.house.bring(manifest)

    assert {name: (done.changed, done.deleted) for name, done in counts.items()} == {
        "fact_sale": (200, 200),
        "dim_shop": (200, 200),
    }
    # One row is read to see that the table is not empty.
    assert counted(shared.house.url, SCANNED) <= before + 1


def test_a_load_that_changes_half_of_a_table_reads_it_once_and_keeps_its_order(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    execute(shared.house.url, "ANALYZE")
    later, earlier = "UPDATE sale SET amount = -amount WHERE sale_id % 2 = 0 AND sale_id", "10000"
    shared.do(f"{later} > {earlier}", f"{later} <= {earlier}")
    _, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest
    before = counted(shared.house.url, SCANNED)

    assert shared.house.bring(manifest)["fact_sale"].changed == 10_000

    assert counted(shared.house.url, SCANNED) <= before + 20_001
    places = shared.house.query("SELECT sale_id FROM fact_sale WHERE amount < 0 ORDER BY ctid")
    assert places == [(number,) for number in range(2, 20_001, 2)]
