"""What others made on top of tables survives a change of these, or is named before anything is touched."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from tests.pair import Pair
from tests.support import execute
from tests.warehouse.consenting import SCHEMA, WITHOUT_NOTE, follow

OF_OTHERS = {
    "view": ("CREATE VIEW mine AS SELECT note FROM fact_sale", "view public.mine"),
    "view over a view": (
        "CREATE VIEW one AS SELECT note FROM fact_sale; CREATE VIEW mine AS SELECT * FROM one",
        "view public.mine, view public.one",
    ),
    "view of ours": ("CREATE VIEW mine AS SELECT sale_id FROM fact_sale_current", "view public.mine"),
    "materialized view": (
        "CREATE MATERIALIZED VIEW mine AS SELECT note FROM fact_sale",
        "materialized view public.mine",
    ),
    "function": (
        "CREATE FUNCTION mine() RETURNS text BEGIN ATOMIC SELECT max(note) FROM fact_sale; END",
        "function public.mine()",
    ),
    "rule": (
        "CREATE RULE mine AS ON UPDATE TO fact_sale WHERE NEW.note <> OLD.note DO INSTEAD NOTHING",
        "rule mine on table public.fact_sale",
    ),
    "foreign key": (
        (
            "ALTER TABLE fact_sale ADD UNIQUE (note, recorded_at); CREATE TABLE mine"
            " (a text, b timestamptz, FOREIGN KEY (a, b) REFERENCES fact_sale (note, recorded_at))"
        ),
        "constraint mine_a_b_fkey on table public.mine",
    ),
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.since(14, "BEGIN ATOMIC") if kind == "function" else ())
        for kind in OF_OTHERS
    ],
)
def test_what_others_made_is_named_before_a_column_is_dropped(loaded: Pair, kind: str) -> None:
    made, named = OF_OTHERS[kind]
    with pytest.raises(WarehouseError) as refused:
        follow(loaded, "drop fact_sale.note", schema=WITHOUT_NOTE, made=made)
    assert f"while others depend on it: {named}; drop what" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_column_that_is_generated_from_another_is_named(loaded: Pair) -> None:
    """It may be one of schema.sql that a later statement drops, so only Postgres knows."""
    made = "ALTER TABLE fact_sale ADD mine text GENERATED ALWAYS AS (lower(note)) STORED"
    with pytest.raises(WarehouseError, match=r"other objects depend on it: column mine of .*; nothing was"):
        follow(loaded, "drop fact_sale.note", schema=WITHOUT_NOTE, made=made)
    shorter = SCHEMA.replace("note text", "note varchar(200)")
    with pytest.raises(WarehouseError, match=r'generated column: .* "mine"; nothing was changed'):
        follow(loaded, "narrow fact_sale.note", schema=shorter, made=made)


@pytest.mark.parametrize("table", ["fact_sale", "dim_shop", "dim_shop_version"])
def test_a_rule_is_named_until_it_is_dropped_or_disabled(loaded: Pair, table: str) -> None:
    """It would lose rows that a load writes, or Postgres would refuse the statement, in each run again."""
    execute(loaded.house.url, f"CREATE RULE mine AS ON UPDATE TO {table} DO INSTEAD NOTHING")
    with pytest.raises(
        WarehouseError, match=f"{table} has the rule mine, .* DROP RULE mine ON public.{table}"
    ):
        loaded.house.prepare()
    execute(loaded.house.url, f"ALTER TABLE {table} DISABLE RULE mine")
    loaded.house.prepare()


def test_an_index_that_is_dropped_with_a_column_is_named_before(loaded: Pair) -> None:
    made = "CREATE INDEX mine ON fact_sale (note)"
    with pytest.raises(WarehouseError, match=r"would be lost, and index public\.mine; allow it by"):
        follow(loaded, schema=WITHOUT_NOTE, made=made)
    gone = follow(
        loaded,
        "drop fact_sale.note",
        schema=WITHOUT_NOTE,
        made=made,
        query="SELECT to_regclass('public.mine')",
    )
    assert gone == [(None,)]


def test_what_others_made_survives_a_wider_type(loaded: Pair) -> None:
    """A view on another column, a grant, an index and a foreign key."""
    made = (
        "CREATE VIEW mine AS SELECT sale_id FROM fact_sale; CREATE INDEX theirs ON fact_sale (note);"
        " CREATE MATERIALIZED VIEW ours AS SELECT city FROM dim_shop;"
        " CREATE TABLE favourite (shop_id integer REFERENCES dim_shop);"
        " GRANT SELECT ON fact_sale, fact_sale_current TO pg_monitor"
    )
    schema = SCHEMA.replace("numeric(8, 2)", "numeric(9, 2)")
    query = (
        "SELECT to_regclass('public.mine'), to_regclass('public.theirs'), to_regclass('public.ours'),"
        " (SELECT count(*) FROM pg_constraint WHERE confrelid = 'public.dim_shop'::regclass),"
        " has_table_privilege('pg_monitor', 'public.fact_sale_current', 'select'),"
        " has_table_privilege('pg_monitor', 'public.fact_sale', 'select')"
    )
    assert follow(loaded, schema=schema, made=made, query=query) == [
        ("public.mine", "public.theirs", "public.ours", 2, True, True)
    ]


def test_a_column_is_dropped_together_with_those_that_refer_to_it(loaded: Pair) -> None:
    made = (
        "ALTER TABLE dim_shop ADD UNIQUE (manager),"
        " ADD FOREIGN KEY (city) REFERENCES dim_shop (manager) NOT VALID;"
        " ALTER TABLE fact_sale ADD FOREIGN KEY (note) REFERENCES dim_shop (manager)"
    )
    shop = "SELECT shop_id FROM shop"
    both = ("drop dim_shop.manager", "drop dim_shop.city")
    left = "SELECT conname FROM pg_constraint WHERE confrelid = 'public.dim_shop'::regclass"
    less = WITHOUT_NOTE.replace("city varchar(10), manager varchar, ", "")
    found = follow(loaded, *both, "drop fact_sale.note", made=made, query=left, schema=less, dim_shop=shop)
    assert found == [("fact_sale_shop_id_fkey",)]
    less = SCHEMA.replace("city varchar(10), manager varchar, ", "")
    with pytest.raises(WarehouseError, match="depend on it: constraint fact_sale_note_fkey on table public"):
        follow(loaded, *both, made=made, schema=less, dim_shop=shop)
