"""`make retain`, and models that had been removed: what the lake no longer has stays in the warehouse."""

from __future__ import annotations

import pytest

from pipeline.recovery import retain
from pipeline.recovery.rehearsal import Difference
from tests.pair import Pair
from tests.recovery import restating
from tests.recovery.restating import SOURCE
from tests.recovery.test_absent_models import DAYS, ITEMS, OF_SALE, SCHEMA, restated, run, without
from tests.support import execute


def retain_since(pair: Pair, batch: int) -> str:
    """Remove the batches before the newest base until that one; returns the base."""
    house = pair.house
    moments = house.query("SELECT snapshot_at + interval '1 us' FROM etl.batch ORDER BY 1")
    removal = retain.plan(house.raw, house.processed, moments[batch][0], retain.needed(house.url))
    assert removal is not None
    retain.remove(removal, house.raw, house.processed, lambda _: None)
    return removal.base.batch_id


def differences(pair: Pair) -> list[Difference]:
    """From a rebuild, which starts at the base."""
    return pair.house.rehearse().differences


def batches(pair: Pair) -> list[str]:
    return [batch for (batch,) in pair.house.query("SELECT batch_id FROM etl.batch ORDER BY 1")]


def lived(pair: Pair, days: int) -> None:
    """Batches of which the third and fourth lack the sales."""
    pair.fresh({**without("dim_count"), "schema": SCHEMA}, *SOURCE, *ITEMS)
    pair.run()
    for number, day in enumerate(DAYS[:days]):
        run(pair, without("dim_count", *(OF_SALE if number in {1, 2} else ())), *day)


def test_a_base_batch_lacks_no_table_that_is_read_before_and_after_it(shared: Pair) -> None:
    lived(shared, 5)
    assert retain_since(shared, 3) == batches(shared)[1]
    assert differences(shared) == []
    assert retain_since(shared, 4) == batches(shared)[4]
    assert differences(shared) == []


def test_a_model_that_returns_after_its_rows_were_removed_keeps_its_versions(shared: Pair) -> None:
    lived(shared, 3)
    house = shared.house
    assert retain_since(shared, 3) == batches(shared)[3]
    before = house.query("SELECT sale_id, amount, recorded_at FROM fact_sale ORDER BY 1, 3")
    run(shared, without("dim_count"), *DAYS[3])
    now = house.query("SELECT sale_id, amount, recorded_at FROM fact_sale ORDER BY 1, 3")
    assert set(before) <= set(now)
    assert restated(shared, ["fact_sale"]) == []
    current = shared.source("SELECT sale_id, amount FROM sale WHERE amount > 0 ORDER BY 1")
    assert house.query("SELECT sale_id, amount FROM fact_sale_current ORDER BY 1") == current


@pytest.mark.parametrize("header", ["deletes: ignore", "reads: changes"])
@pytest.mark.parametrize("kind", ["fact", "dimension", "bridge"])
@pytest.mark.rarely("bridge-deletes", "fact-reads", "dimension-deletes")
def test_a_row_that_only_its_table_keeps_stays(shared: Pair, kind: str, header: str) -> None:
    """And so do versions that refer to it."""
    house, schema = shared.house, "CREATE TABLE IF NOT EXISTS {} (shop_id integer PRIMARY KEY, city text)"
    schema = schema if kind != "fact" else schema.replace(" PRIMARY KEY", "")
    sale = "CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer, amount integer, shop_id integer{})"
    refers = " REFERENCES kept" if kind == "dimension" else ""
    models = {
        "kept": f"-- kind: {kind}\n-- key: shop_id\n-- {header}\nSELECT shop_id, city FROM shop",
        "fact_sale": "-- key: sale_id\nSELECT sale_id, amount, shop_id FROM sale",
        "schema": f"{schema.format('kept')}; {sale.format(refers)};",
    }
    shared.fresh(models, *SOURCE)
    shared.run()
    shared.do("DELETE FROM shop WHERE shop_id = 2")
    shared.run()
    if kind != "dimension":
        execute(house.url, "DELETE FROM kept WHERE shop_id = 1")
        shared.run()
    tables = ["reporting.kept", *(["kept"] if kind != "fact" else [])]
    shown = {f"SELECT shop_id, city FROM {table} ORDER BY 1" for table in tables}
    assert [house.query(each) for each in shown] == [[(1, "York"), (2, "Hull")] for _ in shown]
    shared.run(full=True)
    retain_since(shared, 2)
    sales = house.query("SELECT * FROM fact_sale ORDER BY 1, 4")
    changed = models["fact_sale"].replace("amount,", "amount + 0 AS amount,")
    assert restating.restated(shared, {"fact_sale": changed}) == ["fact_sale"]
    assert house.query("SELECT * FROM fact_sale ORDER BY 1, 4") == sales
    changed = models["kept"].replace("city FROM", "upper(city) AS city FROM")
    assert restating.restated(shared, {"kept": changed}) == []
    shared.run()
    assert [house.query(each) for each in shown] == [[(1, "YORK"), (2, "Hull")] for _ in shown]
