"""What a changed schema.sql declares reaches tables that exist."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from pipeline.warehouse.evolve import is_wider
from tests.pair import Pair
from tests.support import execute

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city varchar(10) NOT NULL);
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_id integer NOT NULL, shop_id integer NOT NULL REFERENCES dim_shop, amount numeric(8, 2) NOT NULL
);
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, manager text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, amount numeric(8, 2))",
    "INSERT INTO shop VALUES (1, 'York', 'Ann')",
    "INSERT INTO sale VALUES (1, 1, 5)",
)
COLUMNS = """
    SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = '{}'::regclass AND attnum > 0 ORDER BY attnum
"""


@pytest.fixture
def loaded(shared: Pair) -> Pair:
    """A warehouse after its first batch."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def declare(pair: Pair, schema: str) -> None:
    (pair.house.folder / "schema.sql").write_text(schema, encoding="utf-8")
    pair.house.prepared = None
    pair.house.targets()


@pytest.mark.parametrize("name", ["public.dim_shop", "PUBLIC . dim_shop", '"public"."dim_shop"'])
def test_a_table_that_is_named_with_its_schema_is_refused(loaded: Pair, name: str) -> None:
    """Where it exists, its changes would not be seen."""
    with pytest.raises(WarehouseError, match=r"schema\.sql:2: names a table with the schema .*name alone"):
        declare(loaded, SCHEMA.replace("dim_shop (", f"{name} (").replace("varchar(10)", "varchar(20)"))


def test_unlogged_tables_are_created_and_follow_their_declaration(shared: Pair) -> None:
    """Although declarations are read from temporary tables, which Postgres refuses to make unlogged."""
    schema = f"CREATE UNLOGGED SEQUENCE IF NOT EXISTS numbers;{SCHEMA}"
    schema = schema.replace("CREATE TABLE", "Create\n  Unlogged Table")
    shared.fresh(MODELS | {"schema": schema}, *SOURCE)
    shared.run()
    unlogged = "SELECT relname::text FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r' ORDER BY 1"
    assert shared.house.query(unlogged) == [("dim_shop",), ("fact_sale",)]
    declare(shared, schema.replace("varchar(10)", "varchar(20)"))
    assert ("city", "character varying(20)", True) in shared.house.query(COLUMNS.format("dim_shop"))
    assert len(shared.house.query("SELECT FROM fact_sale_current")) == 1


def test_what_no_temporary_table_can_have_is_refused_with_the_reason(loaded: Pair) -> None:
    with pytest.raises(WarehouseError, match=r"schema\.sql.*logged.*; runs also read the file with temp"):
        declare(loaded, f"{SCHEMA}ALTER TABLE fact_sale SET UNLOGGED;")
    with pytest.raises(WarehouseError, match=r"publication.*; runs also read the file with temp") as raised:
        declare(loaded, f"{SCHEMA}CREATE PUBLICATION sales FOR TABLE fact_sale;")
    assert "\n" not in str(raised.value)


def test_columns_of_versions_may_be_declared_and_indexed(loaded: Pair) -> None:
    """Where the file creates the table, and where this exists; those that it lacks the pipeline fills."""
    added = (
        "recorded_at timestamptz NOT NULL, superseded_at timestamptz, deleted boolean NOT NULL DEFAULT false"
    )
    changed = SCHEMA.replace("2) NOT NULL\n)", f"2) NOT NULL, {added}, committed_at timestamptz\n)")
    columns = loaded.house.query(COLUMNS.format("fact_sale"))
    loaded.do("UPDATE sale SET amount = 6")
    loaded.run()
    # As in a warehouse of release 0.1.
    execute(loaded.house.url, "ALTER TABLE fact_sale DROP COLUMN superseded_at CASCADE")
    declare(loaded, changed)
    assert loaded.house.query("SELECT amount FROM fact_sale WHERE superseded_at IS NULL") == [(6,)]

    index = "CREATE INDEX IF NOT EXISTS open ON fact_sale (sale_id) INCLUDE (superseded_at);"
    loaded.fresh({**MODELS, "schema": changed + index}, *SOURCE)
    loaded.run()
    assert loaded.house.query(COLUMNS.format("fact_sale")) == columns
    assert loaded.house.query("SELECT amount FROM fact_sale_current") == [(5,)]


@pytest.mark.parametrize(
    ("deleted", "superseded_at"),
    [("", ""), ("DEFAULT true", "DEFAULT '2100-01-01'"), ("", "NOT NULL DEFAULT '2100-01-01'")],
)
def test_columns_of_versions_are_as_the_pipeline_makes_them(
    loaded: Pair, deleted: str, superseded_at: str
) -> None:
    """Whatever their declaration says of NULLs and defaults; a later one changes nothing of this."""
    columns = loaded.house.query(COLUMNS.format("fact_sale"))
    added = f"""recorded_at timestamptz, superseded_at timestamptz {superseded_at}, deleted boolean {deleted},
        committed_at timestamptz NOT NULL DEFAULT '2100-01-01'"""
    changed = SCHEMA.replace("2) NOT NULL\n)", f"2) NOT NULL, {added}\n)")
    loaded.fresh({**MODELS, "schema": changed}, *SOURCE)
    loaded.run()
    assert loaded.house.query("SELECT amount FROM fact_sale_current") == [(5,)]
    declare(loaded, f"{changed} -- again")
    assert loaded.house.query(COLUMNS.format("fact_sale")) == columns


def test_a_dimension_may_have_the_columns_that_facts_get(loaded: Pair) -> None:
    """They are the source's, so their changes are versions, too."""
    taken = ("committed_at", "recorded_at", "superseded_at")
    model, schema = MODELS["dim_shop"].replace("city", "city, " + ", ".join(taken)), SCHEMA
    for name in taken:
        loaded.do(f"ALTER TABLE shop ADD {name} text", f"UPDATE shop SET {name} = 'old'")
        schema = schema.replace("city varchar", f"{name} text, city varchar")
    (loaded.house.folder / "dim_shop.sql").write_text(model, encoding="utf-8")
    declare(loaded, schema)
    loaded.run()
    for name in taken:
        loaded.do(f"UPDATE shop SET {name} = 'new'")
        loaded.run()
        query = f"SELECT {name} FROM {{}} WHERE shop_id = 1"
        assert loaded.house.query(query.format("dim_shop")) == [("new",)]
        assert ("old",) in loaded.house.query(query.format("dim_shop_history"))


def test_additions_are_applied_and_readers_keep_what_they_have(loaded: Pair) -> None:
    url = loaded.house.url
    execute(
        url,
        "CREATE VIEW mine AS SELECT shop_id, city FROM dim_shop_history",
        "GRANT SELECT ON fact_sale_current TO PUBLIC",
        "GRANT SELECT ON fact_sale TO pg_monitor",
    )
    changed = SCHEMA.replace("city varchar(10) NOT NULL", "city varchar(10), manager varchar(20)").replace(
        "amount numeric(8, 2) NOT NULL",
        "amount numeric(12, 3) NOT NULL, paid boolean NOT NULL DEFAULT false, via_id int REFERENCES dim_shop,"
        " rate int CHECK (rate > 0)",
    )
    declare(loaded, changed + "CREATE INDEX IF NOT EXISTS by_shop ON fact_sale (shop_id);")
    assert loaded.house.query(COLUMNS.format("dim_shop")) == [
        ("shop_id", "integer", True), ("city", "character varying(10)", False),
        ("manager", "character varying(20)", False),
    ]  # fmt: skip
    kept = [row for row in loaded.house.query(COLUMNS.format("fact_sale")) if row[0] in {"amount", "paid"}]
    assert kept == [("amount", "numeric(12,3)", True), ("paid", "boolean", True)]
    assert loaded.house.query("SELECT to_regclass('by_shop') IS NOT NULL") == [(True,)]
    constraints = (
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'fact_sale'::regclass AND contype IN ('c', 'f')"
    )
    assert loaded.house.query(constraints) == [(3,)]
    assert loaded.house.query("SELECT manager FROM dim_shop_history") == [(None,)]
    readable = "SELECT has_table_privilege('pg_monitor', 'fact_sale_current', 'select')"
    assert loaded.house.query(readable) == [(True,)]
    assert loaded.house.query("SELECT paid, amount FROM fact_sale_current") == [(False, 5)]
    counts = loaded.run() or {}
    assert {(each.added, each.changed, each.deleted) for each in counts.values()} == {(0, 0, 0)}


def test_nothing_is_written_if_the_file_is_the_same(loaded: Pair) -> None:
    recorded = "SELECT xmin::text FROM etl.schema_file"
    before = loaded.house.query(recorded)
    declare(loaded, SCHEMA.strip())
    assert loaded.house.query(recorded) == before != []


def test_what_a_person_altered_is_left_to_that_person(loaded: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Only what schema.sql asks for is refused; of what an earlier release has recorded, nothing is known."""
    altered = "ALTER TABLE dim_shop_version ALTER city TYPE text; ALTER TABLE dim_shop ALTER city TYPE text"
    drop = "DROP FUNCTION dim_shop_as_of; DROP VIEW dim_shop_history, as_of.dim_shop, reporting.dim_shop"
    execute(loaded.house.url, f"{drop}; {altered}", "UPDATE etl.schema_file SET content = NULL")
    declare(loaded, SCHEMA.replace("shop_id integer NOT NULL", "shop_id bigint NOT NULL"))
    assert (
        "dim_shop.city: schema.sql differs, and values may not fit; if it is meant,"
        ' allow it by ALLOW="narrow dim_shop.city"'
    ) in caplog.text
    assert loaded.house.query(COLUMNS.format("dim_shop"))[1] == ("city", "text", True)
    assert loaded.house.query(COLUMNS.format("fact_sale"))[1][1] == "bigint"
    declare(loaded, SCHEMA.replace("shop_id integer NOT NULL", "shop_id bigint NOT NULL") + "-- again")
    assert loaded.house.query(COLUMNS.format("dim_shop"))[1] == ("city", "text", True)


def test_a_view_that_stands_in_the_way_is_named_and_nothing_is_changed(loaded: Pair) -> None:
    execute(loaded.house.url, "CREATE VIEW mine AS SELECT amount FROM fact_sale_current")
    with pytest.raises(WarehouseError, match=r"while others depend on it: view public\.mine; drop"):
        declare(loaded, SCHEMA.replace("numeric(8, 2)", "numeric(12, 2)"))
    assert loaded.house.query(COLUMNS.format("fact_sale"))[2] == ("amount", "numeric(8,2)", True)
    assert loaded.house.query("SELECT count(*) FROM mine") == [(1,)]


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        ("integer", "bigint", True),
        ("bigint", "integer", False),
        ("character varying(3)", "character varying(4)", True),
        ("character varying(3)", "text", True),
        ("text", "character varying(3)", False),
        ("numeric(8,2)", "numeric(9,2)", True),
        ("numeric(8,2)", "numeric(8,3)", False),
        ("numeric(8,2)", "numeric(9,3)", True),
        ("numeric(8,2)", "numeric", True),
        ("numeric", "numeric(8,2)", False),
        ("integer", "numeric", True),
        ("real", "double precision", True),
        ("date", "timestamp with time zone", False),
    ],
)
def test_which_types_are_wider(old: str, new: str, wider: bool) -> None:
    assert is_wider(old, new) == wider


def test_an_index_that_is_declared_with_other_columns_is_made_when_one_is_dropped(loaded: Pair) -> None:
    """With its column the former index is dropped, and the changed file is executed before that, too."""
    index = "CREATE INDEX IF NOT EXISTS by_place ON dim_shop ({});"
    wide = SCHEMA.replace("city varchar(10)", "county text, city varchar(10)")
    declare(loaded, wide + index.format("county, city"))
    loaded.house.allow = ("drop dim_shop.county",)
    declare(loaded, SCHEMA + index.format("city"))
    definition = "SELECT pg_get_indexdef('by_place'::regclass)"
    assert loaded.house.query(definition)[0][0].endswith("(city)")
