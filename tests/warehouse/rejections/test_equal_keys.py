"""Keys that only Postgres knows to be equal are repeated, whenever they arrive: no row replaces another."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.models.target import REPEATED_KEY
from tests.pair import Pair, pair
from tests.support import execute
from tests.system import system_server

TYPES = ("CREATE TYPE weight AS (kilos numeric)",)
# Source type and warehouse type of the key, and two equal values that print differently.
EQUAL = {
    "composite": ("weight", "weight", "(1.0)", "(1.00)"),
    "jsonb[]": ("jsonb[]", "jsonb[]", "{1.0}", "{1.00}"),
    "numrange[]": ("numrange[]", "numrange[]", '{"[1.0,2.0]"}', '{"[1.00,2.00]"}'),
    "interval[]": ("interval[]", "interval[]", '{"1 mon"}', '{"30 days"}'),
    "uuid from text": (
        "text", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
    ),
    "inet from text": ("text", "inet", "10.0.0.1", "10.0.0.1/32"),
    "bytea from text": ("text", "bytea", "\\x0a", "\\x0A"),
    "numeric from text": ("text", "numeric", "1000", "1e3"),
    "interval from text": ("text", "interval", "1 mon", "1 month"),
}  # fmt: skip


SYSTEM_TYPES = (
    "CREATE EXTENSION citext SCHEMA {schema}",
    "CREATE COLLATION {schema}.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
)
OF_SYSTEM = {
    "collation": ("text", "text COLLATE more.loose", "York", "YORK"),
    "citext": ("text", "more.citext", "York", "YORK"),
    "citext of both": ("more.citext", "more.citext", "York", "YORK"),
}


def start(made: Pair, source: str, target: str, key: str = "n int PRIMARY KEY, v {}") -> None:
    """A fact and a dimension with this type of key, over a table with ``key`` and a text."""
    both = (f"dim_t (v {target} PRIMARY KEY, w text)", f"fact_t (v {target} NOT NULL, w text)")
    made.fresh(
        dict.fromkeys(("dim_t", "fact_t"), "-- key: v\nSELECT v, w FROM t")
        | {"schema": "".join(f"CREATE TABLE IF NOT EXISTS {each};" for each in both)},
        *TYPES,
        f"CREATE TABLE t ({key.format(source)}, w text)",
    )
    execute(made.house.url, *TYPES)


def rows(made: Pair) -> list[list[tuple[object, ...]]]:
    """The present rows of both tables."""
    return [
        made.house.query(f"SELECT v::text, w FROM {table} ORDER BY 2")
        for table in ("dim_t_as_of('now')", "fact_t_current")
    ]


def insert(made: Pair, type_: str, *values: tuple[int, str, str]) -> None:
    with psycopg.connect(made.source_url) as connection:
        for row in values:
            connection.execute(f"INSERT INTO t VALUES (%s, %s::text::{type_}, %s)".encode(), row)


@pytest.mark.campaign
@pytest.mark.parametrize("kind", OF_SYSTEM)
def test_keys_of_a_collation_or_an_extension_are_rejected_too(kind: str) -> None:
    """The embedded servers have neither."""
    with system_server() as server, pair(server) as made:
        for url in (made.source_url, made.house.url):
            execute(url, "CREATE SCHEMA more", *(each.format(schema="more") for each in SYSTEM_TYPES))
        holds(made, *OF_SYSTEM[kind])


@pytest.mark.parametrize("kind", EQUAL)
@pytest.mark.rarely("numrange", "interval[]", "inet", "numeric", "bytea")
def test_rows_of_equal_keys_are_rejected_and_replace_none(shared: Pair, kind: str) -> None:
    holds(shared, *EQUAL[kind])


def holds(shared: Pair, source: str, target: str, first: str, second: str) -> None:
    """Neither row is lost, in any order of arrival."""
    start(shared, source, target)
    insert(shared, source, (1, first, "a"))
    shared.run()
    before = rows(shared)
    assert [[w for _, w in each] for each in before] == [["a"], ["a"]]
    insert(shared, source, (2, second, "b"))
    shared.run(max_rejected_share=1)
    assert rows(shared) == before
    assert {reason for *_, reason in shared.house.rejected()} == {REPEATED_KEY}
    shared.do("UPDATE t SET w = 'c' WHERE n = 2")
    shared.run(max_rejected_share=1)
    assert rows(shared) == before
    shared.do("DELETE FROM t WHERE n <> 2")
    shared.run()
    assert [[w for _, w in each] for each in rows(shared)] == [["c"], ["c"]]
    assert shared.house.rejected() == []
    assert shared.house.query("SELECT w FROM fact_t ORDER BY recorded_at") == [("a",), ("c",)]
    house = shared.house
    found = house.rehearse()
    assert (found.differences, found.gaps) == ([], [])


def test_rows_of_equal_keys_in_the_first_batch_are_rejected(shared: Pair) -> None:
    start(shared, "weight", "weight")
    insert(shared, "weight", (1, "(1.0)", "a"), (2, "(1.00)", "b"), (3, "(2)", "c"))
    shared.run(max_rejected_share=1)
    assert rows(shared) == [[("(2)", "c")], [("(2)", "c")]]
    assert len(shared.house.rejected()) == 4
    shared.do("UPDATE t SET v = '(3)' WHERE n = 1")
    shared.run()
    assert [[w for _, w in each] for each in rows(shared)] == [["a", "b", "c"]] * 2
    assert shared.house.rejected() == []


def test_a_repeated_key_with_a_new_spelling_is_not_deleted(shared: Pair) -> None:
    """Its row stays as it was last accepted."""
    start(shared, "weight", "weight")
    insert(shared, "weight", (1, "(1.0)", "a"), (3, "(2)", "c"))
    shared.run()
    before = rows(shared)
    insert(shared, "weight", (2, "(1.00)", "b"))
    shared.do("UPDATE t SET v = '(1.000)' WHERE n = 1", "DELETE FROM t WHERE n = 3")
    shared.run(max_rejected_share=1)
    assert rows(shared) == [each[:1] for each in before]
    shared.do("DELETE FROM t WHERE n = 2")
    shared.run()
    assert rows(shared) == [[("(1.000)", "a")]] * 2
    assert shared.house.rejected() == []


@pytest.mark.parametrize(
    ("type_", "value"), [("inet", "'10.0.0.1'"), ("bytea", "'\\x0a'"), ("uuid", "gen_random_uuid()")]
)
def test_a_key_that_the_source_prints_is_computed_row_by_row(shared: Pair, type_: str, value: str) -> None:
    """No two of its texts are equal in Postgres."""
    start(shared, type_, type_, key="v {} PRIMARY KEY, n int")
    shared.do(f"INSERT INTO t VALUES ({value}, 1, 'a')")
    shared.run()
    shared.do("UPDATE t SET w = 'b'")
    counts = shared.run() or {}
    assert (counts["fact_t"].read, counts["fact_t"].changed) == (1, 1)
