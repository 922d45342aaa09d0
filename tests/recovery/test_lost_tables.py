"""`make retain`, and models that had been removed: what the lake no longer has stays in the warehouse."""

from __future__ import annotations

from pipeline.recovery import retain
from pipeline.recovery.rehearsal import Difference, rehearse
from tests.pair import Pair
from tests.recovery.restating import SOURCE
from tests.recovery.test_absent_models import DAYS, ITEMS, OF_SALE, SCHEMA, restated, run, without


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
    house = pair.house
    *_, found = rehearse(house.url, house.schema, house.models, house.folder, house.raw)
    return found.differences


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
