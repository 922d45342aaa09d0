"""Rows of a dimension whose keys an erasure changes in all batches."""

from __future__ import annotations

import pytest

from tests.erasure.people import forgotten
from tests.pair import Pair
from tests.support import execute

MODELS = {
    "dim_pet": "-- personal: name\nSELECT pet_id, name FROM pet",
    "dim_name": "-- key: name\nSELECT name, count(*) AS pets FROM pet WHERE name IS NOT NULL GROUP BY name",
    "fact_visit": "-- key: visit_id\nSELECT visit_id, name FROM visit JOIN pet USING (pet_id)",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_pet (pet_id integer PRIMARY KEY, name text);
        CREATE TABLE IF NOT EXISTS dim_name (name text PRIMARY KEY, pets bigint);
        CREATE TABLE IF NOT EXISTS fact_visit (visit_id integer NOT NULL, name text REFERENCES dim_name);
    """,
}
SOURCE = (
    "CREATE TABLE pet (pet_id integer PRIMARY KEY, name text)",
    "CREATE TABLE visit (visit_id integer PRIMARY KEY, pet_id integer)",
    "INSERT INTO pet VALUES (1, 'Barnaby'), (2, 'Clementine')",
    "INSERT INTO visit VALUES (1, 1), (2, 2)",
)


@pytest.fixture
def erased(shared: Pair) -> Pair:
    """Pet 1 was forgotten, and somebody has made a row by hand."""
    shared.live(MODELS, SOURCE, [("INSERT INTO pet VALUES (3, 'Clementine')",)])
    execute(
        shared.house.url,
        "INSERT INTO dim_name VALUES ('by hand', 0)",
        "UPDATE etl.model SET row_count = row_count + 1 WHERE table_name = 'dim_name'",
    )
    assert forgotten(shared, "1", "pet")["hits"] == []
    return shared


def test_a_dimension_keeps_no_row_whose_key_is_erased(erased: Pair) -> None:
    house = erased.house
    names = [str(name) for (name,) in house.query("SELECT name FROM dim_name ORDER BY 1")]
    assert [name.partition(" ")[0] for name in names] == ["Clementine", "by", "erased"]
    assert house.query("SELECT visit_id, name FROM fact_visit_current ORDER BY 1")[0] == (1, names[2])
    found = house.rehearse()
    assert [each for each in found.differences if each.in_rebuild] == []
