"""Values of versions that only the warehouse still has, after old batches were removed."""

from __future__ import annotations

from datetime import timedelta

from pipeline.recovery import retain
from tests.erasure.people import forgotten, token
from tests.pair import Pair


def test_versions_from_before_the_base_batch_are_erased(shop: Pair) -> None:
    ((moment,),) = shop.house.query("SELECT max(snapshot_at) FROM etl.batch")
    shop.run(full=True)
    removal = retain.plan(
        shop.house.raw,
        shop.house.processed,
        moment + timedelta(microseconds=1),
        retain.needed(shop.house.url),
    )
    assert removal is not None
    retain.remove(removal, shop.house.raw, shop.house.processed, lambda _: None)
    assert removal.batches
    kept = "SELECT DISTINCT last_name, mail FROM dim_person_version WHERE person_id = 7 ORDER BY 1, 2"
    assert len(shop.house.query(kept)) > 1
    assert forgotten(shop)["hits"] == []
    assert shop.house.query(kept) == [(token(shop), token(shop))]
    seller = "SELECT DISTINCT seller FROM fact_sale WHERE person_id = 7"
    assert shop.house.query(seller) == [(token(shop),)]
