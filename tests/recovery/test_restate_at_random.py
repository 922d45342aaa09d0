"""Models that change at random give what a rebuild gives, also if restating is killed."""

from __future__ import annotations

import os
from random import Random
from threading import Timer

import psycopg
import pytest

from pipeline.recovery import checkpoints
from tests.pair import Pair
from tests.recovery.restating import DAYS, MODELS, SOURCE, change, restated


@pytest.fixture(autouse=True)
def at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let interrupted restatements go on."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


@pytest.fixture
def lived(shared: Pair) -> Pair:
    """A shop after some batches, in which rows changed, were deleted, rejected and retried."""
    shared.live(MODELS, SOURCE, DAYS)
    return shared


CHANGES = (
    (
        "fact_sale",
        "-- key: sale_id\nSELECT sale_id, shop_id, amount{} AS amount FROM sale WHERE sale_id % {} > 0",
    ),
    ("dim_shop", "SELECT shop_id, city || '{}' AS city, repeat(manager, {}) AS manager FROM shop"),
    (
        "dim_total",
        (
            "SELECT shop_id, CAST(sum(amount{}) AS decimal(12, 2)) AS total"
            " FROM sale WHERE amount > {} GROUP BY 1"
        ),
    ),
    (
        "bridge_shop_item",
        "-- key: shop_id, item\nSELECT DISTINCT shop_id, item || '{}' AS item FROM sale WHERE amount > {}",
    ),
)
EDITS = (
    "UPDATE sale SET amount = amount + 1 WHERE sale_id % 3 = {}",
    "DELETE FROM sale WHERE sale_id = {}",
    "INSERT INTO sale SELECT max(sale_id) + 1, 1 + {} % 4, 'new', {} FROM sale",
    "UPDATE shop SET city = city || {} WHERE shop_id = 1 + {} % 3",
)


def _killed_at_random(pair: Pair, models: dict[str, str], random: Random) -> None:
    """Restate changed models, and end the session in the warehouse meanwhile; nothing changes then."""
    house = pair.house
    tables = [*(name for name, _ in CHANGES), "dim_shop_version", "dim_total_version", "etl.rejected"]
    held = {name: sorted(map(str, house.query(f"SELECT t::text FROM {name} AS t"))) for name in tables}
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> %s"
    )
    with psycopg.connect(house.url, autocommit=True) as other:
        timer = Timer(random.uniform(0.05, 0.4), other.execute, (end, (other.info.backend_pid,)))
        timer.start()
        try:
            restated(pair, models)
        except psycopg.OperationalError:
            assert held == {
                name: sorted(map(str, house.query(f"SELECT t::text FROM {name} AS t"))) for name in tables
            }
        finally:
            timer.join()


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("RESTATE_SEEDS", "5"))))
def test_models_that_change_at_random_between_batches(lived: Pair, seed: int) -> None:
    """Eight steps a seed; half of the restatements are interrupted first."""
    random = Random(seed)
    for _ in range(8):
        lived.do(random.choice(EDITS).replace("{}", str(random.randrange(9))))
        lived.run()
        name, text = random.choice(CHANGES)
        more = random.choice(["", " * 2", " + 1"]) if name in {"fact_sale", "dim_total"} else "!"
        models = {name: text.format(more, random.randrange(2, 5))}
        if random.random() < 0.5:
            _killed_at_random(lived, models, random)
        change(lived, **models)
