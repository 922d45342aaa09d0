"""Erasing values by their types: numeric keys, where NaN can appear, and values that models compute with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from demo.postgres import Postgres
from pipeline.erasure.search import Needles, search_lake, search_warehouse
from pipeline.lake.buckets import folder
from pipeline.postgres import template, transaction
from tests.erasure.people import forgotten
from tests.pair import Pair
from tests.support import database

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
    assert forgotten(pair, key, "pet")["hits"] == []


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


@pytest.mark.parametrize("name", ["Zoë 5 €", 'O"Neil\\ 5 €'])
@pytest.mark.parametrize("column", ["name", "max(name) AS name"])
def test_a_value_that_the_warehouse_cannot_encode_is_erased_in_rejected_rows(
    shared: Pair, postgres: Postgres, column: str, name: str
) -> None:
    group = " GROUP BY pet_id" if "max" in column else ""
    models = MODELS | {
        "fact_pet": f"-- key: pet_id\n-- personal: name\nSELECT pet_id, {column} FROM pet{group}"
    }
    with database(postgres, "latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        latin = replace(shared, house=replace(shared.house, url=url, prepared=None))
        latin.live(models, SOURCE, [(f"UPDATE pet SET name = '{name}' WHERE pet_id = 1",)])
        assert [key for _, key, _ in latin.house.rejected()] == [{"pet_id": "1.0"}]
        erase(latin, "1")
        assert names(latin) == ["erased", "Clementine"]
        assert latin.house.query("SELECT count(*) FROM etl.rejected WHERE \"row\"::text ~ 'e282ac'") == [(0,)]


@pytest.mark.parametrize("name", ["text", "varchar(5)"])
def test_a_rejected_row_is_erased_whose_key_the_warehouse_cannot_encode(
    shared: Pair, postgres: Postgres, name: str
) -> None:
    """The transform rejects a name that is too long; Postgres rejects what it cannot encode."""
    models = MODELS | {"schema": f"CREATE TABLE IF NOT EXISTS fact_pet (pet_id text NOT NULL, name {name});"}
    source = (
        "CREATE TABLE pet (pet_id text PRIMARY KEY, name text)",
        "INSERT INTO pet VALUES ('Ł\t€', 'Barnaby'), ('b', 'Cle'), ('c', 'Dot')",
    )
    with database(postgres, "latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        latin = replace(shared, house=replace(shared.house, url=url, prepared=None))
        latin.fresh(models, *source)
        latin.run(max_rejected_share=1)
        held = "SELECT count(*) FROM etl.rejected WHERE \"row\"::text ~ 'Barnaby'"
        assert latin.house.query(held) == [(1,)]
        erase(latin, "Ł\t€")
        assert latin.house.query(held) == [(0,)]


def test_a_value_that_is_not_utf_8_is_erased_in_rejected_rows(shared: Pair, postgres: Postgres) -> None:
    with database(postgres, "legacy", "ENCODING 'SQL_ASCII' TEMPLATE template0") as url:
        legacy = replace(shared, source_url=url)
        legacy.live(MODELS, SOURCE, [(r"UPDATE pet SET name = E'Jos\351 Smith' WHERE pet_id = 1",)])
        assert [key for _, key, _ in legacy.house.rejected()] == [{"pet_id": "1.0"}]
        erase(legacy, "1")
        assert names(legacy) == ["erased", "Clementine"]
        assert legacy.house.query("SELECT count(*) FROM etl.rejected WHERE \"row\"::text ~ 'Smith'") == [(0,)]


def test_the_search_finds_texts_however_they_are_escaped_and_however_many(
    shared: Pair, tmp_path: Path
) -> None:
    texts = ['O"Neil', "back\\slash", "two\nlines", "tab\tbed", 'all"\\\n', "Zoë's", "\0not UTF-8"]
    bucket, found = folder(str(tmp_path)), set()
    shared.fresh(MODELS, *SOURCE)
    with transaction(shared.house.url, "warehouse") as connection:
        for place, text in enumerate(texts):
            held = text.removeprefix("\0")
            for column, value in {"plain": held, "list": [held], "object": Jsonb({"a": held})}.items():
                query = template(f"CREATE TABLE public.{column}_{place} AS SELECT %s AS value")
                psycopg.ClientCursor(connection).execute(query, [value])
            bucket.write_text(f"a/{place}.json", json.dumps({"a": held}, ensure_ascii=False))
    needles = Needles.of({"name": {*texts, *(f"text {number}" for number in range(2_000))}}, ())
    for hit in search_warehouse(shared.house.url, "public", needles):
        found.add((hit.where, hit.text))
    expected = {(place, text) for place, text in enumerate(texts)}
    for column in "plain", "list", "object":
        assert {(f"warehouse public.{column}_{place}", text) for place, text in expected} <= found
    assert {(hit.where, hit.text) for hit in search_lake("raw", bucket, needles, ())} == {
        (f"raw a/{place}.json", text) for place, text in expected
    }
