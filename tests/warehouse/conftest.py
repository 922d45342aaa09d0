"""A warehouse of shops and orders, batches of them, and warehouses after two batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lake.buckets import Bucket
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.pair import Pair
from tests.support import write_models
from tests.warehouse import consenting, shop_marts
from tests.warehouse.consenting import filled_shop, follow
from tests.warehouse.shops import MODELS, TABLES


@pytest.fixture
def house(warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """A warehouse of one dimension and one fact that refers to it."""
    write_models(tmp_path / "models", MODELS)
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


@pytest.fixture
def batches(raw: Bucket) -> MadeUp:
    """Batches of shops and orders."""
    return MadeUp(raw, TABLES)


@pytest.fixture(scope="module")
def filled(shared: Pair) -> Pair:
    """The shop of ``consenting`` after two batches."""
    return filled_shop(shared)


@pytest.fixture
def loaded(filled: Pair) -> Pair:
    """The same with its models as they were; tests leave its tables as they are."""
    write_models(filled.house.folder, consenting.MODELS)
    assert follow(filled) == []
    return filled


@pytest.fixture(scope="module")
def two_batches(shared: Pair) -> Pair:
    """A shop with marts after two batches; the second one changed a sale and deleted another."""
    shared.fresh(shop_marts.MODELS, *shop_marts.SOURCE)
    shop_marts.write(shared, shop_marts.MARTS)
    shared.run()
    shared.do("UPDATE sale SET amount = 11 WHERE sale_id = 1", "DELETE FROM sale WHERE sale_id = 3")
    shared.run()
    return shared


@pytest.fixture
def shop(two_batches: Pair) -> Pair:
    """The same, with its marts and models as they were."""
    shop_marts.write(two_batches, shop_marts.MARTS)
    two_batches.house.prepare()
    return two_batches
