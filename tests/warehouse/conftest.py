"""A warehouse of shops and orders, and batches of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lake.buckets import Bucket
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.pair import Pair
from tests.support import write_models
from tests.warehouse import consenting
from tests.warehouse.consenting import filled_shop, follow
from tests.warehouse.shops import (
    MODELS,
    TABLES,
)


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
