"""A model that had no table, or was away, for some batches gives its table what a rebuild gives it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from demo.postgres import Postgres
from pipeline.lake.buckets import folder
from pipeline.warehouse import ledger
from tests.house import Warehouse
from tests.pair import Pair
from tests.recovery.restating import SOURCE
from tests.support import database, execute, write_models

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text);
CREATE TABLE IF NOT EXISTS bridge_shop_item (shop_id integer, item text, PRIMARY KEY (shop_id, item));
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    shop_id integer NOT NULL REFERENCES dim_shop,
    amount numeric(8, 2) NOT NULL CHECK (amount > 0)
);
CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total numeric(12, 2));
CREATE TABLE IF NOT EXISTS dim_best (shop_id integer PRIMARY KEY, total numeric(12, 2));
CREATE TABLE IF NOT EXISTS fact_city (shop_id integer NOT NULL, city text, sales bigint, owner text);
CREATE TABLE IF NOT EXISTS dim_count (one integer PRIMARY KEY, number bigint);
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "bridge_shop_item": "-- key: shop_id, item\nSELECT DISTINCT shop_id, item FROM sale",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "dim_total": "SELECT shop_id, CAST(sum(amount) AS decimal(12, 2)) AS total FROM sale GROUP BY shop_id",
    "dim_best": "SELECT shop_id, total FROM dim_total WHERE total > 50",
    "fact_city": (
        "-- key: shop_id\nSELECT s.shop_id, any_value(s.city) AS city, count(f.sale_id) AS sales"
        " FROM shop AS s LEFT JOIN sale AS f USING (shop_id) GROUP BY s.shop_id"
    ),
    "dim_count": "SELECT 1 AS one, count(*) AS number FROM item",
}
TABLES = ("shop", "sale", "item")
OF_SALE = ("bridge_shop_item", "fact_sale", "dim_total", "dim_best", "fact_city")
ITEMS = ("CREATE TABLE item (item_id integer PRIMARY KEY)", "INSERT INTO item SELECT generate_series(1, 3)")
# What happens in a day; a sale refers to a shop that opens later.
DAYS = (
    ("UPDATE shop SET city = 'Leeds' WHERE shop_id = 1", "UPDATE sale SET amount = 70 WHERE sale_id = 7"),
    ("DELETE FROM sale WHERE sale_id = 3", "INSERT INTO sale VALUES (30, 3, 'item 1', 5), (31, 1, 'x', -1)"),
    ("INSERT INTO shop VALUES (3, 'Ely', 'Cy')", "UPDATE sale SET item = 'item 9' WHERE sale_id = 8"),
    ("UPDATE sale SET amount = 71 WHERE sale_id = 7", "UPDATE shop SET city = 'Bath' WHERE shop_id = 2"),
    ("DELETE FROM sale WHERE sale_id = 5", "UPDATE shop SET city = 'York' WHERE shop_id = 1"),
)


def without(*names: str) -> dict[str, str]:
    return {name: text for name, text in MODELS.items() if name not in names}


def run(
    pair: Pair, models: Mapping[str, str], *statements: str, reconcile: bool = False, killed: bool = False
) -> None:
    """Change the source, and run the pipeline with these models, as the flow does.

    A run can be ``killed`` before it restates what it could not before its batch.
    """
    house = pair.house
    pair.do(*statements)
    for path in house.folder.glob("*.sql"):
        path.unlink()
    write_models(house.folder, {**models, "schema": SCHEMA})
    house.prepared = None
    left: list[str] = []
    if house.refill():
        pair.run(full=True, reconcile=reconcile)
        return
    if house.last_batch():
        names = house.changed_models()
        left = [name for name in names if name not in restated(pair, names)]
    pair.run(reconcile=reconcile)
    if not killed and len(restated(pair, left)) < len(left):
        ledger.give_up_restating(house.url, house.schema)


def restated(pair: Pair, names: list[str]) -> list[str]:
    return [each.table for each in pair.house.restate(names)] if names else []


def verify(pair: Pair) -> None:
    """What `make verify` compares."""
    found = pair.house.rehearse()
    assert (found.differences, found.gaps) == ([], [])


HISTORY = {name: f"SELECT * FROM {name}_history" for name in MODELS} | {
    "bridge_shop_item": "SELECT * FROM bridge_shop_item",
    "fact_sale": "SELECT sale_id, amount, valid_from, valid_to, deleted FROM fact_sale_history",
}
REJECTED = "SELECT key, resolved, first_batch FROM etl.rejected"


def rebuild(pair: Pair, postgres: Postgres, home: Path) -> None:
    """Rebuild another warehouse, which then has the same history."""
    with database(postgres, "rebuilt") as url:
        other = Warehouse(url, pair.house.folder, pair.house.raw, folder(f"{home}/processed"))
        other.rebuild()
        for text in (*(HISTORY[name] for name in pair.house.models), REJECTED):
            there, here = (sorted(house.query(text), key=str) for house in (other, pair.house))
            assert there == here, text


@pytest.fixture
def shop(shared: Pair) -> Pair:
    shared.fresh({**without("dim_count"), "schema": SCHEMA}, *SOURCE, *ITEMS)
    shared.run()
    return shared


CHANGED = {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount * 2 AS amount FROM sale"}
FORMS = {
    "a table that nobody reads": (OF_SALE, {}, True),
    "one of several models over a table": (("fact_sale",), {}, False),
    "one of several models, changed meanwhile": (("fact_sale",), CHANGED, True),
    "a model and the one that it reads": (("dim_total", "dim_best"), {}, False),
    "a dimension that a fact refers to": (("dim_shop", "fact_sale"), CHANGED, True),
    "a model that joins a table that nobody reads": (OF_SALE, CHANGED, False),
    "a bridge": (("bridge_shop_item",), {}, True),
}
# The others take half a minute each.
ALWAYS = {"a dimension that a fact refers to"}


@pytest.mark.parametrize(
    "form", [form if form in ALWAYS else pytest.param(form, marks=pytest.mark.campaign) for form in FORMS]
)
def test_a_model_that_returns(shop: Pair, postgres: Postgres, tmp_path: Path, form: str) -> None:
    """With deletions and changes while it was away; ``reconcile``: a batch then compared all rows."""
    removed, changed, reconcile = FORMS[form]
    away = without("dim_count", *removed)
    run(shop, without("dim_count"), *DAYS[0])
    run(shop, without("dim_count"), *DAYS[1])
    run(shop, away, *DAYS[2])
    run(shop, away, *DAYS[3], reconcile=reconcile)
    verify(shop)
    run(shop, without("dim_count") | changed, *DAYS[4])
    verify(shop)
    rebuild(shop, postgres, tmp_path)
    shop.do("UPDATE sale SET amount = amount + 1 WHERE sale_id < 9")
    run(shop, without("dim_count") | changed)
    verify(shop)


def test_a_new_model_has_the_history_of_the_lake(shop: Pair, postgres: Postgres, tmp_path: Path) -> None:
    for day in DAYS[:3]:
        run(shop, without("dim_count", "dim_total", "dim_best"), *day)
    run(shop, without("dim_count"), *DAYS[3])
    assert len(shop.house.query("SELECT DISTINCT valid_from FROM dim_total_history")) > 1
    verify(shop)
    rebuild(shop, postgres, tmp_path)


CITY = MODELS["fact_city"].replace("any_value(s.city)", "any_value(upper(s.city))")
WITH_ITEMS = CITY.replace(" FROM shop AS s", ", count(i.item_id)::text AS owner FROM shop AS s").replace(
    " GROUP BY", " LEFT JOIN item AS i ON i.item_id = s.shop_id GROUP BY"
)
WITH_OWNER = CITY.replace(" FROM shop AS s", ", any_value(s.owner) AS owner FROM shop AS s")


@pytest.mark.parametrize(
    ("models", "change", "table", "history"),
    [
        (MODELS | {"fact_city": WITH_ITEMS}, "SELECT", "dim_count", "SELECT number"),
        (
            without("dim_count") | {"fact_city": WITH_OWNER},
            "ALTER TABLE shop ADD COLUMN owner text DEFAULT 'Zoe'",
            "fact_city",
            "SELECT owner IS NOT NULL",
        ),
    ],
    ids=["a table is empty", "a column is NULL"],
)
@pytest.mark.rarely("a column is NULL")
def test_what_no_batch_has_read_is_empty_before(
    shop: Pair,
    postgres: Postgres,
    tmp_path: Path,
    models: dict[str, str],
    change: str,
    table: str,
    history: str,
) -> None:
    run(shop, without("dim_count"), *DAYS[0])
    run(shop, models, change, *DAYS[1])
    verify(shop)
    rebuild(shop, postgres, tmp_path)
    values = [value for (value,) in shop.house.query(f"{history} FROM {table}_history ORDER BY valid_from")]
    assert (values[0], values[-1]) == ((0, 3) if table == "dim_count" else (False, True))


def test_rows_rejected_before_a_model_was_removed_are_accepted_after_its_return(shop: Pair) -> None:
    away = without("dim_count", "fact_sale")
    run(shop, without("dim_count"), *DAYS[1])
    run(shop, away, "UPDATE shop SET city = 'Hove' WHERE shop_id = 1")
    run(shop, without("dim_count"))
    run(shop, without("dim_count"), *DAYS[2])
    assert shop.house.query("SELECT amount FROM fact_sale WHERE sale_id = 30") == [(5,)]
    verify(shop)


@pytest.mark.parametrize(
    "by_hand",
    ["TRUNCATE fact_sale", pytest.param("TRUNCATE dim_total_version", marks=pytest.mark.campaign), "restate"],
)
@pytest.mark.rarely("TRUNCATE fact_sale")
def test_tables_are_filled_again_over_batches_without_their_model(shop: Pair, by_hand: str) -> None:
    for number, day in enumerate(DAYS):
        run(shop, without("dim_count", *(OF_SALE if number in {1, 2} else ())), *day)
    if by_hand == "restate":
        restated(shop, list(shop.house.models))
    else:
        execute(shop.house.url, by_hand)
        run(shop, without("dim_count"))
    verify(shop)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 31))
def test_models_that_come_and_go_at_random(shop: Pair, seed: int) -> None:
    random = Random(seed)
    edits = (
        "UPDATE sale SET amount = amount + 1 WHERE sale_id % 3 = {}",
        "DELETE FROM sale WHERE sale_id = {}",
        "INSERT INTO sale SELECT max(sale_id) + 1, 1 + {} % 5, 'new', {} FROM sale",
        "UPDATE shop SET city = city || {} WHERE shop_id = 1 + {} % 3",
        "INSERT INTO shop VALUES ({0} + 3, 'town {0}', NULL) ON CONFLICT DO NOTHING",
        "INSERT INTO item SELECT max(item_id) + 1 FROM item",
    )
    for _ in range(10):
        gone = {name for name in MODELS if random.random() < 0.3} - {"dim_shop"}
        gone |= {"dim_best"} if "dim_total" in gone else set()
        chosen = without(*gone)
        if "fact_sale" in chosen and random.random() < 0.3:
            chosen["fact_sale"] = CHANGED["fact_sale"].replace("2", str(random.randrange(2, 5)))
        changes = [edit.replace("{}", "{0}").format(random.randrange(9)) for edit in random.sample(edits, 2)]
        run(shop, chosen, *changes, reconcile=random.random() < 0.2)
        verify(shop)
