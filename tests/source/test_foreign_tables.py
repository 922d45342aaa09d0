"""Relations that contain foreign tables are read in full, and models read the columns of their role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from demo.postgres import Postgres
from pipeline.errors import SourceError
from tests.house import plan_batch
from tests.pair import Pair
from tests.source.definitions import MODELS, equal, read
from tests.support import database, query, write_models


@pytest.fixture
def foreign(server: Postgres) -> Iterator[Path]:
    """A file that a foreign table can read, where the server has file_fdw."""
    with database(server, "try") as url:
        if not query(url, "SELECT FROM pg_available_extensions WHERE name = 'file_fdw'"):
            pytest.skip(f"this Postgres {server.version} comes without file_fdw")
    # Not below pytest's folders, which other users cannot read.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "rows.csv"
        file.write_text("11,a\n12,b\n")
        file.chmod(0o644)
        yield file


@pytest.mark.parametrize(
    "tables",
    [
        (
            "CREATE TABLE t (id int, v text) PARTITION BY RANGE (id)",
            "CREATE TABLE p PARTITION OF t FOR VALUES FROM (0) TO (9)",
            "CREATE FOREIGN TABLE f PARTITION OF t FOR VALUES FROM (10) TO (99)",
        ),
        ("CREATE TABLE t (id int, v text)", "CREATE FOREIGN TABLE f () INHERITS (t)"),
    ],
    ids=["partition", "child"],
)
def test_a_table_with_rows_in_a_foreign_table_is_read_in_full_each_time(
    pair_of_version: Pair, foreign: Path, tables: tuple[str, ...]
) -> None:
    *others, last = tables
    pair_of_version.fresh(
        MODELS,
        "DROP EXTENSION IF EXISTS file_fdw CASCADE",
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        *others,
        f"{last} SERVER files OPTIONS (filename '{foreign}', format 'csv')",
        "INSERT INTO t VALUES (1, 'x')",
    )
    pair_of_version.run()
    equal(pair_of_version)
    foreign.write_text("11,a\n12,c\n13,d\n")
    assert read(pair_of_version) == "no xmin and no cursor column"
    equal(pair_of_version)
    pair_of_version.do("DROP EXTENSION file_fdw CASCADE")


def test_what_a_foreign_server_refuses_is_not_blamed_on_the_source(
    pair_of_version: Pair, server: Postgres
) -> None:
    pair, role = pair_of_version, f"far_{pair_of_version.source_url.rsplit('_', 1)[1]}"
    pair.fresh(MODELS)
    if not pair.source("SELECT FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip(f"this Postgres {server.version} comes without postgres_fdw")
    place = f"host '127.0.0.1', port '{server.port}', dbname '{pair.source_url.rpartition('/')[2]}'"
    pair.do(
        "CREATE TABLE far (id int, v text)",
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        "CREATE EXTENSION postgres_fdw",
        f"CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({place})",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER there OPTIONS (user '{role}', password 'x')",
        "CREATE FOREIGN TABLE t (id int, v text) SERVER there OPTIONS (table_name 'far')",
    )
    try:
        with pytest.raises(SourceError, match=r"permission denied .*; a foreign server of the source says"):
            pair.run()
        pair.do(f"GRANT USAGE ON SCHEMA public TO {role}", f"GRANT SELECT ON far TO {role}")
        pair.run()
        pair.do("ALTER TABLE far RENAME TO farther")
        with pytest.raises(SourceError, match=r'"public.far" does not exist; a foreign server of the source'):
            pair.run()
    finally:
        pair.do("DROP EXTENSION postgres_fdw CASCADE", f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_model_reads_the_columns_that_its_role_may_read(pair_of_version: Pair) -> None:
    """A model that needs another column is refused before anything is read."""
    pair_of_version.fresh(
        MODELS, "CREATE TABLE t (id int PRIMARY KEY, v text, w numeric)", "INSERT INTO t VALUES (1, 'a', 2)"
    )
    role = "reader_" + pair_of_version.source_url.rsplit("_", 1)[1]
    reader = f"postgresql://{role}:x@{pair_of_version.source_url.partition('@')[2]}"
    pair_of_version.do(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT (id, v) ON t TO {role}",
    )
    try:
        for reason in ("first batch", "its role may not read xmin, ctid and tableoid, and no cursor column"):
            planned, manifest = plan_batch(reader, pair_of_version.house)
            assert planned.tables["t"].reason == reason
            assert manifest is not None
            pair_of_version.house.bring(manifest)
            equal(pair_of_version)
            pair_of_version.do("UPDATE t SET v = 'b'")
        needing = "-- key: id\nSELECT id, w::varchar AS v FROM t"
        write_models(pair_of_version.house.folder, {"fact_t": needing})
        with pytest.raises(SourceError, match=r"fact_t\.sql needs a column .* grant SELECT .* of t\.w$"):
            plan_batch(reader, pair_of_version.house)
        pair_of_version.do(f"GRANT SELECT (w, xmin, ctid, tableoid) ON t TO {role}")
        for reason in ("the columns that may be read have changed", "changed rows"):
            planned, manifest = plan_batch(reader, pair_of_version.house)
            assert planned.tables["t"].table.tracked
            assert planned.tables["t"].reason == reason
            if manifest:
                pair_of_version.house.bring(manifest)
    finally:
        pair_of_version.do(f"DROP OWNED BY {role}", f"DROP ROLE {role}")
