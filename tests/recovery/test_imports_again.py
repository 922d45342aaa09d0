"""Versions are imported a second time, beside rows that the source has deleted and rows of others."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import SettingsError
from tests.pair import Pair
from tests.recovery.test_imports import imported, versions
from tests.support import execute

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (
    shop_id integer PRIMARY KEY, city varchar(6), budget numeric, opened date, checked timestamp, note text
);
CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, shop_id integer, amount numeric(8, 2));
CREATE TABLE IF NOT EXISTS bridge_item (shop_id integer, item text, PRIMARY KEY (shop_id, item));
"""
MODELS = {
    "dim_shop": "-- untracked: note\nSELECT shop_id, city, budget, opened, checked, note FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "bridge_item": "-- key: shop_id, item\nSELECT DISTINCT shop_id, item FROM sale",
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text, budget numeric, opened date, checked timestamp)",
    "ALTER TABLE shop ADD note text",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, amount numeric(8, 2), item text)",
    "INSERT INTO shop VALUES (1, 'York', 1.50), (2, 'Hull', 2), (3, 'Ely', 3)",
    "INSERT INTO sale VALUES (1, 1, 10, 'x'), (2, 2, 20, 'y'), (3, 3, 30, 'z')",
)
DELETIONS = ("DELETE FROM shop WHERE shop_id > 1", "DELETE FROM sale WHERE sale_id > 1")
SHOPS = """shop_id,city,budget,valid_from
1,York,1.5,2018-01-01
1,York,1.500,2019-01-01
2,Hull,2,2019-01-01
3,Sark,3,2019-01-01
9,Rome,9,2019-01-01
"""
SALES = """sale_id,shop_id,amount,valid_from,valid_to
1,1,9,2019-01-01,
2,2,20,2019-01-01,
3,3,30,2019-01-01,2019-02-01
9,3,3,2019-01-01,2019-02-01
"""
ITEMS = """shop_id,item,valid_from
1,x,2019-01-01
2,y,2019-01-01
3,old,2019-01-01
"""
FILES = {"dim_shop": SHOPS, "fact_sale": SALES, "bridge_item": ITEMS}
SHOWN = "SELECT city, {span}, deleted FROM dim_shop_history WHERE shop_id = %s ORDER BY valid_from"


def state(pair: Pair) -> dict[str, list[tuple[Any, ...]]]:
    """The versions of all tables, and the dimension's rows."""
    tables = {f"{name}_history": f"SELECT * FROM {name}_history" for name in FILES}
    tables["dim_shop"] = "SELECT * FROM dim_shop"
    return {
        name: sorted(pair.house.query(f"SELECT t::text FROM ({text}) AS t")) for name, text in tables.items()
    }


def is_as_a_rebuild(pair: Pair) -> bool:
    found = pair.house.rehearse()
    return (found.differences, found.gaps) == ([], [])


def restated(pair: Pair, *names: str) -> None:
    pair.house.restate(names)


def test_versions_of_rows_that_the_source_has_deleted_since_are_continued_and_stay(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [DELETIONS])
    for _ in range(3):
        for name, text in FILES.items():
            imported(shared, name, text)
        ((today,),) = shared.house.query("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
        assert versions(shared, SHOWN % 1) == [("York", "2018-01-01", None, False)], "equal numbers"
        assert versions(shared, SHOWN % 2) == [("Hull", "2019-01-01", today, True)]
        assert versions(shared, SHOWN % 3) == [
            ("Sark", "2019-01-01", "base", False), ("Ely", "base", today, True),
        ]  # fmt: skip
        items = "SELECT shop_id, item, {span}, deleted FROM bridge_item_history ORDER BY 1, 2"
        assert versions(shared, items) == [
            (1, "x", "2019-01-01", None, False), (2, "y", "2019-01-01", today, True),
            (3, "old", "2019-01-01", "base", True), (3, "z", "base", today, True),
        ]  # fmt: skip
        assert is_as_a_rebuild(shared)
    before = state(shared)
    assert shared.run() is None
    restated(shared, *FILES)
    assert state(shared) == before


def test_a_second_import_leaves_nothing_of_the_first(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [])
    loaded = state(shared)
    for name, text in FILES.items():
        imported(shared, name, text)
    before = state(shared)
    imported(shared, "dim_shop", "shop_id,city,note,valid_from\n8,Bath,n,2019-01-01\n9,Pisa,n,2019-01-01\n")
    rows = shared.house.query("SELECT shop_id, city, budget, note FROM dim_shop WHERE shop_id > 3 ORDER BY 1")
    assert rows == [(8, "Bath", None, "n"), (9, "Pisa", None, "n")]
    for name, text in FILES.items():
        imported(shared, name, text)
    assert state(shared) == before
    imported(shared, "dim_shop", "shop_id,city,valid_from,valid_to\n1,Leith,2019-01-01,2019-02-01\n")
    assert state(shared)["dim_shop"] == loaded["dim_shop"]
    assert is_as_a_rebuild(shared)


def test_a_row_that_others_refer_to_is_not_removed_by_a_second_import(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [])
    imported(shared, "dim_shop", SHOPS)
    execute(
        shared.house.url,
        "CREATE TABLE visit (shop_id integer REFERENCES dim_shop)", "INSERT INTO visit VALUES (9)",
    )  # fmt: skip
    before = state(shared)
    with pytest.raises(SettingsError, match=r"visit_shop_id_fkey.*nothing was imported"):
        imported(shared, "dim_shop", "shop_id,city,valid_from\n1,Leith,2019-01-01\n")
    assert state(shared) == before
    execute(shared.house.url, "DROP TABLE visit")


def test_a_row_that_only_an_import_has_stays_when_its_table_is_restated(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [("INSERT INTO sale VALUES (4, 9, 40, 'x')",)])
    imported(shared, "dim_shop", SHOPS)
    before = state(shared)
    restated(shared, "dim_shop")
    assert state(shared) == before


def test_rows_from_before_the_pipeline_stay(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    execute(
        shared.house.url,
        SCHEMA,
        "INSERT INTO dim_shop VALUES (1, 'Old'), (77, 'Old')",
        "INSERT INTO fact_sale VALUES (1, 1, 5), (77, 1, 7)",
        "INSERT INTO bridge_item VALUES (77, 'old')",
    )
    shared.run()
    files = {name: text for name, text in FILES.items() if name == "bridge_item"}
    files |= {"dim_shop": "shop_id,city,valid_from\n3,Sark,2019-01-01\n"}
    files |= {"fact_sale": "sale_id,amount,valid_from\n3,9,2019-01-01\n"}
    states = []
    for _ in range(2):
        for name, text in files.items():
            imported(shared, name, text)
        states.append(state(shared))
    assert states[0] == states[1]
    assert any("-infinity" in row and "77" in row for (row,) in states[1]["fact_sale_history"])


LOSSY = {
    "shop_id,city,valid_from\n1,York,2019-01-01\n2,Yorkshire,2019-01-01\n": ":3: column city: .* varying",
    "shop_id,opened,valid_from\n1,2019-01-01 10:30,2019-01-01\n": ":2: column opened: .* date",
    "shop_id,checked,valid_from\n1,2019-01-01 10:30+02,2019-01-01\n": ":2: column checked: .* timestamp",
    "shop_id,valid_from\n1,-infinity\n": ":2: valid_from is before the year 1",
    "shop_id,valid_from\n1,2019-01-01 BC\n": ":2: valid_from is before the year 1",
}


def test_a_value_that_would_be_cut_is_refused_with_its_line(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [])
    before = state(shared)
    for text, message in LOSSY.items():
        with pytest.raises(SettingsError, match=message):
            imported(shared, "dim_shop", text)
    with pytest.raises(SettingsError, match=r":2: column amount: .* numeric\(8,2\)"):
        imported(shared, "fact_sale", "sale_id,amount,valid_from\n1,3.456,2019-01-01\n")
    assert state(shared) == before
    exact = "shop_id,city,opened,checked,valid_from\n1,York,2019-01-01 00:00,2019-01-01 10:30,2019-01-01\n"
    assert imported(shared, "dim_shop", exact).added == 1


def test_a_table_without_a_batch_gets_no_import(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [])
    shared.house.folder.joinpath("dim_new.sql").write_text("SELECT shop_id AS new_id FROM shop")
    tables = f"{SCHEMA} CREATE TABLE IF NOT EXISTS dim_new (new_id integer PRIMARY KEY)"
    shared.house.folder.joinpath("schema.sql").write_text(tables)
    with pytest.raises(SettingsError, match="table dim_new has no batch yet; run `make run` first"):
        imported(shared, "dim_new", "new_id,valid_from\n1,2019-01-01\n")
