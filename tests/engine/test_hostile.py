"""Hostile names, values and keys are data like any other: harmless, and they arrive exactly."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from psycopg import sql

from demo.postgres import Postgres
from pipeline.errors import PipelineError
from pipeline.lake.buckets import Bucket, folder
from tests.bench import Bench
from tests.bench import bench as new_bench
from tests.support import KEY, query, s3_filesystem, value

NAMES = [
    'a"b',
    "it's",
    "x; DROP TABLE canary; --",
    'x"; DROP TABLE canary; --',
    "x'); DROP TABLE canary; --",
    "/* x */",
    "100%",
    "%s %(x)s %d",
    "{} {0} {table} {{}}",
    "$1 $body$ ${HOME} $(id) `id`",
    " lead and trail ",
    "naïve Ω 日本 🧾",
    "line\nbreak\ttab",
    "back\\slash",
    "UPPER lower",
    "select",
    "recorded at",
    "*",
    "a.b",
    "?",
    "-",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "x" * 63,
    "é" * 31,
]
# A model's name is its file's, so that much it cannot be; and the names of its views have to fit.
TABLES = [name for name in NAMES if len(name.encode()) <= 50 and "/" not in name]
PATHS = ["..", "../../outside", "/etc", "a/b", "_manifests", "_resumed", "_results", "batch=1", "a%2Fb%20c"]
VALUES = [
    "'; DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "'); DROP TABLE canary; --",
    "$$; DROP TABLE canary; $$",
    "Robert'); SELECT pg_sleep(60); --",
    'a,b;c\td|e"f""g',
    "\\.",
    "\\N",
    "\\x41\\u0041\\",
    "line\nbreak\r\nand\rmore",
    '{"a": "b", "deleted": true}',
    '["\\u0000", null]',
    "\\u0000",
    "{{ 7 * 7 }} {% raw %} {0} {table} {{}}",
    "%s %(x)s %d %%",
    "${HOME} $(id) `id` $1 $body$",
    "<script>alert(1)</script> | a | b | [x](javascript:y)",
    "=cmd|' /C calc'!A0",
    "read_csv('/etc/passwd')",
    "\x1b[31mred\x07\x08",
    "\u202eright to left\u2028\u0085\ufeff\u200b",
    "NULL",
    "null",
    "",
    " ",
    "\x01",
    "naïve 🧾👩\u200d👩\u200d👧 日本",
    "x" * 200_000,
]


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Iterator[Bench]:
    with new_bench(postgres) as made:
        yield made


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def insert(url: str, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows, their values being bound."""
    places = sql.SQL(", ").join([sql.Placeholder()] * len(rows[0]))
    statement = sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table.replace("%", "%%")), places)
    with psycopg.connect(url) as connection:
        connection.cursor().executemany(statement, rows)


def all_rows(url: str, table: str, order: str = "1") -> list[tuple[Any, ...]]:
    return query(url, f"SELECT * FROM {quoted(table)} ORDER BY {order}")


# Names


def test_columns_of_any_name(shared: Bench) -> None:
    """In a fact and a dimension, with a key of such a name, set aside, changed, deleted and restored."""
    columns = ", ".join(f"{quoted(name)} text" for name in NAMES)
    selected = ", ".join(map(quoted, NAMES))
    key = quoted(NAMES[3])
    required = columns.replace(f"{key} text", f"{key} text NOT NULL")
    shared.fresh(
        {
            "dim_odd": f"-- key: id\nSELECT id, {selected} FROM odd",
            "fact_odd": f"-- key: id\nSELECT id, {selected} FROM odd",
            "fact_join": f"-- key: id\nSELECT o.id, o.{key} FROM odd AS o JOIN odd AS p USING (id)",
            "schema": f"""
                CREATE TABLE dim_odd (id int PRIMARY KEY, {columns});
                CREATE TABLE fact_odd (id int NOT NULL, {required});
                CREATE TABLE fact_join (id int NOT NULL REFERENCES dim_odd, {key} text);
                CREATE TABLE canary ();
            """,
        },
        f"CREATE TABLE odd (id int PRIMARY KEY, {columns})",
        "CREATE TABLE canary ()",
    )
    good = tuple(f"value of {name}" for name in NAMES)
    insert(shared.source_url, "odd", [(1, *good), (2, *good), (3, *([None] * len(NAMES)))])
    shared.run()
    assert all_rows(shared.house.url, "dim_odd") == all_rows(shared.source_url, "odd")
    assert all_rows(shared.house.url, "fact_odd_current") == [(1, *good), (2, *good)]
    assert shared.house.rejected() == [("fact_odd", {"id": "3"}, f"{NAMES[3]} is missing (NULL)")]
    ((kept,),) = shared.house.query('SELECT "row" FROM etl.rejected')
    assert set(kept) == {"id", *NAMES}
    shared.do(f"UPDATE odd SET {key} = 'other' WHERE id > 1")
    shared.run()
    shared.do("DELETE FROM odd WHERE id = 1")
    shared.run(reconcile=True)
    assert [row[0] for row in all_rows(shared.house.url, "fact_odd_current")] == [2, 3]
    assert value(shared.house.url, "SELECT count(*) FROM fact_odd_history") == 5
    assert value(shared.house.url, "SELECT count(*) FROM dim_odd_history") == 5
    assert shared.house.query(f"SELECT id, {key} FROM fact_join_as_of('infinity') ORDER BY 1") == [
        (2, "other"),
        (3, "other"),
    ]
    assert value(shared.source_url, "SELECT to_regclass('canary') IS NOT NULL")
    assert value(shared.house.url, "SELECT to_regclass('canary') IS NOT NULL")


def test_tables_of_any_name(shared: Bench) -> None:
    """Each in the source and, as a fact with its key and reference, in the warehouse."""
    known = "dim_" + TABLES[3]
    models = {f"fact_{name}": f"-- key: id\nSELECT id, v FROM {quoted(name)}" for name in TABLES}
    made = "".join(
        f"CREATE TABLE {quoted(f'fact_{name}')} (id int NOT NULL REFERENCES {quoted(known)}, v text);\n"
        for name in TABLES
    )
    shared.fresh(
        models
        | {
            known: f"SELECT id FROM {quoted(TABLES[0])}",
            "schema": f"CREATE TABLE canary (); CREATE TABLE {quoted(known)} (id int PRIMARY KEY);\n{made}",
        },
        "CREATE TABLE canary ()",
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, v text)" for name in TABLES),
    )
    for name in TABLES:
        insert(shared.source_url, name, [(1, name)])
    shared.run()
    for name in TABLES[1:]:
        insert(shared.source_url, name, [(2, name)])
    shared.run()
    assert len(shared.house.rejected()) == len(TABLES) - 1
    assert shared.house.rejected()[0][2] == f"id is not in {known}"
    insert(shared.source_url, TABLES[0], [(2, TABLES[0])])
    shared.run()
    assert shared.house.rejected() == []
    for name in TABLES:
        assert all_rows(shared.house.url, f"fact_{name}_current") == [(1, name), (2, name)]
        assert len(all_rows(shared.house.url, f"fact_{name}_history")) == 2
    assert value(shared.source_url, "SELECT to_regclass('canary') IS NOT NULL")
    assert value(shared.house.url, "SELECT to_regclass('canary') IS NOT NULL")


@pytest.mark.parametrize("kind", ["fact", "dimension"])
@pytest.mark.parametrize("length", [55, 56, 63])
def test_a_name_that_leaves_no_room_for_its_views_is_refused(shared: Bench, kind: str, length: int) -> None:
    name = "x" * length
    shared.fresh(
        {
            name: f"-- kind: {kind}\n-- key: id\nSELECT id FROM t",
            "schema": f"CREATE TABLE {name} (id int NOT NULL)",
        },
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1)",
    )
    if length == 55:
        shared.run()
        assert len(all_rows(shared.house.url, f"{name}_history")) == 1
        return
    with pytest.raises(PipelineError, match=name) as caught:
        shared.run()
    assert "\n" not in str(caught.value)
    assert shared.house.query("SELECT FROM pg_tables WHERE schemaname IN ('public', 'etl')") == []


# Values


def test_text_of_any_kind_arrives_exactly(shared: Bench) -> None:
    """As a fact's value and key, as a dimension's, and through a join, by way of every path of the load."""
    shared.fresh(
        {
            "dim_word": "-- key: word\nSELECT word, note FROM words",
            "fact_word": "-- key: word\nSELECT word, note FROM words",
            "fact_join": "-- key: word\nSELECT a.word, b.note FROM words AS a JOIN words AS b USING (word)",
            "schema": """
                CREATE TABLE dim_word (word text NOT NULL, note text);
                CREATE TABLE fact_word (word text NOT NULL, note text);
                CREATE TABLE fact_join (word varchar NOT NULL, note varchar);
                CREATE TABLE canary ();
            """,
        },
        "CREATE TABLE words (word text PRIMARY KEY, note text)",
        "CREATE TABLE canary ()",
    )
    # What fills an empty table goes another way than what is merged.
    words = [word[:2000] for word in VALUES]
    half = len(VALUES) // 2
    for some in (slice(0, half), slice(half, None)):
        insert(shared.source_url, "words", list(zip(words[some], VALUES[some], strict=True)))
        shared.run()
    expected = sorted(zip(words, VALUES, strict=True))
    for table in ("dim_word", "fact_word_current", "fact_join_current"):
        assert sorted(all_rows(shared.house.url, table)) == expected, table
    shared.do("UPDATE words SET note = word || note || '!'")
    shared.run()
    for table in ("dim_word", "fact_word_current", "fact_join_current"):
        assert sorted(all_rows(shared.house.url, table)) == [
            (word, f"{word}{note}!") for word, note in expected
        ]
    history = shared.house.query("SELECT word, note FROM dim_word_history WHERE valid_to IS NOT NULL")
    assert sorted(history) == expected
    shared.do("DELETE FROM words")
    shared.run(reconcile=True)
    assert value(shared.house.url, "SELECT count(*) FROM fact_word WHERE deleted") == len(VALUES)
    assert value(shared.house.url, "SELECT to_regclass('canary') IS NOT NULL")


def test_text_of_any_kind_may_be_set_aside_and_accepted(shared: Bench) -> None:
    """It stands in the reason and in the row, as it is."""
    shared.fresh(
        {
            "dim_word": "SELECT word FROM known",
            "fact_word": "-- key: id\nSELECT id, word, day, note FROM words",
            "schema": """
                CREATE TABLE dim_word (word text PRIMARY KEY);
                CREATE TABLE fact_word (id int NOT NULL, word text REFERENCES dim_word, day date, note text);
            """,
        },
        "CREATE TABLE known (word text PRIMARY KEY)",
        "CREATE TABLE words (id int PRIMARY KEY, word text, day text, note text)",
    )
    words = [word[:2000] for word in VALUES]
    waiting = [(place, word, None, word) for place, word in enumerate(words)]
    unfit = [(place, None, word, word) for place, word in enumerate(words, 100)]
    fine = (999, None, None, "a table that loses all its rows fails")
    insert(shared.source_url, "words", [*waiting, *unfit, fine])
    shared.run()
    found = shared.house.query("SELECT (key ->> 'id')::int, reason, \"row\" FROM etl.rejected")
    aside = {place: (reason, row) for place, reason, row in found}
    assert len(aside) == 2 * len(words)
    for place, word in enumerate(words):
        assert aside[place][0] == "word is not in dim_word"
        assert (aside[place][1]["word"], aside[place][1]["note"]) == (word, word)
        assert aside[100 + place][0] == "day does not fit date"
        assert (aside[100 + place][1]["day"], aside[100 + place][1]["note"]) == (word, word)
    insert(shared.source_url, "known", [(word,) for word in words])
    shared.do("UPDATE words SET day = NULL WHERE id >= 100")
    shared.run()
    assert shared.house.rejected() == []
    assert shared.house.query("SELECT id, word, note FROM fact_word ORDER BY 1") == [
        (place, word, note)
        for place, word, _, note in [*waiting, *((i, None, None, w) for i, _, w, _ in unfit), fine]
    ]


# Keys of objects


@pytest.fixture
def bucket_of(request: pytest.FixtureRequest, s3_endpoint: str, tmp_path: Path) -> Iterator[Any]:
    """A function that makes a bucket below a prefix, and one that lists all that is in it and around it."""
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
    name = f"hostile-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)

    def make(kind: str, prefix: str) -> tuple[Bucket, Callable[[], list[str]]]:
        if kind == "folder":
            around = tmp_path / "around"
            around.mkdir()
            files = lambda: [str(p.relative_to(around)) for p in around.rglob("*") if p.is_file()]  # noqa: E731
            return folder(str(around / prefix)), files
        pages = s3.get_paginator("list_objects_v2")
        return Bucket(s3_filesystem(s3_endpoint), f"{name}/{prefix}", f"s3://{name}/{prefix}"), lambda: [
            found["Key"] for page in pages.paginate(Bucket=name) for found in page.get("Contents", [])
        ]

    yield make
    s3.close()


PREFIXES = ["a b", "a+b=c&d", "%20", "x'y;z", "{0}{{}}", "naïve 🧾", "100%s", "a?b#c", "*", "batch=1"]


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_objects_lie_below_the_prefix_whatever_tables_are_called(
    shared: Bench, bucket_of: Any, kind: str
) -> None:
    """Neither a table nor a prefix leads out of the bucket's place, or into another table's."""
    names = PATHS + ([name for name in NAMES if name != "*"] if kind == "folder" else [])
    models = {
        f"fact_{place}": f"-- key: id\nSELECT id, v FROM {quoted(name)}" for place, name in enumerate(names)
    }
    joins = {
        f"fact_join_{place}": f"-- key: id\nSELECT id, a.v FROM {quoted(name)} AS a JOIN o USING (id)"
        for place, name in enumerate(PATHS)
    }
    made = "".join(f"CREATE TABLE {name} (id int NOT NULL, v text);" for name in models | joins)
    shared.fresh(
        models | joins | {"schema": made},
        "CREATE TABLE o (id int PRIMARY KEY)",
        "INSERT INTO o VALUES (1), (2)",
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, v text)" for name in names),
    )
    prefix = "some/" + "/".join(PREFIXES)
    shared.house.raw, around = bucket_of(kind, prefix)
    for number in (1, 2):
        for name in names:
            insert(shared.source_url, name, [(number, name)])
        shared.run()
    for place, name in enumerate(names):
        for table in {f"fact_{place}", f"fact_join_{place}"} & (models | joins).keys():
            assert [row[:2] for row in all_rows(shared.house.url, table)] == [(1, name), (2, name)]
    objects = around()
    assert len(objects) >= 2 * len(names)
    assert [key for key in objects if not key.startswith(f"{prefix}/")] == []


# What the engine itself calls its relations and columns, and names that DuckDB folds.
OURS = [
    "order", "Order", "ORDER", "iso_4217", "written", "repeated", "rows_now", "result_before", "computed",
    "present", "before", "gone",
]  # fmt: skip
COLUMNS = ["k0", "fits_the_contract", "kept", "later", "moment", "order"]


def test_tables_and_columns_may_be_called_as_ours_are(shared: Bench) -> None:
    """Row by row, and as a whole through a CTE of the table's own name."""
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    typed = ", ".join(f'"{name}" int' for name in COLUMNS)
    row = "-- key: id\nSELECT id, {columns} FROM {name}"
    whole = (
        "WITH {name} AS (SELECT * FROM {name})"
        " SELECT id, {columns} FROM {name} AS t JOIN {name} AS u USING (id)"
    )
    listed = ", ".join(f't."{name}"' for name in COLUMNS)
    models: dict[str, str] = {}
    for place, name in enumerate(OURS):
        models[f"fact_{place}"] = row.format(columns=columns, name=quoted(name))
        models[f"dim_{place}"] = whole.format(columns=listed, name=quoted(name))
    made = "".join(f"CREATE TABLE {name} (id int PRIMARY KEY, {typed});" for name in models if name[0] == "d")
    made += "".join(f"CREATE TABLE {name} (id int, {typed});" for name in models if name[0] == "f")
    zeros = ", ".join("0" for _ in COLUMNS[1:])
    shared.fresh(
        models | {"schema": made},
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, {typed})" for name in OURS),
        *(f"INSERT INTO {quoted(name)} VALUES (1, {n}, {zeros})" for n, name in enumerate(OURS)),
    )
    shared.run()
    shared.do(*(f"INSERT INTO {quoted(name)} VALUES (2, {n}, {zeros})" for n, name in enumerate(OURS)))
    shared.run()
    shared.do(*(f"DELETE FROM {quoted(name)} WHERE id = 1" for name in OURS))
    shared.run()
    for place in range(len(OURS)):
        assert shared.house.query(f"SELECT id, k0 FROM fact_{place}_current") == [(2, place)]
        assert shared.house.query(f"SELECT id, k0 FROM dim_{place} ORDER BY 1") == [(1, place), (2, place)]
    assert shared.run() is None
