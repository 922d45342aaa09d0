"""What a plan says about schema.sql, seeds and dropped columns of versions is what the run does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.errors import PipelineError, WarehouseError
from pipeline.models import library
from pipeline.review.preview import preview
from tasks.changes import lines
from tests.models import test_seeds
from tests.pair import Pair, copied
from tests.recovery.restating import restated
from tests.review.test_preview import loaded, planned  # noqa: F401  a fixture
from tests.support import execute
from tests.warehouse.test_renames import MODELS, SCHEMA, write

NEW = "SELECT shop_id FROM shop"
ONCE = SCHEMA.replace("TABLE IF NOT EXISTS dim_shop", "TABLE dim_shop")
AGAIN = "runs execute the file again: write IF NOT EXISTS or OR REPLACE"


@pytest.fixture
def copy(postgres: Postgres, loaded: Pair, tmp_path: Path) -> Iterator[Pair]:  # noqa: F811
    """A copy of the warehouse, which the test may change."""
    with copied(loaded, postgres, tmp_path / "copy") as pair:
        yield pair


@pytest.mark.parametrize("more", ["", ", ADD COLUMN city text"])
def test_versions_that_lost_a_column_or_its_values_are_restated(copy: Pair, more: str) -> None:
    house = copy.house
    assert planned(copy) == {}
    house.targets()
    execute(house.url, f"ALTER TABLE dim_shop_version DROP COLUMN city CASCADE{more}")

    def plan() -> list[tuple[str, str]]:
        found = preview(house.url, "public", house.models, house.folder, house.raw)
        return [(each.table, each.effect) for each in found]

    assert plan() == [("dim_shop", "restated")]
    assert "dim_shop" in restated(copy, {})
    assert plan() == []


@pytest.mark.parametrize(
    ("schema", "files", "error"),
    [
        (ONCE + "-- why", {}, 'relation "dim_shop" already exists'),
        (ONCE + "CREATE TABLE dim_new (shop_id int PRIMARY KEY);", {"dim_new": NEW}, 'relation "dim_shop"'),
        (SCHEMA + "CREATE INDEX theirs ON dim_shop (city);", {}, 'relation "theirs" already exists'),
        (SCHEMA + "CREATE TYPE size AS ENUM ('S', 'M');", {}, 'type "size" already exists'),
        (SCHEMA + "CREATE FUNCTION one() RETURNS int RETURN 1;", {}, 'function "one" already exists'),
    ],
)
def test_statements_that_can_only_be_executed_once_fail_the_run(
    copy: Pair, schema: str, files: dict[str, str], error: str
) -> None:
    execute(copy.house.url, "CREATE TYPE size AS ENUM ('S')", "CREATE FUNCTION one() RETURNS int RETURN 1")
    models = {**files, "schema": schema}
    found = planned(copy, **models)["schema.sql"]
    assert found.effect == "schema broken"
    assert error in found.error
    assert AGAIN in found.error
    write(copy, {**MODELS, **models})
    with pytest.raises(WarehouseError) as refused:
        copy.house.targets()
    assert error in str(refused.value)
    assert str(refused.value).partition(": ")[2] in found.error


def test_statements_that_make_what_the_warehouse_lacks_are_executed(copy: Pair) -> None:
    """Also a table that is made again, and tables and columns with new names."""
    new = """
        CREATE TYPE size AS ENUM ('S', 'M'); CREATE FUNCTION one() RETURNS int RETURN 1;
        CREATE TABLE dim_new (shop_id integer PRIMARY KEY, size size); CREATE SEQUENCE s;
        CREATE INDEX i ON fact_sale (amount); CREATE VIEW v AS SELECT amount FROM fact_sale;
        ALTER TABLE fact_sale ADD CONSTRAINT c CHECK (amount > 0 OR amount IS NULL);
    """
    models = {
        "dim_new": NEW,
        "fact_sale": MODELS["fact_sale"].replace("key: sale_id", "key: sale_id, shop_id"),
        "schema": SCHEMA.replace("TABLE IF NOT EXISTS fact_sale", "TABLE fact_sale") + new,
    }
    found = planned(copy, "rekey fact_sale", **models)
    assert {name: each.effect for name, each in found.items()} == {
        "dim_new": "created", "dim_total": "restated", "fact_sale": "refilled",
    }  # fmt: skip
    write(copy, {**MODELS, **models})
    copy.house.allow = ("rekey fact_sale",)
    copy.house.targets()


def test_a_seed_that_is_gone_is_told(shared: Pair) -> None:
    test_seeds.begin(shared)
    house = shared.house
    (house.folder / "seeds" / "rates.csv").unlink()
    found = preview(house.url, "public", library.load(house.folder), house.folder, house.raw)
    assert list(lines(found)) == [
        "seeds/rates.csv: is gone",
        "  the run fails if the source has no table rates",
        "  read by dim_rate, fact_sale",
    ]
    with pytest.raises(PipelineError, match="rates"):
        shared.run()
