"""Texts of a SQL_ASCII database that are not UTF-8: their rows are rejected, and block no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from demo.postgres import Postgres
from pipeline.source.hashing import HashKey
from tests.pair import Pair
from tests.support import database, query

MODELS = {
    "fact_person": "-- key: person_id\nSELECT person_id, name, tags FROM person",
    "fact_pet": "-- key: pet\nSELECT pet, name FROM pet JOIN person USING (person_id)",
    "dim_names": "SELECT 1 AS one, count(*) AS people,"
    " string_agg(upper(note), '' ORDER BY person_id) AS notes FROM person",
    "dim_tags": "SELECT cardinality(tags) AS number, max(tags[1]) AS first,"
    " array_agg(tags[2] ORDER BY person_id) AS second FROM person WHERE tags IS NOT NULL GROUP BY number",
    "schema": """
        CREATE TABLE IF NOT EXISTS fact_person (person_id int NOT NULL, name varchar(20), tags text[]);
        CREATE TABLE IF NOT EXISTS fact_pet (pet text NOT NULL, name text);
        CREATE TABLE IF NOT EXISTS dim_names (one int PRIMARY KEY, people bigint, notes text);
        CREATE TABLE IF NOT EXISTS dim_tags (number int PRIMARY KEY, first text, second text[]);
    """,
}
SOURCE = (
    "CREATE TABLE person (person_id int PRIMARY KEY, name varchar(20), tags text[], note text)",
    "CREATE TABLE pet (pet text PRIMARY KEY, person_id int)",
    r"INSERT INTO person VALUES (1, 'José', ARRAY['a\b', 'ü']), (2, NULL, NULL), (3, '', '{}')",
    r"INSERT INTO person VALUES (4, E'a\\b\\351', '{}'), (5, E'\\\\351 \n\t\x7f', '{}')",
    "INSERT INTO pet VALUES ('Rex', 1), ('Tom', 5), ('Zoë', 4)",
)
BYTES = r"E'Jos\351 Smith'"
PEOPLE = "SELECT person_id, name, tags FROM {} WHERE person_id = ANY(ARRAY{}) ORDER BY 1"
PETS = 'SELECT pet, name FROM {} WHERE {} ORDER BY pet COLLATE "C"'


@pytest.fixture(params=[18, 16])
def legacy(
    shared: Pair, servers: Callable[[int], Postgres], request: pytest.FixtureRequest
) -> Iterator[Pair]:
    """A shop whose source is in SQL_ASCII."""
    with database(servers(request.param), "legacy", "ENCODING 'SQL_ASCII' TEMPLATE template0") as url:
        yield replace(shared, source_url=url)


def same(pair: Pair, *rejected: int) -> None:
    """Other rows than these are as in the source."""
    url, others = (
        f"{pair.source_url}?client_encoding=utf8",
        [number for number in range(9) if number not in rejected],
    )
    here, there = PEOPLE.format("fact_person_current", others), PEOPLE.format("person", others)
    assert pair.house.query(here) == query(url, there)
    joined = PETS.format("pet JOIN person USING (person_id)", f"person_id = ANY(ARRAY{others})")
    assert pair.house.query(PETS.format("fact_pet_current", "name IS NOT NULL")) == query(url, joined)


def verify(pair: Pair) -> None:
    found = pair.house.rehearse()
    assert (found.differences, found.gaps) == ([], [])


@pytest.mark.rarely("16")
def test_a_row_is_rejected_with_its_bytes_and_others_are_exact(legacy: Pair) -> None:
    legacy.fresh(MODELS, *SOURCE)
    legacy.run()
    same(legacy)
    legacy.do(
        f"UPDATE person SET name = {BYTES} WHERE person_id = 2",
        "UPDATE person SET name = 'Ω' WHERE person_id = 5",
        "INSERT INTO pet VALUES ('Kim', 2)",
    )
    legacy.run()
    same(legacy, 2)
    assert legacy.house.rejected() == [
        ("fact_person", {"person_id": "2"}, "name holds bytes of the source that are not UTF-8"),
        ("fact_pet", {"pet": "Kim"}, "name holds bytes of the source that are not UTF-8"),
    ]
    assert legacy.house.query("SELECT DISTINCT row ->> 'name' FROM etl.rejected") == [(r"Jos\xe9 Smith",)]
    assert legacy.run() is None
    legacy.do("DELETE FROM person WHERE person_id = 1", "UPDATE pet SET person_id = 4 WHERE pet = 'Rex'")
    legacy.run()
    same(legacy, 1, 2)
    assert len(legacy.house.rejected()) == 2, "rows of neither model were written"
    verify(legacy)
    legacy.do("UPDATE person SET name = 'José' WHERE person_id = 2")
    legacy.run()
    same(legacy, 1)
    assert legacy.house.rejected() == []
    legacy.run(full=True)
    legacy.run(reconcile=True)
    same(legacy, 1)
    assert legacy.house.query("SELECT count(*) FROM fact_person") == [(8,)]
    verify(legacy)


@pytest.mark.parametrize("text", [r"E'Zo\353'", r"E'Zo\353\\000'"])
@pytest.mark.rarely("16-")
def test_a_key_is_rejected(legacy: Pair, text: str) -> None:
    legacy.fresh(
        MODELS | {"fact_pet": "-- key: pet\nSELECT pet, CAST(person_id AS text) AS name FROM pet"}, *SOURCE
    )
    legacy.do(f"INSERT INTO pet VALUES ({text}, 3)")
    legacy.run()
    shown = "Zo\\xeb" + "\\000" * ("000" in text)
    assert legacy.house.rejected() == [
        ("fact_pet", {"pet": shown}, "pet holds bytes of the source that are not UTF-8")
    ]
    legacy.do("UPDATE pet SET person_id = 2 WHERE person_id = 3")
    legacy.run()
    assert legacy.house.query("SELECT row ->> 'name' FROM etl.rejected WHERE NOT resolved") == [("2",)]
    verify(legacy)
    legacy.do("DELETE FROM pet WHERE person_id = 2")
    legacy.run()
    assert legacy.house.rejected() == []
    verify(legacy)


def test_a_model_over_all_rows_is_rejected_as_a_whole(legacy: Pair) -> None:
    legacy.fresh(MODELS, *SOURCE, r"UPDATE person SET note = E'\351' WHERE person_id = 3")
    legacy.run()
    reasons = [(table, reason.partition(" ")[0]) for table, _, reason in legacy.house.rejected()]
    assert reasons == [("dim_names", "notes")]
    legacy.do("UPDATE person SET note = NULL WHERE person_id = 3")
    legacy.run()
    assert legacy.house.rejected() == []
    assert legacy.house.query("SELECT people FROM dim_names") == [(5,)]


def test_a_text_in_an_array_rejects_the_rows_that_have_it(legacy: Pair) -> None:
    legacy.fresh(MODELS, *SOURCE, r"UPDATE person SET tags = ARRAY['a', E'b\351, c'] WHERE person_id = 3")
    legacy.run()
    reasons = {(table, reason.partition(" ")[0]) for table, _, reason in legacy.house.rejected()}
    assert reasons == {("fact_person", "tags"), ("dim_tags", "second")}
    assert legacy.house.query("SELECT number FROM dim_tags") == [(0,)]


def test_hashes_are_of_the_bytes(legacy: Pair) -> None:
    hashed = {"fact_person": "-- key: person_id\n-- personal: hash name\nSELECT person_id, name FROM person"}
    hashed["schema"] = "CREATE TABLE IF NOT EXISTS fact_person (person_id int NOT NULL, name varchar(64));"
    keyed = replace(legacy, key=HashKey("made up " * 5))
    keyed.fresh(hashed, *SOURCE)
    keyed.run()
    names = "SELECT person_id, name FROM fact_person_current WHERE person_id <> 2 ORDER BY 1"
    before = keyed.house.query(names)
    keyed.do(f"UPDATE person SET name = {BYTES} WHERE person_id = 2")
    keyed.run()
    assert keyed.house.query(names) == before
    assert keyed.house.query("SELECT length(name) FROM fact_person_current WHERE person_id = 2") == [(64,)]
