"""Whatever changes tables leaves counts that are right, so that the next run has nothing to refill."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.errors import SettingsError
from pipeline.warehouse.mismatches import examine_tables
from tests.pair import Pair
from tests.recovery.restating import MODELS, restated
from tests.recovery.test_imports import SALES, STAFF, imported
from tests.support import execute, write_models

BRIDGE = MODELS["bridge_shop_item"]


def with_models(pair: Pair, **models: str | None) -> None:
    """Replace some models, and remove others."""
    for name, text in models.items():
        if text is None:
            (pair.house.folder / f"{name}.sql").unlink()
    write_models(pair.house.folder, {name: text for name, text in models.items() if text is not None})
    pair.house.prepared = None


def load_all_kinds_of_changes(pair: Pair) -> None:
    """The batches of the shop were loaded before: new, changed, deleted, rejected and retried rows."""
    assert pair.house.query("SELECT count(*) > 0 FROM fact_sale WHERE deleted") == [(True,)]


def refill(pair: Pair) -> None:
    execute(pair.house.url, "TRUNCATE dim_shop_version, dim_total_version, fact_sale, bridge_shop_item")
    assert not pair.house.refill()


def restate(pair: Pair) -> None:
    models = {
        "dim_shop": "SELECT shop_id, city, manager FROM shop",
        "fact_sale": MODELS["fact_sale"].replace("amount FROM", "amount, item FROM"),
        "dim_total": MODELS["dim_total"].replace("GROUP BY", "WHERE sale_id > 2 GROUP BY"),
        "bridge_shop_item": f"{BRIDGE} WHERE amount > 2",
    }
    assert len(restated(pair, {**MODELS, **models})) == len(models)


def import_and_import_again(pair: Pair) -> None:
    for lines in (None, -1):
        for name, text in (("dim_shop", STAFF), ("fact_sale", SALES)):
            imported(pair, name, "".join(text.splitlines(keepends=True)[:lines]))


def alter_columns(pair: Pair) -> None:
    schema = MODELS["schema"].replace("manager text", "manager varchar(90), added text DEFAULT 'x'")
    with_models(pair, schema=schema)
    pair.house.allow = ("narrow dim_shop.manager",)
    pair.house.targets()


def remake(pair: Pair) -> None:
    with_models(pair, dim_total="-- kind: bridge\n-- key: shop_id\n" + MODELS["dim_total"])
    pair.house.allow = ("remake dim_total",)
    assert not pair.house.refill()


def freeze_and_bring_back(pair: Pair) -> None:
    """Others change tables while they have no model; the lake may lack the batches to restate them."""
    with_models(pair, fact_sale=None, bridge_shop_item=None, dim_total=None)
    pair.run(full=True)
    execute(
        pair.house.url,
        "DELETE FROM dim_total_version WHERE shop_id = 1 AND valid_to IS NOT NULL",
        "DELETE FROM fact_sale WHERE sale_id = 5",
        "INSERT INTO bridge_shop_item VALUES (99, 'theirs')",
    )
    with_models(pair, **{name: text for name, text in MODELS.items() if name != "schema"})
    pair.run(full=True)


@pytest.mark.parametrize(
    "write",
    [
        load_all_kinds_of_changes,
        refill,
        restate,
        import_and_import_again,
        alter_columns,
        remake,
        freeze_and_bring_back,
    ],
)
def test_recorded_counts_are_right(lived: Pair, write: Callable[[Pair], None]) -> None:
    write(lived)
    assert lived.house.miscounted() == []
    assert examine_tables(lived.house.url, "public", lived.house.targets()) == []


def test_an_import_does_not_take_over_what_others_have_changed(lived: Pair) -> None:
    execute(lived.house.url, "DELETE FROM dim_shop_version WHERE shop_id = 2")
    with pytest.raises(SettingsError, match=r"dim_shop has \d versions .* were loaded; run `make run` first"):
        imported(lived, "dim_shop", STAFF)
