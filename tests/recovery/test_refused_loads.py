"""A run that alters tables and is then refused: altered columns stay, and the next run goes on from there."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from tests.pair import Pair
from tests.recovery.restating import change, restated
from tests.support import write_models
from tests.warehouse.consenting import MODELS, SCHEMA, SOURCE

WIDER = SCHEMA.replace("note text", "note text, size smallint")
SIZE = MODELS["fact_sale"].replace("amount FROM", "amount, CAST(amount * {} AS integer) AS size FROM")
VERSIONS = "SELECT sale_id, amount, size, recorded_at FROM fact_sale ORDER BY 1, 4"


@pytest.fixture
def refused(shared: Pair) -> Pair:
    """A warehouse whose last run was refused, because the new model's rows do not fit its new column."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    write_models(shared.house.folder, {"fact_sale": SIZE.format(100_000), "schema": WIDER})
    shared.do("UPDATE sale SET amount = amount + 1")
    with pytest.raises(WarehouseError, match="4 of 4 rows would be rejected"):
        shared.run()
    return shared


def test_a_corrected_model_fills_the_column_of_all_versions(refused: Pair) -> None:
    assert {size for _, _, size, _ in refused.house.query(VERSIONS)} == {None}
    write_models(refused.house.folder, {"fact_sale": SIZE.format(10)})
    refused.run()
    change(refused)
    rows = refused.house.query(VERSIONS)
    assert [size for _, _, size, _ in rows] == [int(amount * 10) for _, amount, _, _ in rows]
    assert len(rows) == 6


def test_undoing_the_change_needs_consent_and_leaves_nothing(refused: Pair) -> None:
    former = {"fact_sale": MODELS["fact_sale"], "schema": SCHEMA}
    with pytest.raises(WarehouseError, match=r"drop fact_sale\.size"):
        restated(refused, former)
    refused.house.allow = ("drop fact_sale.size",)
    restated(refused, former)
    refused.run()
    change(refused)
    assert len(refused.house.query("SELECT sale_id, amount FROM fact_sale")) == 6
