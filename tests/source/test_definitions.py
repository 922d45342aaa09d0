"""Values that change in the source although no row is written, and what does not matter to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from demo.postgres import Postgres
from pipeline.errors import SourceError
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.definition import Definition
from tests.bench import Bench
from tests.bench import bench as new_bench
from tests.support import database, execute, plan_batch, query, write_models
from tests.system import system_server

MODELS = {
    "fact_t": "-- key: id\nSELECT id, v::varchar AS v FROM t",
    "schema": "CREATE TABLE IF NOT EXISTS fact_t (id integer NOT NULL, v varchar);",
}
BY_CURSOR = MODELS | {"fact_t": "-- key: id\n-- cursor: t.id\nSELECT id, v::varchar AS v FROM t"}

SHAPE = "its partitions, inheriting tables or views have changed"
COLUMNS = "its columns have changed"
TYPES = "a type or collation of its columns has changed"
CODE = "the query of a view, or a function in it, has changed"
ANOTHER = "another table has this name now"


@dataclass(frozen=True)
class Case:
    """What a source holds, what changes in it without a row being written, and why it is read whole."""

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


@pytest.fixture(scope="module", params=[18, 16, "system"])
def server(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The newest, an older and this machine's own Postgres."""
    if request.param == "system":
        with system_server() as found:
            yield found
    else:
        yield servers(request.param)


@pytest.fixture(scope="module")
def shared(server: Postgres, postgres: Postgres) -> Iterator[Bench]:
    with new_bench(server, postgres) as made:
        yield made


def read(bench: Bench) -> str:
    """Take a batch and load it; returns the reason for which t was read as it was."""
    planned, manifest = plan_batch(bench.source_url, bench.house)
    if manifest:
        bench.house.bring(manifest)
    return planned.tables["t"].reason


def equal(bench: Bench) -> None:
    """The warehouse shows what plain SQL on the source says."""
    shown = bench.house.query("SELECT id, v FROM fact_t_current ORDER BY 1")
    assert shown == query(bench.source_url, "SELECT id, v::text FROM t ORDER BY 1")


@pytest.mark.parametrize("how", CASES)
def test_what_changes_without_a_row_being_written_is_read(shared: Bench, server: Postgres, how: str) -> None:
    case = CASES[how]
    if server.version < case.oldest:
        pytest.skip(f"Postgres {server.version} has no such thing")
    shared.fresh(BY_CURSOR if case.cursor else MODELS, *case.before)
    shared.run()
    equal(shared)
    assert read(shared) == "changed rows"
    shared.do(*case.change)
    assert read(shared) == case.reason
    equal(shared)
    assert read(shared) == "changed rows"


def test_a_partition_that_is_taken_away_is_noticed(shared: Bench) -> None:
    shared.fresh(
        MODELS,
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9)",
        "INSERT INTO t VALUES (1, 'a')",
    )
    shared.run()
    shared.do("ALTER TABLE t DETACH PARTITION p")
    assert read(shared) == SHAPE


# What does not matter


@pytest.fixture
def source_url(server: Postgres) -> Iterator[str]:
    with database(server, "source") as url:
        yield url


def definition(url: str, name: str = "t") -> Definition:
    with snapshots.snapshot(url) as (connection, _):
        return describe(connection, "public", [name])[name].definition


def test_what_leaves_rows_as_they_are_makes_no_other_definition(source_url: str) -> None:
    role = "reader_" + source_url.rsplit("_", 1)[1]
    execute(
        source_url,
        "CREATE TABLE other (i int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'x', w numeric)",
        "INSERT INTO t SELECT i FROM generate_series(1, 100) AS i",
        "ALTER TABLE t ADD COLUMN added int DEFAULT 7",
        f"CREATE ROLE {role}",
    )
    before = definition(source_url)
    for statement in (
        "INSERT INTO t VALUES (101)",
        "UPDATE t SET v = 'y'",
        "VACUUM t",
        "VACUUM FREEZE t",
        "VACUUM FULL t",
        "ANALYZE t",
        "CREATE INDEX ON t (v)",
        "CLUSTER t USING t_pkey",
        "REINDEX TABLE t",
        "ALTER TABLE t ALTER v SET DEFAULT 'z'",
        "ALTER TABLE t ALTER v SET STATISTICS 7",
        "ALTER TABLE t ALTER v SET STORAGE external",
        "ALTER TABLE t SET (fillfactor = 70)",
        "ALTER TABLE t ADD CHECK (id > 0)",
        "ALTER TABLE t ADD FOREIGN KEY (added) REFERENCES other NOT VALID",
        "COMMENT ON TABLE t IS 'noted'",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (true)",
        f"GRANT SELECT ON t TO {role}",
        f"ALTER TABLE t OWNER TO {role}",
        "CREATE STATISTICS s ON v, w FROM t",
        "TRUNCATE t",
    ):
        execute(source_url, statement)
        assert definition(source_url) == before, statement
    execute(source_url, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_a_partition_does_not_depend_on_its_siblings(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE parent (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE t PARTITION OF parent FOR VALUES FROM (0) TO (9)",
    )
    before = definition(source_url)
    execute(source_url, "CREATE TABLE more PARTITION OF parent FOR VALUES FROM (9) TO (99)")
    assert definition(source_url) == before
    assert definition(source_url, "parent") != before


def test_a_table_under_a_view_that_was_emptied_since_the_snapshot_is_noticed(source_url: str) -> None:
    execute(source_url, "CREATE TABLE below AS SELECT 1 AS i", "CREATE VIEW t AS SELECT * FROM below")
    with snapshots.snapshot(source_url) as (connection, _):
        execute(source_url, "TRUNCATE below")
        with pytest.raises(SourceError, match="table t was emptied"):
            describe(connection, "public", ["t"])


# Rows without a transaction


@pytest.fixture
def foreign(server: Postgres) -> Iterator[Path]:
    """A file that a foreign table can read, where the server has file_fdw."""
    with database(server, "try") as url:
        if not query(url, "SELECT FROM pg_available_extensions WHERE name = 'file_fdw'"):
            pytest.skip(f"this Postgres {server.version} comes without file_fdw")
    # Not below pytest's folders, which nobody else may enter.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "rows.csv"
        file.write_text("11,a\n12,b\n")
        file.chmod(0o644)
        yield file


def test_a_partition_that_is_a_foreign_table_is_read_whole_each_time(shared: Bench, foreign: Path) -> None:
    shared.fresh(
        MODELS,
        "DROP EXTENSION IF EXISTS file_fdw CASCADE",
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9)",
        "CREATE FOREIGN TABLE f PARTITION OF t FOR VALUES FROM (10) TO (99)"
        f" SERVER files OPTIONS (filename '{foreign}', format 'csv')",
        "INSERT INTO t VALUES (1, 'x')",
    )
    shared.run()
    equal(shared)
    foreign.write_text("11,a\n12,c\n13,d\n")
    assert read(shared) == "no xmin and no cursor column"
    equal(shared)
    shared.do("DROP EXTENSION file_fdw CASCADE")


def test_a_table_with_a_foreign_child_is_read_whole_each_time(shared: Bench, foreign: Path) -> None:
    shared.fresh(
        MODELS,
        "DROP EXTENSION IF EXISTS file_fdw CASCADE",
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE TABLE t (id int, v text)",
        f"CREATE FOREIGN TABLE f () INHERITS (t) SERVER files OPTIONS (filename '{foreign}', format 'csv')",
        "INSERT INTO t VALUES (1, 'x')",
    )
    shared.run()
    foreign.write_text("11,a\n12,c\n13,d\n")
    assert read(shared) == "no xmin and no cursor column"
    equal(shared)
    shared.do("DROP EXTENSION file_fdw CASCADE")


def test_keys_that_are_equal_though_they_are_spelled_otherwise_are_described(source_url: str) -> None:
    """So that whoever compares them can do so as Postgres does."""
    known = {name for (name,) in query(source_url, "SELECT name FROM pg_available_extensions")}
    collations = query(source_url, "SELECT FROM pg_collation WHERE collprovider = 'i'")
    if "citext" not in known or not collations:
        pytest.skip("this Postgres comes without citext or ICU")
    execute(
        source_url,
        "CREATE EXTENSION citext",
        "CREATE DOMAIN mail AS citext",
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        'CREATE TABLE t (a citext, b mail, c text COLLATE loose, d text COLLATE "C", e int)',
    )
    with snapshots.snapshot(source_url) as (connection, _):
        columns = describe(connection, "public", ["t"])["t"].columns
    assert {column.name: (column.type, column.equality) for column in columns} == {
        "a": ("citext", "case-insensitive"),
        "b": ("citext", "case-insensitive"),
        "c": ("text", "collation"),
        "d": ("text", "exact"),
        "e": ("integer", "exact"),
    }


def test_a_model_reads_the_columns_that_the_role_has_rights_on(shared: Bench) -> None:
    """One that needs another column is refused before anything is read."""
    shared.fresh(
        MODELS, "CREATE TABLE t (id int PRIMARY KEY, v text, w numeric)", "INSERT INTO t VALUES (1, 'a', 2)"
    )
    role = "reader_" + shared.source_url.rsplit("_", 1)[1]
    reader = f"postgresql://{role}:x@{shared.source_url.partition('@')[2]}"
    shared.do(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT (id, v) ON t TO {role}",
    )
    try:
        for reason in ("first batch", "its role may not read xmin, ctid and tableoid, and no cursor column"):
            planned, manifest = plan_batch(reader, shared.house)
            assert planned.tables["t"].reason == reason
            assert manifest is not None
            shared.house.bring(manifest)
            equal(shared)
            shared.do("UPDATE t SET v = 'b'")
        needing = "-- key: id\nSELECT id, w::varchar AS v FROM t"
        write_models(shared.house.folder, {"fact_t": needing})
        with pytest.raises(SourceError, match=r"fact_t\.sql needs a column .* grant SELECT .* of t\.w$"):
            plan_batch(reader, shared.house)
        shared.do(f"GRANT SELECT (w, xmin, ctid, tableoid) ON t TO {role}")
        planned, manifest = plan_batch(reader, shared.house)
        assert planned.tables["t"].table.tracked
    finally:
        shared.do(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_the_first_batch_after_an_upgrade_reads_whole(shared: Bench) -> None:
    """A manifest of an older version says nothing of definitions."""
    shared.fresh(MODELS, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
    _, manifest = plan_batch(shared.source_url, shared.house)
    assert manifest is not None
    tables = {name: table.model_copy(update={"definition": None}) for name, table in manifest.tables.items()}
    older = manifest.model_copy(update={"tables": tables, "continuity": None})
    written = older.model_dump(mode="json", exclude={"continuity": True, "tables": {"t": {"definition"}}})
    # Format 2 had no digest of its own text.
    Path(shared.house.raw.root, manifest.path).write_text(json.dumps(written | {"format": 2}))
    shared.house.bring(older)
    assert read(shared) == "its definition was not stored before"
    assert read(shared) == "changed rows"
