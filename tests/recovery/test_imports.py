"""Versions from before the first batch are imported from a file or a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.errors import SettingsError
from pipeline.postgres import transaction
from pipeline.recovery.imported_rows import from_csv, from_table
from pipeline.recovery.imports import Imported, import_versions
from tests.pair import Pair
from tests.recovery.restating import MODELS, change
from tests.support import execute

STAFF = """shop_id,city,valid_from,valid_to
1,Leith,2019-01-01,
1,York,2020-01-01 10:00+02,
2,Hull,2020-02-01,2020-03-01
2,Hull,2020-04-01,
9,Rome,2020-01-01,
9,Rome,2020-05-01,
"""
SALES = """sale_id,shop_id,amount,valid_from,valid_to
7,1,6.5,2020-01-01,
7,2,7,2020-02-01,
7,2,7,2020-03-01,
40,9,1,2020-01-01,2020-02-01
40,9,2,2020-03-01,
"""


def imported(pair: Pair, name: str, text: str) -> Imported:
    path = pair.home / f"{name}.csv"
    path.write_text(text, encoding="utf-8")
    with transaction(pair.house.url, "warehouse") as connection, from_csv(path) as rows:
        return import_versions(connection, "public", pair.house.targets()[name], rows)


def versions(pair: Pair, query: str) -> list[tuple[Any, ...]]:
    """Rows with the times of versions, the first batch's as 'base'."""
    base = "(SELECT min(snapshot_at) FROM etl.batch)"
    time = f"CASE {{0}} WHEN {base} THEN 'base' ELSE to_char({{0}} AT TIME ZONE 'UTC', 'YYYY-MM-DD') END"
    begins, ends = time.format("valid_from"), time.format("valid_to")
    return pair.house.query(query.format(span=f"{begins}, {ends}"))


def test_history_of_a_dimension_and_a_fact_continues_in_the_first_batch(lived: Pair) -> None:
    house = lived.house
    present = house.query("SELECT sale_id, shop_id, amount FROM fact_sale_current ORDER BY 1")
    shops = imported(lived, "dim_shop", STAFF)
    sales = imported(lived, "fact_sale", SALES)
    assert (shops.read, shops.added, shops.extended) == (6, 3, 2)
    assert (sales.read, sales.added, sales.extended) == (5, 5, 1)
    today = "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    history = "SELECT city, {span}, deleted FROM dim_shop_history WHERE shop_id = %s ORDER BY valid_from"
    ((day,),) = house.query(f"SELECT {today}")
    assert versions(lived, history % 1)[:2] == [
        ("Leith", "2019-01-01", "2020-01-01", False), ("York", "2020-01-01", day, False),
    ]  # fmt: skip
    assert versions(lived, history % 2) == [
        ("Hull", "2020-02-01", "2020-03-01", True), ("Hull", "2020-04-01", None, False),
    ]  # fmt: skip
    assert versions(lived, history % 9) == [("Rome", "2020-01-01", "base", True)]
    assert house.query("SELECT city FROM dim_shop WHERE shop_id = 9") == [("Rome",)], "facts refer to it"
    facts = "SELECT amount, {span}, deleted FROM fact_sale_history WHERE sale_id = %s ORDER BY valid_from"
    assert versions(lived, facts % 7)[:2] == [
        (6.5, "2020-01-01", "2020-02-01", False), (7, "2020-02-01", day, False),
    ]  # fmt: skip
    assert versions(lived, facts % 40) == [
        (1, "2020-01-01", "2020-02-01", False), (1, "2020-02-01", "2020-03-01", True),
        (2, "2020-03-01", "base", False), (2, "base", None, True),
    ]  # fmt: skip
    assert house.query("SELECT sale_id, shop_id, amount FROM fact_sale_current ORDER BY 1") == present


def test_the_past_can_be_asked_for_from_the_first_imported_version_on(lived: Pair) -> None:
    imported(lived, "dim_shop", STAFF)
    asked = "SELECT shop_id, city FROM dim_shop_as_of('%s') ORDER BY 1"
    assert lived.house.query(asked % "2020-02-15") == [(1, "York"), (2, "Hull"), (9, "Rome")]
    assert lived.house.query(asked % "2020-03-15") == [(1, "York"), (9, "Rome")]
    with pytest.raises(Exception, match="the first batch shows"):
        lived.house.query(asked % "2018-12-31")
    with pytest.raises(Exception, match="the first batch shows"):
        lived.house.query("SELECT * FROM fact_sale_as_of('2020-02-15')")
    with psycopg.connect(lived.house.url) as reader:
        reader.execute("SELECT etl.look_at('2020-02-15')")
        looked = reader.execute("SELECT city FROM as_of.dim_shop WHERE shop_id = 9").fetchall()
    assert looked == [("Rome",)]


def test_runs_restating_and_verifying_keep_what_was_imported(lived: Pair) -> None:
    imported(lived, "dim_shop", STAFF)
    imported(lived, "fact_sale", SALES)
    before = lived.house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from")
    found = lived.house.rehearse()
    assert (found.differences, found.gaps) == ([], [])
    assert lived.run() is None
    change(lived, fact_sale=MODELS["fact_sale"].replace("amount", "amount + 0 AS amount"))
    assert lived.house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from") == before


def test_a_second_import_replaces_the_first(lived: Pair) -> None:
    imported(lived, "dim_shop", STAFF)
    imported(lived, "fact_sale", SALES)
    once = lived.house.query(
        "SELECT sale_id, amount, valid_from, valid_to FROM fact_sale_history ORDER BY 1, 3"
    )
    imported(lived, "fact_sale", SALES)
    twice = lived.house.query(
        "SELECT sale_id, amount, valid_from, valid_to FROM fact_sale_history ORDER BY 1, 3"
    )
    assert once == twice


def test_rows_of_a_table_are_imported(lived: Pair) -> None:
    house = lived.house
    execute(
        house.url,
        "CREATE SCHEMA old",
        "CREATE TABLE old.shop (shop_id int, city text, valid_from timestamptz)",
        "INSERT INTO old.shop VALUES (1, 'Leith', '2019-01-01')",
    )
    with transaction(house.url, "warehouse") as connection:
        rows = from_table(connection, "old.shop")
        done = import_versions(connection, "public", house.targets()["dim_shop"], rows)
    assert (done.read, done.added) == (1, 1)


REFUSED = {
    "shop_id,town,valid_from\n1,x,2019-01-01\n": "table dim_shop has no column town",
    "shop_id,citi,valid_from\n1,x,2019-01-01\n": "has no column citi; did you mean city?",
    "city,valid_from\nx,2019-01-01\n": "lacks column shop_id",
    "shop_id,city\n1,x\n": "lacks column valid_from",
    "shop_id,valid_from\n1,2019-01-01\n1\n": ":3: 1 fields, and 2 columns",
    "shop_id,valid_from\n1,2019-01-01\n2,soon\n": ":3: valid_from|:3: invalid input syntax",
    "shop_id,valid_from\nx,2019-01-01\n": ":2: invalid input syntax for type integer; nothing was imported",
    "shop_id,valid_from\n,2019-01-01\n": ":2: the key or valid_from is empty",
    "shop_id,valid_from\n1,2999-01-01\n": ":2: valid_from is not before the first batch",
    "shop_id,valid_from,valid_to\n1,2019-01-01,2999-01-01\n": ":2: valid_to is after the first batch",
    "shop_id,valid_from,valid_to\n1,2019-01-01,2018-01-01\n": ":2: valid_to is not after valid_from",
    "shop_id,valid_from\n1,2019-01-01\n1,2019-01-01\n": ":3: another row has the same key and valid_from",
    "shop_id,valid_from,valid_to\n1,2019-01-01,2020-01-01\n1,2019-06-01,\n": ":3: the version before it ends",
    "shop_id,valid_from\n": "has no rows",
}


def test_rows_that_cannot_be_versions_are_refused_with_their_line(lived: Pair) -> None:
    before = lived.house.query("SELECT * FROM dim_shop_history ORDER BY 1, 2")
    for text, message in REFUSED.items():
        with pytest.raises(SettingsError, match=message):
            imported(lived, "dim_shop", text)
    with pytest.raises(SettingsError, match=r"FILE: .*nowhere\.csv: No such file"):
        from_csv(Path("nowhere.csv")).__enter__()
    missing = "sale_id,shop_id,amount,valid_from\n1,77,1,2019-01-01\n"
    with pytest.raises(SettingsError, match=r"violates foreign key constraint.*nothing was imported"):
        imported(lived, "fact_sale", missing)
    assert lived.house.query("SELECT * FROM dim_shop_history ORDER BY 1, 2") == before
