"""What a plan says about each kind of change; a plan changes nothing."""

from __future__ import annotations

import re

import pytest

from demo.postgres import Postgres
from pipeline.models import library
from pipeline.review.preview import preview, preview_if_changed
from pipeline.review.table_preview import Preview
from pipeline.warehouse import catalogue
from tasks.changes import lines
from tests.pair import Pair
from tests.support import database, execute
from tests.warehouse.test_renames import MODELS, RENAMED, SCHEMA, SOURCE, write

NEW = "CREATE TABLE dim_new (shop_id integer PRIMARY KEY);"


@pytest.fixture(scope="module")
def loaded(shared: Pair) -> Pair:
    """A warehouse after two batches, with a view and an index of others, and seconds of the batches."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do("UPDATE shop SET manager = 'Bo' WHERE shop_id = 1")
    shared.run()
    execute(
        shared.house.url,
        "CREATE VIEW mine AS SELECT manager FROM dim_shop",
        "CREATE INDEX theirs ON dim_shop (manager)",
        """UPDATE etl.batch SET seconds = '{"transform": 30, "load": 50}' WHERE previous_batch_id IS NULL""",
    )
    return shared


def planned(pair: Pair, *allow: str, **files: str) -> dict[str, Preview]:
    """The plan for these files instead of the first ones."""
    house = pair.house
    write(pair, {name: text for name, text in {**MODELS, **files}.items() if text})
    models = library.load(house.folder)
    state = "SELECT c.xmin::text, m.xmin::text FROM pg_class AS c, etl.model AS m ORDER BY 1, 2"
    before = house.query(state)
    found = preview(house.url, "public", models, house.folder, house.raw, allow)
    assert house.query(state) == before
    assert bool(preview_if_changed(house.url, "public", models, house.folder, house.raw, allow)) == bool(
        found
    )
    return {each.table: each for each in found}


def test_nothing_and_layout_are_no_change(loaded: Pair) -> None:
    assert planned(loaded) == {}
    assert planned(loaded, dim_shop="-- Shops.\nselect shop_id,\n city, manager from shop") == {}
    indexed = SCHEMA + "-- Why.\n"
    assert planned(loaded, schema=indexed) == {}
    indexed += (
        "CREATE INDEX IF NOT EXISTS by_shop ON fact_sale (shop_id);\nCOMMENT ON TABLE dim_shop IS 'x';\n"
    )
    assert list(lines(planned(loaded, schema=indexed).values())) == [
        "schema.sql: is executed; no table gets other columns",
        "    --- schema.sql, as loaded",
        "    +++ schema.sql",
        "    @@ -6 +6,3 @@",
        "     CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total numeric(12, 2));",
        "    +CREATE INDEX IF NOT EXISTS by_shop ON fact_sale (shop_id);",
        "    +COMMENT ON TABLE dim_shop IS 'x';",
    ]
    assert list(lines([])) == [
        "no table changes: models and schema.sql are those that the warehouse was loaded with"
    ]


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        (
            "-- key: sale_id\nSELECT sale_id, shop_id, amount, 'x' AS extra FROM sale",
            SCHEMA.replace("amount numeric", "extra text, amount numeric", 1),
        ),
        (
            """-- renamed: sale_id -> sold_id\n-- key: sold_id
            SELECT sale_id AS sold_id, shop_id, amount FROM sale""",
            SCHEMA.replace("sale_id", "sold_id"),
        ),
    ],
)
def test_a_model_over_a_table_with_other_columns_fits(loaded: Pair, model: str, schema: str) -> None:
    total = MODELS["dim_total"].replace("sum(", "2 * sum(")
    found = planned(loaded, fact_sale=model, dim_total=total, schema=schema)
    assert {name: each.error for name, each in found.items()} == {"fact_sale": "", "dim_total": ""}


def test_a_dropped_column_shows_diffs_cost_consent_and_what_breaks(loaded: Pair) -> None:
    model, schema = "SELECT shop_id, city FROM shop", SCHEMA.replace(", manager varchar(9)", "")
    found = planned(loaded, dim_shop=model, schema=schema)["dim_shop"]
    head, *others = lines([found])
    assert head.startswith("dim_shop (2 rows, 3 versions): is computed again over 2 batches; versions keep")
    assert others == [
        "  computes 3 rows, about 27 s",
        "  column manager is dropped, as schema.sql no longer declares it",
        "    needs consent, as its values would be lost, and index public.theirs: drop dim_shop.manager",
        "  is dropped with it: index public.theirs",
        "  stands in the way: view public.mine",
        "    --- dim_shop.sql, as loaded",
        "    +++ dim_shop.sql",
        "    @@ -1 +1 @@",
        "    -SELECT shop_id, city, manager FROM shop",
        "    +SELECT shop_id, city FROM shop",
        "    --- dim_shop in schema.sql, as loaded",
        "    +++ dim_shop in schema.sql",
        "    @@ -2,3 +2,2 @@",
        "     city text",
        "    -manager character varying(9)",
        "     PRIMARY KEY (shop_id)",
        'the run fails without consent: make run ALLOW="drop dim_shop.manager"',
    ]
    assert found.consents == ("drop dim_shop.manager",)
    allowed = planned(loaded, "drop dim_shop.manager", dim_shop=model, schema=schema)["dim_shop"]
    assert (allowed.consents, allowed.by_hand) == ((), ())
    assert allowed.altered[0] == 'ALTER TABLE "public"."dim_shop" DROP COLUMN IF EXISTS "manager"'


def test_a_plan_names_what_stands_in_the_way_of_all_changes_of_a_run(loaded: Pair) -> None:
    """That is all that depends on several columns of a table, without references that the run drops."""
    execute(
        loaded.house.url,
        "CREATE VIEW ours AS SELECT city FROM dim_shop",
        "ALTER TABLE dim_total ADD UNIQUE (total)",
        "ALTER TABLE fact_sale ADD FOREIGN KEY (amount) REFERENCES dim_total (total) NOT VALID",
    )
    files = {
        "dim_shop": "SELECT shop_id FROM shop",
        "dim_total": "SELECT shop_id FROM fact_sale GROUP BY shop_id",
        "schema": SCHEMA.replace(", city text, manager varchar(9)", "").replace(", total numeric(12, 2)", ""),
    }
    of_sale = "constraint fact_sale_amount_fkey on table public.fact_sale"
    found = planned(loaded, **files)
    assert {each.name for each in found["dim_shop"].breaks if each.blocks} == {
        "view public.mine",
        "view public.ours",
    }
    assert [each.name for each in found["dim_total"].breaks] == [of_sale]
    files["fact_sale"] = "-- key: sale_id\nSELECT sale_id, shop_id FROM sale"
    files["schema"] = files["schema"].replace(", amount numeric(8, 2)", "")
    assert planned(loaded, **files)["dim_total"].breaks == ()
    execute(
        loaded.house.url,
        "DROP VIEW ours",
        "ALTER TABLE dim_total DROP CONSTRAINT dim_total_total_key CASCADE",
    )


def test_what_stands_in_the_way_is_named_before_tables_and_columns_have_new_names(loaded: Pair) -> None:
    execute(loaded.house.url, "CREATE VIEW sales AS SELECT amount FROM fact_sale")
    files = {
        "fact_sale": "",
        "fact_sold": RENAMED["fact_sold"].replace(", amount", ""),
        "dim_shop": RENAMED["dim_shop"],
        "dim_total": "SELECT shop_id, CAST(count(*) AS decimal(12, 2)) AS total FROM sale GROUP BY shop_id",
        "schema": RENAMED["schema"].replace(", amount numeric(8, 2)", "").replace("varchar(9)", "text"),
    }
    found = planned(loaded, **files)
    execute(loaded.house.url, "DROP VIEW sales")
    assert [each.name for each in found["fact_sold"].breaks] == ["view public.sales"]
    assert [each.name for each in found["dim_shop"].breaks] == ["view public.mine"]


def test_a_restated_model_over_a_table_that_no_batch_has_read_is_told(loaded: Pair) -> None:
    """Its former versions come from another table, such as a view of that one."""
    found = planned(loaded, dim_shop="SELECT shop_id, city, manager FROM crm.shop")["dim_shop"]
    assert (found.effect, found.read_in_full) == ("restated", ("crm.shop",))
    remark = "  no batch has read crm.shop yet, so versions that come from there begin with the next one"
    assert remark in lines([found])


def test_other_sources_of_a_column_are_named(loaded: Pair) -> None:
    model = "SELECT shop_id, upper(manager) AS city, manager FROM shop"
    found = planned(loaded, dim_shop=model)["dim_shop"]
    assert "  city is computed from shop.manager; before, shop.city" in lines([found])


def test_new_names_other_keys_and_models_that_come_and_go(loaded: Pair) -> None:
    found = planned(loaded, fact_sale="", **{name: RENAMED[name] for name in RENAMED})
    assert {name: each.effect for name, each in found.items()} == {
        "dim_shop": "altered", "fact_sold": "altered", "dim_total": "restated",
    }  # fmt: skip
    assert found["fact_sold"].altered[0] == 'ALTER TABLE "public"."fact_sale" RENAME TO "fact_sold"'
    assert "  renamed from fact_sale, with its history" in lines(found.values())
    assert (found["fact_sold"].rows, found["dim_shop"].rows) == (3, 2)
    rekeyed = planned(loaded, fact_sale=MODELS["fact_sale"].replace("key: sale_id", "key: sale_id, shop_id"))
    assert (rekeyed["fact_sale"].effect, rekeyed["fact_sale"].consents) == ("refilled", ("rekey fact_sale",))
    assert rekeyed["fact_sale"].read_by == ("dim_total",)
    new = planned(loaded, dim_total="", dim_new="SELECT shop_id FROM shop JOIN other USING (shop_id)")
    assert {name: each.effect for name, each in new.items()} == {"dim_new": "created", "dim_total": "frozen"}
    assert "no table dim_new is declared; add it to " in new["dim_new"].error
    assert new["dim_new"].read_in_full == new["dim_new"].model_dump()["read_whole"] == ("other",)
    assert '  to drop it: make run ALLOW="drop dim_total"' in lines(new.values())


def test_an_empty_warehouse_has_nothing_to_change(postgres: Postgres, loaded: Pair) -> None:
    house = loaded.house
    write(loaded, MODELS)
    models = library.load(house.folder)
    with database(postgres, "empty") as url:
        assert preview_if_changed(url, "public", models, house.folder, house.raw) == []


def test_a_model_that_the_last_batch_does_not_fit_is_told(loaded: Pair) -> None:
    """The source may have the column by now: the plan does not read it."""
    found = planned(loaded, dim_shop="SELECT shop_id, citi AS city, manager FROM shop")["dim_shop"]
    assert found.effect == "restated"
    assert found.error.startswith("the run fails if the source is as in the last batch: ")
    assert found.error.endswith("dim_shop.sql:1: column citi is not in shop; write city")
    assert f"  {found.error}" in lines([found])


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (
            {"dim_shop": "SELECT shop_id, city, manager, 1 AS size FROM shop"},
            r"dim_shop\.sql:1: column size is not in the warehouse table dim_shop; add it to schema\.sql",
        ),
        (
            {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id AS at FROM sale"},
            r"fact_sale\.sql:2: column at is not in the warehouse table fact_sale",
        ),
        (
            {"dim_shop": "SELECT city, manager FROM shop"},
            r"dim_shop\.sql: yields no column shop_id, which the warehouse table dim_shop requires",
        ),
        (
            {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount / 3 AS amount FROM sale"},
            r"fact_sale\.sql:2: amount / 3 is computed in floating point",
        ),
        (
            {"dim_new": "SELECT shop_id, city FROM shop", "schema": SCHEMA + NEW},
            r"dim_new\.sql:1: column city is not in the warehouse table dim_new",
        ),
    ],
)  # fmt: skip
def test_a_model_that_its_table_does_not_fit_is_told(loaded: Pair, files: dict[str, str], error: str) -> None:
    """With the columns that the table will have."""
    found = planned(loaded, **files)
    (loaded.house.folder / "dim_new.sql").unlink(missing_ok=True)
    assert re.search(error, "\n".join(lines(found.values())))


@pytest.mark.parametrize(
    ("model", "declared", "summary"),
    [
        ("-- key: shop_id, amount\nSELECT shop_id, amount FROM sale", "shop_id integer, amount numeric(8, 2)",
         "the key (sale_id) becomes (shop_id, amount)"),
        ("-- kind: dimension\nSELECT sale_id, shop_id FROM sale", "sale_id integer PRIMARY KEY, shop_id int",
         "the fact becomes a dimension"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow", [(), ("remake fact_sale", "rekey fact_sale")])
def test_a_table_that_is_made_again_is_planned_as_its_declaration(
    loaded: Pair, allow: tuple[str, ...], model: str, declared: str, summary: str
) -> None:
    schema = re.sub(r"(fact_sale) \(\n.*?\n\);", rf"\1 ({declared});", SCHEMA, flags=re.DOTALL)
    total = "SELECT shop_id, count(*) AS total FROM fact_sale GROUP BY shop_id"
    found = planned(loaded, *allow, fact_sale=model, dim_total=total, schema=schema)
    assert {name: (each.effect, each.error) for name, each in found.items()} == {
        "fact_sale": ("refilled", ""),
        "dim_total": ("restated", ""),
    }
    assert (found["fact_sale"].rows, found["fact_sale"].changes[0].happens) == (3, bool(allow))
    assert found["fact_sale"].changes[0].summary.startswith(summary)


def test_a_first_plan_names_tables_that_are_not_declared_and_those_of_a_failed_run(
    postgres: Postgres, loaded: Pair
) -> None:
    house = loaded.house
    write(loaded, {**MODELS, "dim_new": "SELECT shop_id FROM shop"})
    with database(postgres, "empty") as url:

        def plan() -> dict[str, Preview]:
            found = preview(url, "public", library.load(house.folder), house.folder, house.raw)
            return {each.table: each for each in found}

        assert {name: bool(each.error) for name, each in plan().items()} == {
            "dim_new": True, "dim_shop": False, "dim_total": False, "fact_sale": False,
        }  # fmt: skip
        write(loaded, MODELS)
        catalogue.prepare(url, "public", library.load(house.folder), house.folder)
        assert {each.effect for each in plan().values()} == {"filled"}
        assert "dim_shop (0 rows): is filled" in lines(plan().values())
