"""Constraints that schema.sql newly declares for columns that exist need consent, and are not forgotten."""

from __future__ import annotations

import pytest

from pipeline.errors import WarehouseError
from tests.pair import Pair
from tests.support import execute
from tests.warehouse.consenting import MODELS, SCHEMA, SOURCE, follow
from tests.warehouse.test_renames import write

CONSTRAINED = (
    SCHEMA.replace("city varchar(10)", "city varchar(10) UNIQUE CHECK (city <> 'Ely')")
    .replace("manager varchar", "manager varchar REFERENCES dim_shop (city)")
    .replace("amount numeric(8, 2),", "amount numeric(8, 2) CHECK (amount > 0 OR (amount < 0)),")
)
NAMES = """
    SELECT conname::text FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND contype <> 'n' ORDER BY 1
"""
MARKED = "SELECT bool_and(to_restate) FROM etl.model"
CONSENTS = "constrain dim_shop.city", "constrain dim_shop.manager", "constrain fact_sale.amount"


@pytest.fixture
def loaded(shared: Pair) -> Pair:
    shared.fresh(MODELS, *SOURCE, "UPDATE shop SET manager = city")
    shared.run()
    return shared


def test_new_constraints_need_consent_and_restate_their_table(loaded: Pair) -> None:
    with pytest.raises(WarehouseError) as refused:
        follow(loaded, schema=CONSTRAINED)
    assert str(refused.value).startswith(
        "warehouse: dim_shop: CHECK (((city)::text <> 'Ely'::text)), UNIQUE (city) is added, and rows may"
        " violate it;"
    )
    assert all(each in str(refused.value) for each in CONSENTS)
    names = [name for (name,) in follow(loaded, *CONSENTS, schema=CONSTRAINED, query=NAMES)]
    assert names == [
        "dim_shop_city_check",
        "dim_shop_city_key",
        "dim_shop_manager_fkey",
        "dim_shop_pkey",
        "fact_sale_amount_check",
        "fact_sale_shop_id_fkey",
    ]
    assert follow(loaded, *CONSENTS, schema=CONSTRAINED, query=MARKED) == [(True,)]


def test_one_that_rows_violate_changes_nothing(loaded: Pair) -> None:
    execute(loaded.house.url, "UPDATE dim_shop SET city = 'Ely' WHERE shop_id = 1")
    with pytest.raises(WarehouseError, match=r"dim_shop\.city: check constraint .* nothing was changed"):
        follow(loaded, *CONSENTS, schema=CONSTRAINED)


def test_other_types_and_names_are_no_new_constraints(shared: Pair) -> None:
    """Nor are those that somebody has dropped."""
    shared.fresh({**MODELS, "schema": CONSTRAINED}, *SOURCE, "UPDATE shop SET manager = city")
    shared.run()
    execute(shared.house.url, "ALTER TABLE fact_sale DROP CONSTRAINT fact_sale_amount_check")
    renamed = {
        "dim_store": (
            "-- renamed: dim_shop -> dim_store, city -> town\nSELECT shop_id, city AS town, manager FROM shop"
        ),
        "schema": CONSTRAINED.replace("city varchar(10)", "city text")
        .replace("dim_shop", "dim_store")
        .replace("city", "town"),
    }
    write(shared, {"fact_sale": MODELS["fact_sale"], **renamed})
    shared.house.prepare()
    assert ("dim_store", "CHECK ((town <> 'Ely'::text))") in shared.house.query(
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'"
    )
