"""A row is erased by one of several warehouses on a lake, or by a model that is gone since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from demo.postgres import Postgres
from pipeline.lake import erasures
from tests.erasure.people import again, entry, forgotten, names_in, token
from tests.pair import Pair
from tests.support import database, write_models

SALES = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "schema": "CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, amount integer);",
}
PERSONS = {
    "dim_person": "SELECT person_id, last_name FROM person",
    "schema": "CREATE TABLE IF NOT EXISTS dim_person (person_id integer PRIMARY KEY, last_name text);",
}


def other(shop: Pair, url: str, models: dict[str, str]) -> Pair:
    """Another warehouse on the lake of the shop, after its first batch."""
    folder = shop.home / "others"
    write_models(folder, models)
    pair = replace(shop, house=replace(shop.house, url=url, folder=folder, prepared=None))
    pair.house.prepare()
    pair.run()
    return pair


@pytest.mark.parametrize("models", [SALES, PERSONS])
@pytest.mark.rarely("models1")
def test_a_row_without_personal_columns_here_is_left_once(
    shop: Pair, servers: Callable[[int], Postgres], models: dict[str, str]
) -> None:
    with database(servers(16), "other") as url:
        second = other(shop, url, models)
        forgotten(shop)
        assert again(second) == ["person"]
        assert again(second) == []
        shop.do("UPDATE person SET team_id = 1 WHERE person_id = 7", "DELETE FROM sale WHERE sale_id = 1")
        assert second.run() is not None
        assert again(second) == []


def test_a_row_that_was_left_is_erased_when_its_columns_are_declared(
    shop: Pair, servers: Callable[[int], Postgres]
) -> None:
    with database(servers(16), "other") as url:
        second = other(shop, url, PERSONS)
        forgotten(shop)
        again(second)
        assert names_in(second) == ["Marriedname"]
        declared = f"-- personal: last_name\n{PERSONS['dim_person']}"
        write_models(second.house.folder, {**PERSONS, "dim_person": declared})
        second.house.prepare()
        assert again(second) == []
        assert names_in(second) == []
        found = second.house.query("SELECT last_name FROM dim_person WHERE person_id = 7")
        assert found == [(token(second),)]


def test_a_warehouse_is_rebuilt_without_the_model_that_declared_what_was_erased(
    shop: Pair, servers: Callable[[int], Postgres]
) -> None:
    forgotten(shop)
    with database(servers(16), "rebuilt") as url:
        folder = shop.home / "others"
        write_models(folder, SALES)
        rebuilt = replace(shop, house=replace(shop.house, url=url, folder=folder, prepared=None))
        rebuilt.house.prepare()
        assert again(rebuilt) == ["person"]
        assert rebuilt.house.rebuild() == 5
        assert again(rebuilt) == []


def test_a_row_that_was_left_under_the_name_of_an_earlier_release_is_erased_later(shared: Pair) -> None:
    """Its list has a name with a dot without double quotes."""
    text = 'SELECT id, name FROM "per.son"'
    table = "CREATE TABLE IF NOT EXISTS dim_person (id int PRIMARY KEY, name text);"
    shared.fresh(
        {"dim_person": f"-- personal: name\n{text}", "schema": table},
        'CREATE TABLE "per.son" (id int PRIMARY KEY, name text)',
        """INSERT INTO "per.son" VALUES (7, 'Marriedname')""",
    )
    shared.run()
    row = entry(shared, '"per.son"', "7")
    write_models(shared.house.folder, {"dim_person": text})
    shared.run()
    erasures.write_to_lake(shared.house.raw, row.model_copy(update={"table": "per.son"}))
    assert again(shared) == ["per.son"]
    assert names_in(shared) == ["Marriedname"]
    write_models(shared.house.folder, {"dim_person": f"-- personal: name\n{text}"})
    assert again(shared) == []
    assert names_in(shared) == []


def test_a_restored_table_is_erased_although_its_model_is_gone_and_another_reads_the_source_table(
    shop: Pair, servers: Callable[[int], Postgres]
) -> None:
    with database(servers(16), "other") as url:
        second = other(
            shop, url, {**PERSONS, "dim_person": f"-- personal: last_name\n{PERSONS['dim_person']}"}
        )
        (second.house.folder / "dim_person.sql").unlink()
        write_models(second.house.folder, {"fact_p": "-- key: person_id\nSELECT person_id FROM person"})
        table = "CREATE TABLE IF NOT EXISTS fact_p (person_id int NOT NULL);"
        write_models(second.house.folder, {"schema": f"{PERSONS['schema']}{table}"})
        second.house.prepare()
        forgotten(shop)
        assert again(second) == []
        found = second.house.query("SELECT last_name FROM dim_person WHERE person_id = 7")
        assert found == [(token(second),)]
