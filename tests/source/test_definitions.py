"""Changes of a definition that change values of rows that nobody wrote are found."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from demo.postgres import Postgres
from tests.pair import Pair
from tests.source.definitions import MODELS, equal, read, read_all

BY_CURSOR = MODELS | {"fact_t": "-- key: id\n-- cursor: t.id\nSELECT id, v::varchar AS v FROM t"}
SHAPE = "its partitions, inheriting tables or views have changed"
COLUMNS = "its columns have changed"
TYPES = "a type or collation of its columns has changed"
CODE = "the query of a view, or a function in it, has changed"
ANOTHER = "another table has this name now"


@dataclass(frozen=True)
class Case:
    """A source, a change that writes no row, and the reason to read the table in full."""

    before: tuple[str, ...]
    change: tuple[str, ...]
    reason: str
    cursor: bool = False
    oldest: int = 0


FILLED = "INSERT INTO t SELECT i FROM generate_series(1, 3) AS i"
MOOD = "CREATE TYPE mood AS ENUM ('glad', 'sad')"
CASES = {
    "a column is dropped and added again with another default": Case(
        ("CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'old')", FILLED),
        ("ALTER TABLE t DROP COLUMN v", "ALTER TABLE t ADD COLUMN v text DEFAULT 'new'"),
        COLUMNS,
    ),
    "a label is renamed": Case(
        (MOOD, "CREATE TABLE t (id int PRIMARY KEY, v mood)", "INSERT INTO t VALUES (1, 'glad'), (2, 'sad')"),
        ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",),
        TYPES,
    ),
    "an attribute is added": Case(
        (
            "CREATE TYPE pair AS (a int)",
            "CREATE TABLE t (id int PRIMARY KEY, v pair)",
            "INSERT INTO t VALUES (1, ROW(1))",
        ),
        ("ALTER TYPE pair ADD ATTRIBUTE b int",),
        TYPES,
    ),
    "a label in an array in a composite under a domain is renamed": Case(
        (
            MOOD,
            "CREATE TYPE moods AS (all_of mood[])",
            "CREATE DOMAIN feelings AS moods",
            "CREATE TABLE t (id int PRIMARY KEY, v feelings)",
            "INSERT INTO t VALUES (1, ROW('{sad}'::mood[]))",
        ),
        ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",),
        TYPES,
    ),
    "a label in a range is renamed": Case(
        (
            MOOD,
            "CREATE TYPE span AS RANGE (subtype = mood)",
            "CREATE TABLE t (id int PRIMARY KEY, v span)",
            "INSERT INTO t VALUES (1, '[glad,sad]')",
        ),
        ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",),
        TYPES,
    ),
    "a table of which rows are values gets a column": Case(
        (
            "CREATE TABLE other (a int)",
            "CREATE TABLE t (id int PRIMARY KEY, v other)",
            "INSERT INTO t VALUES (1, ROW(1))",
        ),
        ("ALTER TABLE other ADD COLUMN b int",),
        COLUMNS,
    ),
    "a filled table inherits": Case(
        (
            "CREATE TABLE t (id int, v text)",
            "CREATE TABLE child (id int, v text)",
            "INSERT INTO t VALUES (1, 'a')",
            "INSERT INTO child VALUES (2, 'b')",
        ),
        ("ALTER TABLE child INHERIT t",),
        SHAPE,
    ),
    "a filled table inherits from one that inherits": Case(
        (
            "CREATE TABLE t (id int, v text)",
            "CREATE TABLE child () INHERITS (t)",
            "CREATE TABLE grandchild (id int, v text)",
            "INSERT INTO grandchild VALUES (2, 'b')",
        ),
        ("ALTER TABLE grandchild INHERIT child",),
        SHAPE,
    ),
    "a filled partition is attached": Case(
        (
            "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id)",
            "CREATE TABLE p (id int, v text)",
            "INSERT INTO p VALUES (1, 'a')",
        ),
        ("ALTER TABLE t ATTACH PARTITION p FOR VALUES FROM (0) TO (9)",),
        SHAPE,
    ),
    "a table from another schema takes the name": Case(
        (
            "DROP SCHEMA IF EXISTS elsewhere CASCADE",
            "CREATE SCHEMA elsewhere",
            "CREATE TABLE elsewhere.t (id int PRIMARY KEY, v text)",
            "INSERT INTO elsewhere.t VALUES (1, 'new')",
            "CREATE TABLE t (id int PRIMARY KEY, v text)",
            "INSERT INTO t VALUES (1, 'old')",
        ),
        ("DROP TABLE t", "ALTER TABLE elsewhere.t SET SCHEMA public"),
        ANOTHER,
    ),
    "two columns change places": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'a', w text DEFAULT 'b')",
            FILLED,
        ),
        (
            "ALTER TABLE t RENAME v TO x",
            "ALTER TABLE t RENAME w TO v",
            "ALTER TABLE t RENAME x TO w",
        ),
        COLUMNS,
    ),
    "a type becomes another one that needs no rewriting": Case(
        ("CREATE TABLE t (id int PRIMARY KEY, v varchar(9))", "INSERT INTO t VALUES (1, 'a')"),
        ("ALTER TABLE t ALTER v TYPE text",),
        COLUMNS,
    ),
    "a column is compared otherwise": Case(
        ("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')"),
        ('ALTER TABLE t ALTER v TYPE text COLLATE "C"',),
        COLUMNS,
    ),
    "a virtual column has another expression": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id * 2) VIRTUAL)",
            FILLED,
        ),
        ("ALTER TABLE t ALTER v SET EXPRESSION AS (id * 3)",),
        COLUMNS,
        oldest=18,
    ),
    "a stored column has another expression": Case(
        (
            "CREATE TABLE t (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id * 2) STORED)",
            FILLED,
        ),
        ("ALTER TABLE t ALTER v SET EXPRESSION AS (id * 3)",),
        COLUMNS,
        oldest=17,
    ),
    "a view is replaced": Case(
        ("CREATE VIEW t AS SELECT i AS id, 'old' AS v FROM generate_series(1, 3) AS i",),
        ("CREATE OR REPLACE VIEW t AS SELECT i AS id, 'new' AS v FROM generate_series(1, 3) AS i",),
        CODE,
        cursor=True,
    ),
    "a view under a view is replaced": Case(
        ("CREATE VIEW below AS SELECT 1 AS id, 'old' AS v", "CREATE VIEW t AS SELECT * FROM below"),
        ("CREATE OR REPLACE VIEW below AS SELECT 1 AS id, 'new' AS v",),
        CODE,
        cursor=True,
    ),
    "a function in a view is replaced": Case(
        (
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'old' $$",
            "CREATE VIEW t AS SELECT i AS id, f() AS v FROM generate_series(1, 3) AS i",
        ),
        ("CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'new' $$",),
        CODE,
        cursor=True,
    ),
    "a label that a view shows as text is renamed": Case(
        (
            MOOD,
            "CREATE TABLE moody (id int, m mood)",
            "INSERT INTO moody VALUES (1, 'sad'), (2, 'sad')",
            "CREATE VIEW t AS SELECT id, m::text AS v FROM moody",
        ),
        ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",),
        TYPES,
        cursor=True,
    ),
    "a table under a view gets rows by inheritance": Case(
        (
            "CREATE TABLE below (id int, v text)",
            "CREATE TABLE child (id int, v text)",
            "INSERT INTO below VALUES (9, 'a')",
            "INSERT INTO child VALUES (2, 'b')",
            "CREATE VIEW t AS SELECT * FROM below",
        ),
        ("ALTER TABLE child INHERIT below",),
        SHAPE,
        cursor=True,
    ),
}  # fmt: skip


# All cases stand in one database, their names numbered.
NAMES = re.compile(r"\b(fact_t|t|p|child|grandchild|below|other|moody|moods|mood|feelings|pair|span|f)\b")


def numbered(number: int, text: str) -> str:
    return NAMES.sub(rf"\g<1>_{number}", text)


@pytest.mark.rarely("16")
def test_values_that_change_without_a_write_are_read(pair_of_version: Pair, server: Postgres) -> None:
    pair = pair_of_version
    cases = {number: case for number, case in enumerate(CASES.values()) if server.version >= case.oldest}
    models = {
        f"fact_t_{number}": numbered(number, (BY_CURSOR if case.cursor else MODELS)["fact_t"])
        for number, case in cases.items()
    }
    schema = "\n".join(numbered(number, MODELS["schema"]) for number in cases)
    before = [numbered(number, sql) for number, case in cases.items() for sql in case.before]
    unchanged = {name: "changed rows" for number, name in enumerate(CASES) if number in cases}

    def reasons() -> dict[str, str]:
        tables = read_all(pair)
        for number in cases:
            equal(pair, f"t_{number}")
        return {name: tables[f"t_{number}"] for number, name in enumerate(CASES) if number in cases}

    pair.fresh(models | {"schema": schema}, *before)
    pair.run()
    assert reasons() == unchanged
    pair.do(*(numbered(number, sql) for number, case in cases.items() for sql in case.change))
    assert reasons() == {name: CASES[name].reason for name in unchanged}
    assert reasons() == unchanged


def test_a_detached_partition_is_detected(pair_of_version: Pair) -> None:
    pair_of_version.fresh(
        MODELS,
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    pair_of_version.run()
    pair_of_version.do("ALTER TABLE t DETACH PARTITION p")
    assert read(pair_of_version) == SHAPE
    assert pair_of_version.house.query("SELECT * FROM fact_t_current") == []
