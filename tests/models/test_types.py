"""Each type through all that happens to a row: read, changed, rejected, accepted, deleted, replayed.

The types are those of the server's catalogue, so a new one fails until it has values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from demo.postgres import Postgres
from pipeline.lake.manifest import Manifest
from tests.house import plan_batch
from tests.pair import Pair, pair
from tests.support import execute, query, value
from tests.system import system_server
from tests.type_samples import BUILT_IN, CONTRIB, KEYS, NEVER_NULL, SAME, TYPES, XML

# Types of the catalogue that a user's column can have, without arrays.
CATALOGUE = """
    SELECT oid, format_type(oid, NULL) FROM pg_type
    WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e') AND typcategory <> 'A'
"""
ROWS = 4


@dataclass
class Matrix:
    """A source and a warehouse with the same types, and the batches loaded so far."""

    pair: Pair
    version: int | str
    types: dict[str, list[str]]
    batches: list[Manifest] = field(default_factory=list)

    def run(self, *, full: bool = False) -> dict[str, Any]:
        """Run a batch that is not empty."""
        _, manifest = plan_batch(self.pair.source_url, self.pair.house, full=full)
        assert manifest is not None
        self.batches.append(manifest)
        # Most rows are rejected until their shop arrives.
        return self.pair.house.bring(manifest, max_rejected_share=1)

    def start(self, models: dict[str, str], *source: str) -> None:
        """Empty databases with all types, these models and these statements in the source."""
        self.pair.fresh(models, *self.declarations, *source)
        execute(self.pair.house.url, *self.declarations)
        self.batches = []

    @property
    def declarations(self) -> tuple[str, ...]:
        """Statements that create the types that are not built in."""
        extensions = sorted({CONTRIB[type_][0] for type_ in self.types if type_ in CONTRIB})
        return *(f"CREATE EXTENSION {name} CASCADE" for name in extensions), *TYPES

    def insert(self, table: str, row: list[tuple[str, str | None]]) -> None:
        """Insert a row of values, which are cast from text, unless it exists."""
        places = ", ".join(f"%s::text::{type_}" for type_, _ in row)
        with psycopg.connect(self.pair.source_url) as connection:
            statement = f"INSERT INTO {table} VALUES ({places}) ON CONFLICT DO NOTHING"
            connection.execute(statement.encode(), [text for _, text in row])


@pytest.fixture(
    scope="module",
    params=[18, *(pytest.param(other, marks=pytest.mark.campaign) for other in (16, "contrib"))],
)
def matrix(request: pytest.FixtureRequest, servers: Callable[[int], Postgres]) -> Iterator[Matrix]:
    """Databases of a version; only a server of the system's packages has extensions."""
    with ExitStack() as stack:
        contrib = request.param == "contrib"
        server = stack.enter_context(system_server()) if contrib else servers(request.param)
        made = stack.enter_context(pair(server))
        execute(made.source_url, *TYPES)
        there = {name for (name,) in query(made.source_url, "SELECT name FROM pg_available_extensions")}
        more = {type_: values for type_, (name, values) in CONTRIB.items() if contrib and name in there}
        known = BUILT_IN | XML
        lacking = [type_ for type_ in known if not _is_there(made.source_url, type_, known[type_][0])]
        yield Matrix(
            made, request.param, {t: values for t, values in (known | more).items() if t not in lacking}
        )


def _is_there(url: str, type_: str, text: str) -> bool:
    """Whether the server has a type and was built to read its values."""
    try:
        with psycopg.connect(url) as connection:
            connection.execute(f"SELECT %s::text::{type_}".encode(), [text])
    except (psycopg.errors.UndefinedObject, psycopg.errors.FeatureNotSupported):
        return False
    return True


def test_every_type_of_the_catalogue_has_values(matrix: Matrix) -> None:
    """Except types without input, such as pg_node_tree."""
    url = matrix.pair.source_url
    execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", *matrix.declarations)
    known = {value(url, f"SELECT '{type_}'::regtype::oid") for type_ in matrix.types}
    unknown = []
    for oid, name in query(url, CATALOGUE):
        try:
            value(url, f"SELECT ''::text::{name} IS NULL")
        except psycopg.errors.FeatureNotSupported:
            continue
        except psycopg.Error:
            pass
        if oid not in known:
            unknown.append(name)
    assert unknown == [], "give them values in tests/type_samples.py"


SHOPS = "CREATE TABLE shop (shop_id int PRIMARY KEY)"


def values_of(matrix: Matrix, place: int) -> list[tuple[str, str | None]]:
    """The value of each type at a place; NULL after the last one."""
    row: list[tuple[str, str | None]] = []
    for type_, values in matrix.types.items():
        ring = [*values, *([] if type_ in NEVER_NULL else [None])]
        row.append((type_, ring[place % len(ring)]))
    return row


def test_a_row_of_all_types_equals_the_source(matrix: Matrix) -> None:
    """Compare them in a fact, a dimension and a join after each change, and after a rebuild."""
    names = [f"c{number}" for number in range(len(matrix.types))]
    listed = ", ".join(names)
    declared = ", ".join(f"{name} {type_}" for name, type_ in zip(names, matrix.types, strict=True))
    made = f"id int NOT NULL, shop_id int NOT NULL REFERENCES dim_shop, {declared}"
    matrix.start(
        {
            "dim_shop": "SELECT shop_id FROM shop",
            "fact_t": f"-- key: id\nSELECT id, shop_id, {listed} FROM t",
            "dim_t": f"-- key: id\nSELECT id, shop_id, {listed} FROM t",
            "fact_join": "-- key: id\nWITH ids AS (SELECT id FROM t) SELECT t.* FROM t JOIN ids USING (id)",
            "schema": "CREATE TABLE dim_shop (shop_id int PRIMARY KEY);"
            + "".join(f"CREATE TABLE {name} ({made});" for name in ("fact_t", "dim_t", "fact_join")),
        },
        SHOPS,
        f"CREATE TABLE t (id int PRIMARY KEY, shop_id int, {declared})",
        "INSERT INTO shop VALUES (1)",
    )
    shown = f"id, shop_id, {', '.join(f'{name}::text' for name in names)}"
    present = ("fact_t_current", "dim_t", "fact_join_current")

    def write(first: int, shop: int, shift: int) -> None:
        for place in range(ROWS):
            key = [("int", str(first + place)), ("int", str(shop))]
            matrix.insert("t", [*key, *values_of(matrix, place + shift)])

    def holds(condition: str = "true") -> None:
        expected = matrix.pair.source(f"SELECT {shown} FROM t WHERE {condition} ORDER BY id")
        for table in present:
            actual = matrix.pair.house.query(f"SELECT {shown} FROM {table} WHERE {condition} ORDER BY id")
            assert_same(actual, expected, list(matrix.types), table)

    write(10, 1, 0)
    write(20, 9, 1)
    matrix.run()
    holds("shop_id = 1")
    assert len(matrix.pair.house.rejected()) == len(present) * ROWS
    matrix.pair.do("DELETE FROM t WHERE id < 20")
    write(10, 1, 1)
    write(30, 9, 2)
    matrix.run()
    holds("shop_id = 1")
    matrix.pair.do("INSERT INTO shop VALUES (9)")
    assert matrix.run()["fact_t"].added == 2 * ROWS
    holds()
    assert matrix.pair.house.rejected() == []
    counts = matrix.run(full=True)
    assert {count.summary for count in counts.values()} == {"nothing new"}
    matrix.pair.do("DELETE FROM t WHERE id IN (10, 31)")
    matrix.run()
    assert [row[0] for row in matrix.pair.house.query("SELECT id FROM fact_t_current ORDER BY 1")] == [
        row[0] for row in matrix.pair.source("SELECT id FROM t ORDER BY 1")
    ]
    rebuilt(matrix, ["fact_t_history", "dim_t_history", "fact_join_history", "dim_t"])


def assert_same(
    actual: list[tuple[Any, ...]], expected: list[tuple[Any, ...]], types: list[str], where: str
) -> None:
    """Compare rows of all types, and name the types that differ."""
    assert [row[:2] for row in actual] == [row[:2] for row in expected], where
    differences = [
        f"{where}: {type_}: {ours!r} instead of {theirs!r}"
        for one, other in zip(actual, expected, strict=True)
        for type_, ours, theirs in zip(types, one[2:], other[2:], strict=True)
        if ours != theirs
    ]
    assert differences == []


def rebuilt(matrix: Matrix, relations: list[str]) -> None:
    """Empty the warehouse, load the batches again, and compare."""
    house = matrix.pair.house

    def contents() -> dict[str, list[tuple[Any, ...]]]:
        return {name: house.query(f"SELECT r::text FROM {name} AS r ORDER BY 1") for name in relations}

    before = contents()
    house.empty()
    for manifest in matrix.batches:
        house.bring(manifest, max_rejected_share=1)
    assert contents() == before


# Also keys of a dimension.
BOTH = SAME.keys() | {"text", "mood", "moods", "mails", "pair"}
# A number with other trailing zeros is equal, and makes no version.
# Expressions that print equal values in the same way.
SHOWN = dict.fromkeys(("numeric", "numeric(60,2)", "amount"), "trim_scale(v::numeric)::text") | dict.fromkeys(
    ("real", "double precision"), "(v + 0)::text"
)


def indexable(url: str, type_: str) -> bool:
    """Whether a column of this type can be a primary key."""
    try:
        with psycopg.connect(url) as connection:
            connection.execute(f"CREATE TEMP TABLE tried (v {type_} PRIMARY KEY) ON COMMIT DROP".encode())
    except psycopg.errors.UndefinedObject:
        return False
    return True


@pytest.mark.campaign
def test_any_type_that_has_an_order_is_a_key(matrix: Matrix) -> None:
    """As a key of source, fact and dimension: rows are changed, deleted and inserted again."""
    url = matrix.pair.source_url
    execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", *matrix.declarations)
    known = matrix.types | {type_: values for type_, values in KEYS.items() if type_ not in CONTRIB}
    known |= {type_: values for type_, values in KEYS.items() if type_ in matrix.types}
    # All types of the catalogue once; otherwise those of extensions, and those with several spellings.
    every = matrix.version == 18
    some = [type_ for type_ in known if every or type_ in BOTH | CONTRIB.keys()]
    keys = {type_: known[type_] for type_ in some if indexable(url, type_)}
    assert len(keys) > (50 if every else 10)
    tables = {f"k{place}": type_ for place, type_ in enumerate(keys)}
    relations = {
        f"{kind}_{table}": type_
        for table, type_ in tables.items()
        for kind in (("fact", "dim") if type_ in BOTH else ("fact",))
    }
    matrix.start(
        {name: f"-- key: v\nSELECT v, n, note FROM {name.partition('_')[2]}" for name in relations}
        | {
            "schema": "".join(
                f"CREATE TABLE {name} (v {type_} NOT NULL, n int, note text);"
                for name, type_ in relations.items()
            )
        },
        *(
            f"CREATE TABLE {table} (v {type_} PRIMARY KEY, n int, note text)"
            for table, type_ in tables.items()
        ),
    )
    for table, type_ in tables.items():
        for number, text in enumerate(keys[type_]):
            matrix.insert(table, [(type_, text), ("int", str(number)), ("text", "first")])
        if type_ in SAME:
            matrix.insert(table, [(type_, SAME[type_][0]), ("int", "100"), ("text", "first")])
    holds(matrix, relations)
    changes = [f"UPDATE {table} SET note = 'changed' WHERE n % 2 = 0" for table in tables]
    for table, type_ in tables.items():
        if type_ in SAME:
            changes.append(f"UPDATE {table} SET v = '{SAME[type_][1]}'::text::{type_} WHERE n = 100")
    matrix.pair.do(*changes, *(f"DELETE FROM {table} WHERE n = 1" for table in tables))
    holds(matrix, relations)
    matrix.pair.do(*(f"DELETE FROM {table} WHERE n = 0" for table in tables))
    for table, type_ in tables.items():
        for number, text in enumerate(keys[type_][1:2]):
            matrix.insert(table, [(type_, text), ("int", str(number + 1)), ("text", "back")])
    holds(matrix, relations)
    if matrix.version == "contrib":
        rebuilt(matrix, [f"{name}_history" for name in relations])


def holds(matrix: Matrix, relations: dict[str, str]) -> None:
    """Run, and compare the tables with the source; nothing is rejected."""
    matrix.run()
    assert matrix.pair.house.rejected() == []
    wrong = []
    for name, type_ in relations.items():
        shown = SHOWN.get(type_, "v::text")
        present = f"{name}_current" if name.startswith("fact") else f"{name}_history WHERE valid_to IS NULL"
        query = f"SELECT {shown}, n, note FROM {{}} ORDER BY n"
        expected = matrix.pair.source(query.format(name.partition("_")[2]))
        actual = matrix.pair.house.query(query.format(present))
        if actual != expected:
            wrong.append(f"{type_}: {name} has {actual}, not {expected}")
    assert not wrong, "\n".join(wrong)
