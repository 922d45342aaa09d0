"""Sources and warehouses that the tests of plans share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lake.buckets import Bucket
from tests.capture import orders, sales
from tests.house import Warehouse
from tests.pair import Pair
from tests.support import execute, write_models


@pytest.fixture
def house(source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """The source and the models of ``orders``, before the first run."""
    execute(source_url, *orders.SOURCE)
    write_models(tmp_path / "models", orders.MODELS)
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """The source and the models of ``sales``, after the first run."""
    shared.fresh(sales.MODELS, *sales.SOURCE)
    shared.run()
    return shared
