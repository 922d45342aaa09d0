"""Changes of schema.sql and models that lose data or may fail are refused until somebody allows them."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.errors import ModelError, WarehouseError
from pipeline.warehouse import catalogue
from tests.pair import Pair
from tests.support import execute, write_models
from tests.warehouse.consenting import MODELS, SCHEMA, SOURCE, WITHOUT_NOTE, follow

COLUMN = (
    "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_catalog.pg_attribute"
    " WHERE attrelid = 'public.{}'::regclass AND attname = '{}'"
)
CASES = {
    "drop fact_sale.note": (WITHOUT_NOTE, "fact_sale", "note", []),
    "drop dim_shop.opened": (SCHEMA.replace(", opened date", ""), "dim_shop_version", "opened", []),
    "narrow dim_shop.city": (
        SCHEMA.replace("varchar(10)", "varchar(4)"),
        "dim_shop_version",
        "city",
        [("character varying(4)", False)],
    ),
    "narrow fact_sale.amount": (
        SCHEMA.replace("numeric(8, 2)", "integer"),
        "fact_sale",
        "amount",
        [("integer", False)],
    ),
    "require fact_sale.amount": (
        SCHEMA.replace("numeric(8, 2)", "numeric(8, 2) NOT NULL"),
        "fact_sale",
        "amount",
        [("numeric(8,2)", True)],
    ),
}


@pytest.mark.parametrize("consent", CASES)
def test_what_loses_data_or_may_fail_needs_consent(loaded: Pair, consent: str) -> None:
    schema, table, column, expected = CASES[consent]
    with pytest.raises(WarehouseError, match=f'allow it by ALLOW="{consent}"') as refused:
        follow(loaded, schema=schema)
    assert "\n" not in str(refused.value)
    verb, _, name = consent.partition(" ")
    assert name.partition(".")[2] in str(refused.value)
    with pytest.raises(WarehouseError):
        follow(loaded, f"{verb} dim_shop.shop_id", schema=schema)
    assert follow(loaded, consent, schema=schema, query=COLUMN.format(table, column)) == expected


def test_a_not_null_that_all_rows_meet_needs_no_computing(loaded: Pair) -> None:
    """Unless a version of a dimension has NULL, which the model would reject now."""
    recorded = "SELECT fingerprint = '{}' FROM etl.model WHERE table_name = '{}'"
    cleared = "UPDATE dim_shop_version SET city = NULL WHERE shop_id = 1"
    for column, made, is_kept in (("city varchar(10)", "", True), ("city varchar(10)", cleared, False)):
        schema = SCHEMA.replace(column, f"{column} NOT NULL")
        (fingerprint,) = loaded.house.query(
            "SELECT fingerprint FROM etl.model WHERE table_name = 'dim_shop'"
        )[0]
        query = recorded.format(fingerprint, "dim_shop")
        after = follow(loaded, "require dim_shop.city", schema=schema, made=made, query=query)
        assert after == [(not is_kept,)]


def test_all_refusals_are_in_one_line_and_a_dropped_column_may_be_a_renamed_one(loaded: Pair) -> None:
    schema = WITHOUT_NOTE.replace("varchar(10)", "varchar(4)")
    with pytest.raises(WarehouseError) as refused:
        follow(loaded, schema=schema)
    assert str(refused.value) == (
        "warehouse: dim_shop: column city changes from character varying(10) to character varying(4), and"
        " values may not fit; fact_sale: column note is dropped, as"
        ' schema.sql no longer declares it, and its values would be lost; allow it by ALLOW="narrow'
        ' dim_shop.city, drop fact_sale.note", or undo it (if note has a new name, write `-- renamed: note ->'
        " new name` at the head of fact_sale.sql); nothing was changed"
    )


def test_a_consent_to_no_change_is_named(loaded: Pair, caplog: pytest.LogCaptureFixture) -> None:
    follow(loaded, "drop fact_sale.notes", "drop fact_sale.note", schema=WITHOUT_NOTE)
    (line,) = [each for each in caplog.messages if each.startswith("allow: ")]
    words = "'drop fact_sale.notes' is no change of models or schema.sql; did you mean drop fact_sale.note?"
    assert line == f"allow: {words}"


def test_a_mistyped_key_is_named_and_no_consent_is_asked_for(loaded: Pair) -> None:
    message = r"{0}\.sql:1: key column {1}s is not in the warehouse table {0}; did you mean {1}\?$"
    with pytest.raises(ModelError, match=message.format("dim_shop", "shop_id")):
        follow(loaded, dim_shop=f"-- key: shop_ids\n{MODELS['dim_shop']}")
    with pytest.raises(ModelError, match=message.format("fact_sale", "sale_id")):
        follow(loaded, fact_sale=MODELS["fact_sale"].replace("sale_id", "sale_ids", 1))


@pytest.mark.parametrize(
    ("consent", "schema", "message"),
    [
        (
            "narrow dim_shop.city",
            SCHEMA.replace("varchar(10)", "varchar(3)"),
            r"dim_shop\.city: value too long for type character varying\(3\)|string data right truncation",
        ),
        (
            "require dim_shop.manager",
            SCHEMA.replace("manager varchar", "manager varchar NOT NULL"),
            "contains null values",
        ),
    ],
)
def test_an_allowed_change_that_fails_says_so_and_leaves_nothing(
    loaded: Pair, consent: str, schema: str, message: str
) -> None:
    before = loaded.house.query(CATALOGUE)
    write_models(loaded.house.folder, {"schema": schema.replace("note text", "note text, more text")})
    with pytest.raises(WarehouseError, match=message) as failed:
        catalogue.prepare(loaded.house.url, "public", loaded.house.models, loaded.house.folder, [consent])
    assert "\n" not in str(failed.value)
    assert loaded.house.query(CATALOGUE) == before


CATALOGUE = """
    SELECT attrelid::regclass::text, attname::text, atttypmod, attnotnull FROM pg_attribute ORDER BY 1, 2
"""


def test_a_killed_run_leaves_nothing_half_applied(loaded: Pair) -> None:
    before = loaded.house.query(CATALOGUE)
    schema = WITHOUT_NOTE.replace("opened date", "opened date, more text")
    with pytest.raises(psycopg.OperationalError):
        follow(loaded, "drop fact_sale.note", schema=schema, killed=True)
    assert loaded.house.query(CATALOGUE) == before


def test_columns_of_others_are_never_dropped(loaded: Pair) -> None:
    consents = "drop dim_shop.theirs", "drop fact_sale.note"
    found = follow(loaded, *consents, schema=WITHOUT_NOTE, query=COLUMN.format("dim_shop", "theirs"))
    assert found == [("text", False)]


def test_another_key_or_kind_needs_consent_and_the_table_is_made_again(loaded: Pair) -> None:
    model = MODELS["fact_sale"]
    rekeyed, rows = model.replace("key: sale_id", "key: sale_id, shop_id"), "SELECT count(*) FROM public.{}"
    with pytest.raises(
        WarehouseError, match=r'the key \(sale_id\) becomes .*; allow it by ALLOW="rekey fact_sale"'
    ):
        follow(loaded, fact_sale=rekeyed)
    assert follow(loaded, "rekey fact_sale", fact_sale=rekeyed, query=rows.format("fact_sale")) == [(0,)]
    bridge = "-- kind: bridge\n" + model
    with pytest.raises(WarehouseError, match=r'the fact becomes a bridge.*ALLOW="remake fact_sale"'):
        follow(loaded, fact_sale=bridge)
    consent, versions = "remake fact_sale", rows.format("fact_sale_version")
    assert follow(loaded, consent, fact_sale=bridge, query=versions) == [(0,)]
    with pytest.raises(ModelError, match=r"renamed is 'a to b'; write `-- renamed: old -> new`"):
        follow(loaded, dim_shop="-- renamed: a to b\n" + MODELS["dim_shop"])


def test_another_primary_key_of_a_dimension_needs_consent(loaded: Pair) -> None:
    schema = SCHEMA.replace("integer PRIMARY KEY", "integer").replace(
        "opened date", "opened date, PRIMARY KEY (shop_id, city)"
    )
    schema = schema.replace(" REFERENCES dim_shop", "")
    with pytest.raises(WarehouseError, match='ALLOW="rekey dim_shop"'):
        follow(loaded, schema=schema)
    free = "ALTER TABLE fact_sale DROP CONSTRAINT fact_sale_shop_id_fkey"
    keys = (
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indisunique AND indrelid::regclass::text LIKE '%dim_shop%'"
    )
    found = follow(loaded, "rekey dim_shop", schema=schema, made=free, query=keys)
    assert all("(shop_id, city" in str(definition) for (definition,) in found)
    assert found


def test_another_label_of_an_own_type_is_no_change_of_a_column(loaded: Pair) -> None:
    """A type of schema.sql is not taken for another one, in whatever schema it is read."""
    types = (
        "DO $$ BEGIN CREATE TYPE mood AS ENUM ('good'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
    )
    made = (types + "ALTER TABLE fact_sale ADD mood mood, ADD moods mood[]").replace("%", "%%")
    schema = types + SCHEMA.replace("note text", "note text, mood mood, moods mood[], more text")
    query = (
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.fact_sale'::regclass AND attnum > 0"
    )
    with pytest.MonkeyPatch.context() as patch:
        warned: list[object] = []
        patch.setattr("pipeline.warehouse.altering._logger.warning", lambda *words: warned.append(words))
        assert ("more",) in follow(loaded, schema=schema, made=made, query=query)
    assert warned == []


def test_a_rekeyed_fact_is_filled_again_with_its_history(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do("UPDATE sale SET amount = 6 WHERE sale_id = 1")
    shared.run()
    house, rows = (
        shared.house,
        "SELECT sale_id, amount, valid_from, valid_to FROM fact_sale_history ORDER BY 1, 3",
    )
    before = house.query(rows)
    execute(house.url, "GRANT SELECT ON fact_sale TO pg_monitor")
    write_models(
        house.folder, {"fact_sale": MODELS["fact_sale"].replace("key: sale_id", "key: sale_id, shop_id")}
    )
    targets = catalogue.prepare(house.url, "public", house.models, house.folder, ["rekey fact_sale"])
    assert targets["fact_sale"].key == ("sale_id", "shop_id")
    house.prepared = None
    house.targets()
    assert shared.run() is None
    assert house.query(rows) == before
    assert house.query("SELECT has_table_privilege('pg_monitor', 'fact_sale', 'select')") == [(True,)]
