"""One model tried on the last batch: its rows, what would be rejected, what differs; nothing changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.lake import manifests
from pipeline.lake.buckets import folder
from pipeline.lake.manifests import all_manifests
from pipeline.review import hiding, trial
from pipeline.review.live import Changed
from pipeline.review.trial import Trial
from tasks.trial import sections
from tests.pair import Pair
from tests.review.conftest import MODELS, everything
from tests.support import write_models


def tried(shop: Pair, path: Path, text: str) -> Trial:
    """The trial of a file with this text."""
    path.write_text(text)
    return trial.run(shop.house.url, "public", shop.house.folder, path, shop.house.raw, first=3)


@pytest.fixture
def draft(shop: Pair, tmp_path: Path) -> Iterator[Path]:
    """A folder for models that are not in the models' folder; nothing may change."""
    before = everything(shop)
    yield tmp_path
    assert everything(shop) == before


def test_a_model_as_it_is_equals_its_table(shop: Pair, draft: Path) -> None:
    for name in ("dim_shop", "fact_sale", "dim_total"):
        found = tried(shop, draft / f"{name}.sql", MODELS[name])
        assert found.difference is not None
        assert (found.difference.added, found.difference.changed, found.difference.missing) == (0, 0, 0), name
        assert (found.rejected, found.remarks, found.create_table) == ((), (), None)
        assert f"Its rows equal those of {name} in the warehouse" in dict(sections(found))
    text = (
        "SELECT shop_id, CAST(sum(amount) + 0.001 AS decimal(12, 3)) AS total FROM fact_sale GROUP BY shop_id"
    )
    rejected = dict(sections(tried(shop, draft / "dim_total.sql", text)))
    assert "Its other rows equal those of dim_total in the warehouse" in rejected, [*rejected]


def test_an_edited_model_shows_how_it_differs(shop: Pair, draft: Path) -> None:
    text = MODELS["fact_sale"].replace("amount", "amount * 2 AS amount", 1) + " WHERE sale_id > 2"
    found = tried(
        shop, draft / "fact_sale.sql", text.replace("sale_id, shop", "sale_id % 29 AS sale_id, shop")
    )
    assert found.rows == 18
    assert [(each.name, each.yields, each.type) for each in found.columns][2:] == [
        ("amount", "INTEGER", "numeric(8,2)"),
        ("extra", "VARCHAR", "jsonb"),
    ]
    assert found.first[0] == {"sale_id": "1", "shop_id": "3", "amount": "10", "extra": None}
    assert found.difference is not None
    assert (found.difference.added, found.difference.changed, found.difference.missing) == (0, 18, 2)
    assert found.difference.first_changed[1] == Changed(
        key={"sale_id": "4"}, columns={"amount": ("4.00", "8.00")}
    )
    assert [row["sale_id"] for row in found.difference.first_missing] == ["2", "30"]


def test_rows_that_would_be_rejected_are_shown_with_their_reasons(shop: Pair, draft: Path) -> None:
    found = tried(
        shop,
        draft / "fact_sale.sql",
        "-- key: sale_id\nSELECT CASE WHEN sale_id < 3 THEN 1 ELSE sale_id END AS sale_id,"
        " CASE WHEN sale_id = 9 THEN 77 WHEN sale_id <> 8 THEN shop_id END AS shop_id,"
        " CAST(amount AS double precision) / 3 AS amount FROM sale WHERE sale_id < 12",
    )
    assert [(each.reason, each.rows, each.first_key) for each in found.rejected] == [
        ("amount does not fit numeric(8,2)", 5, '{"sale_id":"10"}'),
        ("more than one row has this key", 1, '{"sale_id":"1"}'),
        ("shop_id is missing (NULL); amount does not fit numeric(8,2)", 1, '{"sale_id":"8"}'),
        ("shop_id is not in dim_shop", 1, '{"sale_id":"9"}'),
    ]


def test_rows_for_which_the_model_fails_are_shown_as_rejected(shop: Pair, draft: Path) -> None:
    text = MODELS["fact_sale"].replace("amount", "(100 // (amount - 9))::integer AS amount", 1)
    found = tried(shop, draft / "fact_sale.sql", text)
    ((reason, rows, key),) = ((each.reason, each.rows, each.first_key) for each in found.rejected)
    assert reason.startswith("fact_sale.sql: a row is divided by zero")
    assert (rows, key) == (1, '{"sale_id":"9"}')
    assert found.difference is not None
    assert (found.rows, found.difference.missing) == (19, 0)


def test_a_new_model_gets_a_table_that_fits(shop: Pair, draft: Path) -> None:
    found = tried(
        shop,
        draft / "fact_opening.sql",
        "-- key: shop_id\nSELECT shop_id, opened, upper(city) AS town, 2.5 AS rate FROM dim_shop"
        " JOIN shop USING (shop_id, city)",
    )
    assert found.remarks == ("the warehouse has no table fact_opening yet",)
    assert found.create_table == (
        'CREATE TABLE IF NOT EXISTS "fact_opening" (\n    "opening_record_id" serial PRIMARY KEY,\n'
        '    "shop_id" integer NOT NULL,\n    "opened" date,\n    "town" text,\n    "rate" numeric(2,1)\n);'
    )
    assert found.difference is None
    other = tried(shop, draft / "dim_stock.sql", "SELECT amount, sale_id FROM sale")
    assert 'PRIMARY KEY ("sale_id")' in str(other.create_table)


def test_a_column_that_the_table_lacks_is_named_and_the_others_are_compared(shop: Pair, draft: Path) -> None:
    found = tried(shop, draft / "dim_shop.sql", "SELECT shop_id, city, manager, opened FROM shop")
    assert found.remarks == (
        "opened is not in the warehouse table dim_shop; add `opened date` to it in schema.sql",
    )
    assert found.difference is not None
    assert found.difference.changed == 0
    starred = tried(shop, draft / "dim_shop.sql", "SELECT * FROM shop")
    assert starred.remarks == ("opened comes by * and is left out until the table has it",)


def test_personal_values_are_hidden(shop: Pair, draft: Path) -> None:
    text = "-- personal: manager\nSELECT shop_id, city, upper(manager) AS manager FROM shop"
    found = hiding.of_trial(tried(shop, draft / "dim_shop.sql", text))
    assert found.first[0] == {"shop_id": "1", "city": "Leeds", "manager": "…"}
    assert found.difference is not None
    assert found.difference.first_changed[0].columns == {"manager": ("…", "…")}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dim_shop", "SELECT shop_id,\n  city FORM shop x y", r"dim_shop\.sql:2: .*syntax error"),
        ("dim_shop", "SELECT shop_id,\n  town FROM shop", r"dim_shop\.sql:2: .*town"),
        (
            "dim_shop",
            "SELECT shop_id FROM nothing",
            r"dim_shop\.sql: reads nothing, which the last batch does",
        ),
        ("dim_shop", "SELECT city FROM shop", "yields no column shop_id, which the warehouse table dim_shop"),
        ("gone", "", "gone.sql: there is no such file; write MODEL="),
        ("total", "SELECT 1 AS a", "no kind; write"),
    ],
)
def test_an_error_is_one_line(shop: Pair, draft: Path, name: str, text: str, words: str) -> None:
    path = draft / f"{name}.sql"
    with pytest.raises(ModelError, match=words) as caught:
        tried(shop, path, text) if text else trial.run(
            shop.house.url, "public", shop.house.folder, path, shop.house.raw
        )
    assert "\n" not in str(caught.value)


def test_a_table_of_which_a_batch_holds_only_changes(shop: Pair, draft: Path) -> None:
    raw = folder(str(draft / "raw"))
    shutil.copytree(shop.house.raw.root, raw.root)
    for manifest in all_manifests(raw):
        tables = {name: table.model_copy(update={"state": None}) for name, table in manifest.tables.items()}
        manifests.seal(raw, manifest.model_copy(update={"tables": tables}))
    with pytest.raises(ModelError, match=r"reads shop, of which the last batch holds only the changed rows"):
        tried(replace(shop, house=replace(shop.house, raw=raw)), draft / "dim_shop.sql", MODELS["dim_shop"])


def test_a_model_of_the_folder_may_be_edited_where_it_lies(shop: Pair) -> None:
    path = shop.house.folder / "dim_shop.sql"
    try:
        found = tried(shop, path, MODELS["dim_shop"].replace("city", "lower(city) AS city"))
        assert found.difference is not None
        assert found.difference.changed == 3
        headings = [heading for heading, _ in sections(found)]
        assert re.match(r"dim_shop: 3 rows as of \d{4}-", headings[0])
        assert headings[-1] == "First changed"
        assert "Compared with dim_shop in the warehouse: 0 added, 3 changed, 0 missing" in headings
    finally:
        write_models(shop.house.folder, {"dim_shop": MODELS["dim_shop"]})
