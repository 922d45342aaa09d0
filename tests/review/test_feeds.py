"""A plan names the source columns that feed what a changed model computes otherwise than before."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.columns import Column
from pipeline.review.feeds import Feed, feeds
from tests.made_up import made_target
from tests.support import write_models

TABLES = {
    "sale": tuple(
        Column(name=name, type=type_)
        for name, type_ in {
            "id": "integer",
            "units": "integer",
            "price": "numeric(10,2)",
            "open": "boolean",
        }.items()
    )
}
KEYS = {"sale": ("id",)}
BEFORE = "-- key: id\nSELECT id, units FROM sale"
TARGETS = {
    "fact_sale": made_target("fact_sale", ("id",), id="integer", units="integer"),
    "fact_double": made_target("fact_double", ("id",), id="integer", twice="integer"),
}
ABOVE = "-- key: id\nSELECT id, units * 2 AS twice FROM fact_sale"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("SELECT id, units FROM sale AS s", []),
        ("SELECT id, units, units * price AS amount FROM sale", ["amount: sale.price, sale.units"]),
        ("SELECT id, units + id AS units FROM sale", ["units: sale.id, sale.units (before: sale.units)"]),
        ("SELECT id, 1 AS units FROM sale", ["units:  (before: sale.units)"]),
        ("SELECT id, units FROM sale WHERE open", [": sale.open (before: )"]),
        ("SELECT id, unknown AS units FROM sale", []),
    ],
)
def test_columns_with_other_sources_are_named(now: str, expected: list[str], tmp_path: Path) -> None:
    models = write_models(tmp_path, {"fact_sale": f"-- key: id\n{now}", "fact_double": ABOVE})
    found = feeds(models, {"fact_sale": BEFORE}, TARGETS, TABLES, KEYS, {"fact_sale"})
    assert [_line(each) for each in found.get("fact_sale", ())] == expected


def test_a_model_above_is_traced_to_the_source(tmp_path: Path) -> None:
    changed = "-- key: id\nSELECT id, CAST(price AS integer) AS units FROM sale"
    models = write_models(tmp_path, {"fact_sale": changed, "fact_double": ABOVE})
    texts = {"fact_sale": BEFORE, "fact_double": ABOVE}
    found = feeds(models, texts, TARGETS, TABLES, KEYS, {"fact_sale", "fact_double"})
    assert [_line(each) for each in found["fact_double"]] == ["twice: sale.price (before: sale.units)"]


def _line(feed: Feed) -> str:
    before = "" if feed.before is None else f" (before: {', '.join(feed.before)})"
    return f"{feed.column}: {', '.join(feed.sources)}{before}"
