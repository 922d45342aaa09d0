"""Erasing values by their types: numeric keys, where NaN can appear, and values that models compute with."""

from __future__ import annotations

import pytest

from pipeline.erasure import forget
from tests.erasure.people import entry, lake
from tests.pair import Pair

MODELS = {
    "fact_pet": "-- key: pet_id\n-- personal: name\nSELECT pet_id, name FROM pet",
    "schema": "CREATE TABLE IF NOT EXISTS fact_pet (pet_id numeric NOT NULL, name text);",
}
SOURCE = (
    "CREATE TABLE pet (pet_id numeric(6, 1) PRIMARY KEY, name text)",
    "INSERT INTO pet VALUES (1, 'Barnaby'), (2, 'Clementine')",
)
NAN = "INSERT INTO pet VALUES ('NaN', 'Dorothea')"


def erase(pair: Pair, key: str) -> None:
    found = forget.find(lake(pair), forget.all_manifests(pair.house.raw), entry(pair, "pet", key))
    assert forget.carry_out(pair.house.url, "public", lake(pair), found, lambda _: None)["hits"] == []


def names(pair: Pair) -> list[str]:
    rows = pair.house.query("SELECT name FROM fact_pet_current ORDER BY pet_id")
    return [str(name).partition(" ")[0] for (name,) in rows]


@pytest.mark.parametrize("key", ["1", "1.0", "NaN", "nan"])
def test_a_row_can_be_forgotten_after_a_key_with_nan_came(shared: Pair, key: str) -> None:
    shared.live(MODELS, SOURCE, [(NAN,)])
    erase(shared, key)
    expected = (
        ["Barnaby", "Clementine", "erased"] if "a" in key.lower() else ["erased", "Clementine", "Dorothea"]
    )
    assert names(shared) == expected


def test_a_forgotten_row_stays_erased_when_a_key_with_nan_comes_and_goes(shared: Pair) -> None:
    shared.live(MODELS, SOURCE, [])
    erase(shared, "1.0")
    shared.do(NAN)
    shared.run()
    assert names(shared) == ["erased", "Clementine", "Dorothea"]
    shared.do("DELETE FROM pet WHERE pet_id = 'NaN'")
    shared.run(full=True)
    assert names(shared) == ["erased", "Clementine"]


def test_a_row_is_forgotten_again_whose_values_models_compute_with(shared: Pair) -> None:
    """As after a restore: the lake does not have the former values, so that others take their place."""
    columns = "salary numeric, tags integer[], note jsonb, mood mood, span interval"
    computed = (
        "salary + 1 AS salary, tags[1] AS tag, note ->> 'a' AS note, upper(CAST(mood AS text)) AS mood, span"
    )
    models = {
        "fact_pet": "-- key: pet_id\n-- personal: salary, tags, note, mood, span\n"
        f"SELECT pet_id, {computed} FROM pet",
        "schema": "CREATE TABLE IF NOT EXISTS fact_pet (pet_id integer NOT NULL, salary numeric, tag integer,"
        " note text, mood text, span interval);",
    }
    source = (
        "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        f"CREATE TABLE pet (pet_id integer PRIMARY KEY, {columns})",
        """INSERT INTO pet VALUES (1, 5, '{6}', '{"a": "Barnaby"}', 'sad', '1 day')""",
    )
    shared.live(models, source, [])
    for _ in "found", "hidden":
        erase(shared, "1")
        assert shared.house.query("SELECT * FROM fact_pet_as_of(now())")[0][:6] == (1, *[None] * 5)
