"""A warehouse without models, and a small shop with models."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lake.buckets import Bucket
from tests.house import Warehouse
from tests.pair import Pair
from tests.warehouse.rejections.shop import MODELS, SOURCE


@pytest.fixture
def house(warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """A warehouse without models."""
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A source with one valid row in each table, not read yet."""
    shared.fresh(MODELS, *SOURCE)
    return shared
