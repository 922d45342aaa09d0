"""Which changes change the digests of a definition, and which do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.definition import Definition
from tests.house import plan_batch
from tests.lake.earlier_formats import as_format_2
from tests.pair import Pair
from tests.source.definitions import MODELS, read
from tests.support import database, execute, query


@pytest.fixture
def source_url(server: Postgres) -> Iterator[str]:
    with database(server, "source") as url:
        yield url


def definition(url: str, name: str = "t") -> Definition:
    with snapshots.snapshot(url) as (connection, _):
        return describe(connection, "public", [name])[name].definition


def test_a_change_that_keeps_values_keeps_the_definition(source_url: str) -> None:
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


def test_the_equality_of_keys_is_described(source_url: str) -> None:
    """So that comparisons use the equality of Postgres."""
    extensions = {name for (name,) in query(source_url, "SELECT name FROM pg_available_extensions")}
    collations = query(source_url, "SELECT FROM pg_collation WHERE collprovider = 'i'")
    if "citext" not in extensions or not collations:
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


def test_the_first_batch_after_an_upgrade_reads_in_full(pair_of_version: Pair) -> None:
    """Manifests of earlier versions have no definitions."""
    pair_of_version.fresh(
        MODELS, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')"
    )
    _, manifest = plan_batch(pair_of_version.source_url, pair_of_version.house)
    assert manifest is not None
    tables = {name: table.model_copy(update={"definition": None}) for name, table in manifest.tables.items()}
    older = manifest.model_copy(update={"tables": tables, "continuity": None})
    written = older.model_dump(mode="json", exclude={"continuity": True, "tables": {"t": {"definition"}}})
    Path(pair_of_version.house.raw.root, manifest.path).write_text(json.dumps(as_format_2(written)))
    pair_of_version.house.bring(older)
    assert read(pair_of_version) == "its definition was not stored before"
    assert read(pair_of_version) == "changed rows"
