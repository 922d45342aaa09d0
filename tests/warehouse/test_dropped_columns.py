"""Columns of warehouse tables that somebody has dropped by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo.postgres import Postgres
from pipeline.errors import WarehouseError
from pipeline.postgres import transaction
from pipeline.warehouse import alterations
from tests.pair import Pair
from tests.recovery.life import program
from tests.recovery.restating import restated
from tests.recovery.test_imports import imported
from tests.support import database, execute
from tests.warehouse.consenting import MODELS, SCHEMA, SOURCE

MART = """-- One row per sale.
-- columns:
-- amount: of the sale
SELECT f.amount FROM fact_sale_current AS f JOIN dim_shop AS d USING (shop_id) WHERE d.city > ''"""
LOOKS = (
    "SELECT * FROM dim_shop_history ORDER BY shop_id, valid_from",
    "SELECT sale_id, shop_id, amount, recorded_at, superseded_at FROM fact_sale ORDER BY 1, 4",
    "SELECT amount FROM reporting.amounts ORDER BY 1",
    "SELECT conname::text FROM pg_constraint WHERE conrelid = 'fact_sale'::regclass AND contype = 'f'",
)


@pytest.fixture
def shop(shared: Pair) -> Pair:
    """A warehouse after two batches, with a mart."""
    shared.fresh(MODELS, *SOURCE)
    (shared.house.folder / "marts").mkdir()
    (shared.house.folder / "marts" / "amounts.sql").write_text(MART)
    shared.run()
    shared.do(
        "UPDATE shop SET city = 'Leeds' WHERE shop_id = 1", "UPDATE sale SET amount = 6 WHERE sale_id = 1"
    )
    shared.run()
    return shared


def looks(shop: Pair) -> list[list[object]]:
    return [list(shop.house.query(look)) for look in LOOKS]


@pytest.mark.parametrize("column", ["dim_shop.city", "fact_sale.amount", "fact_sale.shop_id"])
@pytest.mark.rarely("fact_sale.amount")
def test_a_run_adds_a_dropped_column_and_computes_its_values_again(shop: Pair, column: str) -> None:
    before = looks(shop)
    table, _, name = column.partition(".")
    execute(shop.house.url, f"ALTER TABLE {table} DROP COLUMN {name} CASCADE")
    assert table in restated(shop, {})
    assert looks(shop) == before
    assert restated(shop, {}) == []


OLD = "shop_id,city,valid_from\n1,Leith,2019-01-01\n"


@pytest.mark.parametrize("table", ["dim_shop", "dim_shop_version"])
@pytest.mark.rarely("dim_shop_version")
def test_a_warning_says_that_imported_versions_lack_the_column(
    shop: Pair, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    imported(shop, "dim_shop", OLD)
    before = looks(shop)
    execute(shop.house.url, f"ALTER TABLE {table} DROP COLUMN city CASCADE")
    assert "dim_shop" in restated(shop, {})
    assert "dim_shop: its imported versions lack the dropped column; import them again" in caplog.messages
    imported(shop, "dim_shop", OLD)
    assert looks(shop) == before
    caplog.clear()
    assert restated(shop, {}) == []
    assert "lack the dropped column" not in caplog.text


@pytest.mark.parametrize("column", ["city", "opened"])
@pytest.mark.rarely("opened")
def test_a_run_computes_the_values_that_versions_have_lost(shop: Pair, column: str) -> None:
    before = looks(shop)
    execute(shop.house.url, f"ALTER TABLE dim_shop_version DROP COLUMN {column} CASCADE")
    assert "dim_shop" in restated(shop, {})
    assert looks(shop) == before
    assert restated(shop, {}) == []


@pytest.mark.parametrize(
    "column", ["dim_shop.city", "dim_shop_version.city", "fact_sale.amount", "fact_sale.shop_id"]
)
@pytest.mark.rarely("dim_shop.city", "fact_sale.amount")
def test_a_run_fills_a_column_that_somebody_has_dropped_and_added_again(shop: Pair, column: str) -> None:
    before = looks(shop)
    table, _, name = column.partition(".")
    type_ = "integer REFERENCES dim_shop" if name == "shop_id" else "numeric(8, 2)"
    execute(
        shop.house.url,
        "DROP VIEW reporting.amounts",
        f"ALTER TABLE {table} DROP COLUMN {name} CASCADE",
        f"ALTER TABLE {table} ADD COLUMN {name} {'varchar(10)' if name == 'city' else type_}",
    )
    assert table.removesuffix("_version") in restated(shop, {})
    assert looks(shop) == before
    assert restated(shop, {}) == []


@pytest.mark.parametrize("column", ["dim_shop.city", "fact_sale.amount"])
@pytest.mark.rarely("dim_shop.city")
def test_a_restored_dump_restates_only_what_was_dropped_and_added_again(
    shop: Pair, postgres: Postgres, column: str
) -> None:
    """Also before the first run after it. The dump numbers columns anew, without dropped ones."""
    table, _, name = column.partition(".")
    execute(shop.house.url, f"ALTER TABLE {table} DROP COLUMN {name} CASCADE")
    assert table in restated(shop, {})
    before = looks(shop)
    dump = program(postgres, "pg_dump", shop.house.url)
    again = (
        "DROP VIEW reporting.amounts",
        f"ALTER TABLE {table} DROP COLUMN {name} CASCADE",
        f"ALTER TABLE {table} ADD COLUMN {name} {'varchar(10)' if name == 'city' else 'numeric(8, 2)'}",
    )
    for changes in (), again:
        with database(postgres, "restored") as url:
            program(postgres, "psql", "-qX", "-vON_ERROR_STOP=1", url, text=dump)
            execute(url, *changes)
            there = replace(shop, house=replace(shop.house, url=url, prepared=None))
            assert (table in restated(there, {})) == bool(changes)
            assert looks(there) == before


def test_a_column_of_others_that_is_dropped_and_added_again_keeps_its_values(shop: Pair) -> None:
    again = ("ALTER TABLE dim_shop DROP COLUMN theirs", "ALTER TABLE dim_shop ADD COLUMN theirs text")
    execute(shop.house.url, again[1])
    restated(shop, {})
    execute(shop.house.url, *again, "UPDATE dim_shop SET theirs = 'ours'")
    assert restated(shop, {}) == []
    assert shop.house.query("SELECT DISTINCT theirs FROM dim_shop") == [("ours",)]


def test_a_run_adds_a_dropped_column_of_a_model_with_an_asterisk(shared: Pair) -> None:
    models = {**MODELS, "dim_shop": "SELECT * FROM shop", "fact_sale": "-- key: sale_id\nSELECT * FROM sale"}
    shared.fresh(models, *SOURCE)
    shared.run()
    shared.do("UPDATE shop SET manager = 'Bo' WHERE shop_id = 1")
    shared.run()
    queries = LOOKS[0], LOOKS[1], LOOKS[3]
    before = [shared.house.query(query) for query in queries]
    for drop in ("dim_shop DROP COLUMN manager", "fact_sale DROP COLUMN shop_id"):
        execute(shared.house.url, f"ALTER TABLE {drop} CASCADE")
    assert restated(shared, {}) == ["dim_shop", "fact_sale"]
    assert [shared.house.query(query) for query in queries] == before
    assert restated(shared, {}) == []


@pytest.mark.parametrize(("table", "key"), [("dim_shop", "shop_id"), ("fact_sale", "sale_id")])
def test_a_table_without_its_key_is_named_with_what_brings_it_back(shop: Pair, table: str, key: str) -> None:
    before = looks(shop)
    execute(shop.house.url, f"ALTER TABLE {table} DROP COLUMN {key} CASCADE")
    shop.house.prepared = None
    with pytest.raises(WarehouseError) as refused:
        shop.house.targets()
    assert str(refused.value) == (
        f"warehouse: public.{table} lacks its key column {key}; somebody has dropped it."
        f" DROP TABLE public.{table} CASCADE lets the next run fill it from the raw bucket;"
        " versions of before the first batch there are lost"
    )
    execute(shop.house.url, f"DROP TABLE {table} CASCADE")
    shop.house.targets()
    shop.run()
    assert looks(shop)[:3] == before[:3]


def test_columns_that_the_table_computes_are_left_out_without_consent(shared: Pair) -> None:
    """Also if somebody dropped them, or nobody ever consented: their values are no model's."""
    numbered = "CREATE TABLE IF NOT EXISTS fact_sale (record_id serial PRIMARY KEY,"
    schema = SCHEMA.replace("CREATE TABLE IF NOT EXISTS fact_sale (", numbered)
    shared.fresh({**MODELS, "schema": schema}, *SOURCE)
    shared.run()
    execute(shared.house.url, "ALTER TABLE fact_sale DROP COLUMN record_id CASCADE")
    computed = schema.replace("note text", "note text, twice numeric GENERATED ALWAYS AS (amount * 2) STORED")
    assert restated(shared, {}) == ["fact_sale"], "its contract is another one"
    for text in computed, computed + "-- edited":
        assert restated(shared, {"schema": text}) == []
    with transaction(shared.house.url, "warehouse") as connection:
        house, allow = shared.house, ["add fact_sale.twice"]
        found = alterations.find(connection, "public", house.models, house.folder, allow)
    assert {change.name: (change.restores, change.happens) for change in found.changes} == {
        "fact_sale.twice": (False, True)
    }


CONSTRAINTS = """
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid::regclass::text IN ('dim_shop', 'fact_sale') AND contype IN ('c', 'u', 'x') ORDER BY 1, 2
"""


@pytest.mark.parametrize("dropped", [("dim_shop.manager",), ("dim_shop.city", "dim_shop.manager")])
def test_constraints_return_with_a_dropped_column(shared: Pair, dropped: tuple[str, ...]) -> None:
    schema = SCHEMA.replace(
        "manager varchar, opened date",
        "manager varchar UNIQUE CHECK (manager <> ''), opened date, UNIQUE (city, shop_id),"
        " CONSTRAINT differ CHECK (city <> manager), EXCLUDE (manager WITH =)",
    )
    shared.fresh({**MODELS, "schema": schema}, *SOURCE)
    shared.run()
    before, rows = shared.house.query(CONSTRAINTS), shared.house.query(LOOKS[0])
    assert len(before) == 5
    for name in dropped:
        table, _, column = name.partition(".")
        execute(shared.house.url, f"ALTER TABLE {table} DROP COLUMN {column} CASCADE")
    assert "dim_shop" in restated(shared, {})
    after = [(table, text.removesuffix(" NOT VALID")) for table, text in shared.house.query(CONSTRAINTS)]
    assert (after, shared.house.query(LOOKS[0])) == (before, rows)
    assert restated(shared, {}) == []


def test_a_new_column_has_the_constraints_that_name_it(shared: Pair) -> None:
    """A row that violates one is rejected."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do("ALTER TABLE shop ADD COLUMN mail text DEFAULT 'same'")
    new = "opened date, mail text UNIQUE, CONSTRAINT small CHECK (length(mail) < shop_id + 10)"
    model = "SELECT shop_id, city, manager, mail FROM shop"
    restated(shared, {"dim_shop": model, "schema": SCHEMA.replace("opened date", new)})
    shared.run(max_rejected_share=1.0)
    assert [table for table, _ in shared.house.query(CONSTRAINTS)] == ["dim_shop", "dim_shop"]
    assert len(shared.house.query("SELECT FROM dim_shop WHERE mail = 'same'")) == 1
    (reason,) = [reason for table, _, reason in shared.house.rejected() if table == "dim_shop"]
    assert "dim_shop_mail_key" in reason


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "mail text, EXCLUDE ((lower(mail)) WITH =)", ["EXCLUDE USING btree (lower(mail) WITH =)"]),
        ("", "mail text, UNIQUE (city) INCLUDE (mail)", ["UNIQUE (city) INCLUDE (mail)"]),
        ("", "mail text UNIQUE NULLS NOT DISTINCT", []),
        ("", "mail text DEFAULT 'x' UNIQUE", []),
        (
            ", CHECK (city <> manager)",
            "mail text, CHECK (city <> mail), CHECK (city <> manager)",
            ["CHECK (((city)::text <> (manager)::text))", "CHECK (((city)::text <> mail)) NOT VALID"],
        ),
        (
            ", CONSTRAINT one UNIQUE (city)",
            "mail text, CONSTRAINT one UNIQUE (city, mail)",
            ["UNIQUE (city)", "UNIQUE (city, mail)"],
        ),
    ],
)
def test_a_run_adds_what_it_can_of_the_constraints_of_a_new_column(
    shared: Pair, before: str, after: str, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also if another has its name. What the rows violate is named in a warning."""
    shared.fresh({**MODELS, "schema": SCHEMA.replace("opened date", f"opened date{before}")}, *SOURCE)
    shared.run()
    caplog.clear()
    restated(shared, {"schema": SCHEMA.replace("opened date", f"opened date, {after}")})
    assert [text for table, text in shared.house.query(CONSTRAINTS) if table == "dim_shop"] == expected
    assert ("was left out, as rows violate it" in caplog.text) == (expected == [])
