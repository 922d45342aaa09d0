"""A row is erased by one of several warehouses on a lake, or by a model that is gone since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from demo.postgres import Postgres
from tests.erasure.people import again, forgotten, names_in, token
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
