"""Values of versions that only the warehouse still has, after old batches were removed."""

from __future__ import annotations

import pytest

from pipeline.recovery import retain
from tests.erasure.people import forgotten, names_in, token
from tests.erasure.test_frozen import DIM_STAFF, DIM_TEAM, models
from tests.pair import Pair
from tests.recovery.restating import restated
from tests.warehouse.test_renames import write

FACTS = {
    "fact_staff": DIM_STAFF["dim_staff"].replace("-- personal", "-- key: team_id\n    -- personal", 1),
    "fact_name": """
        -- key: last_name
        -- personal: last_name
        SELECT last_name, count(*) AS people FROM person GROUP BY last_name
    """,
}
TABLES = """
    CREATE TABLE IF NOT EXISTS fact_staff (team_id integer NOT NULL, people text);
    CREATE TABLE IF NOT EXISTS fact_name (last_name text NOT NULL, people bigint);
"""


def retained(shop: Pair) -> None:
    """Only the last batch and a later one are left."""
    ((moment,),) = shop.house.query("SELECT max(snapshot_at) + interval '1 us' FROM etl.batch")
    shop.run(full=True)
    buckets = shop.house.raw, shop.house.processed
    removal = retain.plan(*buckets, moment, retain.needed(shop.house.url))
    assert removal is not None
    retain.remove(removal, *buckets, lambda _: None)


def test_versions_from_before_the_base_batch_are_erased(shop: Pair) -> None:
    retained(shop)
    kept = "SELECT DISTINCT last_name, mail FROM dim_person_version WHERE person_id = 7 ORDER BY 1, 2"
    assert len(shop.house.query(kept)) > 1
    assert forgotten(shop)["hits"] == []
    assert shop.house.query(kept) == [(token(shop), token(shop))]
    assert shop.house.query("SELECT DISTINCT seller FROM fact_sale WHERE person_id = 7") == [(token(shop),)]
    assert names_in(shop) == []


def test_the_history_of_refilled_tables_starts_at_the_base_batch(shop: Pair) -> None:
    everything = models("dim_person", "fact_sale", "fact_team", **DIM_STAFF, **FACTS)
    restated(shop, {**everything, "schema": everything["schema"] + TABLES})
    retained(shop)
    assert forgotten(shop)["hits"] == []
    assert names_in(shop) == []
    begun = "SELECT count(DISTINCT {}), count(*) > 0 FROM {}"
    assert shop.house.query(begun.format("valid_from", "dim_staff_version")) == [(1, True)]
    assert shop.house.query(begun.format("recorded_at", "fact_staff")) == [(1, True)]
    assert shop.run() is None


DIM_MAIL = {"dim_mail": "-- personal: mail, last_name, first_name\nSELECT person_id, mail FROM person"}
OTHERS = """
    CREATE TABLE IF NOT EXISTS dim_mail (person_id integer PRIMARY KEY, mail text);
    CREATE TABLE IF NOT EXISTS dim_amount (sale_id integer PRIMARY KEY, amount integer);
"""


def freeze(shop: Pair, **others: str) -> None:
    """Remove all models but these and one that reads persons."""
    kept = models(**DIM_MAIL, **others)
    write(shop, {**kept, "schema": kept["schema"] + OTHERS})
    shop.run()


def frozen(shop: Pair, **others: str) -> None:
    """The tables of all but these models are frozen, and the person has other values after that."""
    freeze(shop, **others)
    shop.do("UPDATE person SET first_name = 'Bea', last_name = 'New', mail = 'n@x.org' WHERE person_id = 7")
    shop.run()
    retained(shop)


def test_a_frozen_row_that_is_older_than_the_lake_is_erased(shop: Pair) -> None:
    frozen(shop, **DIM_TEAM, dim_amount="SELECT sale_id, amount FROM sale")
    assert forgotten(shop)["hits"] == []
    assert shop.house.query("SELECT last_name FROM dim_person WHERE person_id = 7") == [(token(shop),)]
    assert names_in(shop) == []


def test_a_frozen_table_that_needs_a_table_which_the_lake_lacks_is_named(shop: Pair) -> None:
    frozen(shop)
    certificate = forgotten(shop)
    assert certificate["frozen"].keys() == {"dim_person", "fact_sale", "fact_team"}
    assert certificate["frozen"]["dim_person"] == "dim_person.sql: the raw bucket has no table team any more"
    assert shop.house.query("SELECT mail FROM dim_mail WHERE person_id = 7") == [(token(shop),)]


FACT_SELLER = """
    -- key: sale_id
    SELECT s.sale_id, p.last_name || ', ' || p.first_name AS seller, p.born
    FROM sale AS s INNER JOIN person AS p ON s.person_id = p.person_id
"""
FACT_BUYER = """
    -- key: sale_id
    SELECT s.sale_id, p.person_id AS buyer_id, p.mail FROM sale AS s LEFT JOIN person AS p USING (person_id)
"""
OF_SALES = """
    CREATE TABLE IF NOT EXISTS fact_seller (sale_id integer NOT NULL, seller text NOT NULL, born date);
    CREATE TABLE IF NOT EXISTS fact_buyer (sale_id integer NOT NULL, buyer_id integer, mail varchar(20));
"""


# The tests share a source, so the person leaves it last.
@pytest.mark.parametrize("is_frozen", [False, True], ids=["with model", "frozen"])
@pytest.mark.parametrize("leaves", [False, True], ids=["person stays", "person leaves"])
def test_rows_that_left_the_lake_are_erased(shop: Pair, leaves: bool, is_frozen: bool) -> None:
    with_sales = models(
        "dim_person", "fact_sale", "fact_team", fact_seller=FACT_SELLER, fact_buyer=FACT_BUYER
    )
    restated(shop, {**with_sales, "schema": with_sales["schema"] + OF_SALES})
    if is_frozen:
        freeze(shop, **DIM_TEAM, dim_amount="SELECT sale_id, amount FROM sale")
    shop.do("DELETE FROM sale WHERE person_id IN (3, 7)")
    shop.do(
        "DELETE FROM person WHERE person_id = 7"
        if leaves
        else "UPDATE person SET first_name = 'Bea', last_name = 'New' WHERE person_id = 7"
    )
    shop.run()
    shop.run(full=True)
    retained(shop)
    seen = "SELECT DISTINCT seller FROM fact_seller ORDER BY 1"
    before = [row for row in shop.house.query(seen) if row[0].startswith("last")]
    found = forgotten(shop)
    assert (names_in(shop), found["hits"], found["frozen"]) == ([], [], {})
    tables = {"fact_buyer", "fact_sale", "fact_seller"} | ({"dim_person"} if leaves else set())
    assert set(found["not in the lake"]) - {"dim_mail"} == tables
    assert sorted([*before, (token(shop),)]) == shop.house.query(seen)
    assert shop.run() is None
