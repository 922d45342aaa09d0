"""A snapshot shows one moment, and locked tables keep their rows until the batch is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pipeline.errors import SnapshotLost, SourceError
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice
from pipeline.source.read import read_rows
from tests.source.reading import arrow, carried
from tests.support import execute, value


def test_a_commit_after_the_snapshot_is_not_read(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (_, snapshot):
        execute(
            source_url, "INSERT INTO t VALUES (2)", "UPDATE t SET a = 10 WHERE a = 1", "CREATE TABLE u ()"
        )
        with snapshots.adopt(source_url, snapshot.name) as connection:
            table = describe(connection, "public", ["t"])["t"]
            (batch,) = read_rows(connection, "public", "t", table.columns, Slice())
    assert batch.to_pylist() == [{"a": 1}]


def test_a_snapshot_that_has_ended_is_lost(source_url: str) -> None:
    with snapshots.snapshot(source_url) as (_, snapshot):
        name = snapshot.name
    for ended in (name, "0000FFFF-00000001-1"):
        with (
            pytest.raises(SnapshotLost, match=f"snapshot {ended} has ended"),
            snapshots.adopt(source_url, ended),
        ):
            pass


def test_a_snapshot_has_the_identity_of_its_source(source_url: str) -> None:
    with snapshots.snapshot(source_url) as (_, one), snapshots.snapshot(source_url) as (_, two):
        assert one.identity == two.identity
        assert one.taken_at <= two.taken_at
        assert one.xmin <= one.xmax
    other = source_url.rsplit("/", 1)[0] + "/postgres"
    with snapshots.snapshot(other) as (_, elsewhere):
        assert elsewhere.identity != one.identity


def test_the_source_is_only_read(source_url: str) -> None:
    with (
        snapshots.snapshot(source_url) as (connection, _),
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("CREATE TABLE t ()")


PLAIN = ("CREATE TABLE t (i int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
REWRITES = ["TRUNCATE t", "VACUUM FULL t", "ALTER TABLE t ALTER i TYPE bigint"]
# Of a partition, and of a table under a view.
REWRITES_BELOW = [
    (
        (
            "CREATE TABLE t (i int) PARTITION BY HASH (i)",
            "CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            "INSERT INTO t VALUES (1)",
        ),
        "TRUNCATE p",
    ),
    (("CREATE TABLE below AS SELECT 1 AS i", "CREATE VIEW t AS SELECT * FROM below"), "TRUNCATE below"),
]


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_table_keeps_its_rows_while_a_batch_reads_it(source_url: str, rewrite: str) -> None:
    execute(source_url, "CREATE TABLE t (i int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["t"])["t"]
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(source_url, "SET lock_timeout = 50", rewrite)
        assert arrow(connection, table, Slice()).num_rows == 1


def test_a_session_that_waits_to_alter_a_table_is_not_blocked(
    source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader behind it would deadlock: that session waits for the holder of the snapshot, and so on."""
    monkeypatch.setenv("TOTESYS_TABLE_LOCK_TIMEOUT", "0.05")
    execute(source_url, "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    with ThreadPoolExecutor(1) as somebody:
        with snapshots.snapshot(source_url) as (connection, snapshot):
            table = describe(connection, "public", ["t"])["t"]
            altered = somebody.submit(
                execute, source_url, "SET lock_timeout = '20s'", "ALTER TABLE t ADD COLUMN j int"
            )
            while value(source_url, waiting) == 0:
                assert not altered.done()
            with (
                snapshots.adopt(source_url, snapshot.name) as reader,
                pytest.raises(SourceError, match=r"source: t: another session waits to alter.*run again"),
            ):
                arrow(reader, table, Slice())
        altered.result()
    assert carried(source_url, "t").column_names == ["i", "j"]


@pytest.mark.parametrize(("tables", "rewrite"), [*((PLAIN, each) for each in REWRITES), *REWRITES_BELOW])
def test_a_table_rewritten_since_the_snapshot_is_not_read(
    source_url: str, tables: tuple[str, ...], rewrite: str
) -> None:
    execute(source_url, *tables)
    with snapshots.snapshot(source_url) as (connection, _):
        execute(source_url, rewrite)
        with pytest.raises(
            SourceError, match="table t was emptied or rewritten while this run started; run again"
        ):
            describe(connection, "public", ["t"])


def test_a_table_whose_index_alone_is_new_is_read(source_url: str) -> None:
    execute(source_url, *PLAIN)
    with snapshots.snapshot(source_url) as (connection, _):
        execute(source_url, "REINDEX TABLE t")
        assert describe(connection, "public", ["t"]).keys() == {"t"}
