"""Every committed change is in the next slice."""

from __future__ import annotations

import random

import psycopg
import pytest

from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from pipeline.source.changes import Slice, probe
from pipeline.source.cursors import Cursor
from pipeline.source.read import read_rows
from tests.source.reading import carried
from tests.support import execute


class Schedule:
    """Concurrent transactions on one table, some of which commit late, and the committed rows."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.random = random.Random(seed)
        execute(url, "CREATE TABLE t (id int PRIMARY KEY, v int)")
        execute(url, "INSERT INTO t SELECT i, 0 FROM generate_series(1, 40) AS i")
        self.open: list[psycopg.Connection] = []
        self.held: dict[psycopg.Connection, set[int]] = {}
        self.next_id = 100

    def step(self) -> None:
        """Begin, write, nest, commit or roll back, whatever comes."""
        if not self.open or (len(self.open) < 4 and self.random.random() < 0.3):
            connection = psycopg.connect(self.url)
            connection.execute("SELECT 1")
            self.open.append(connection)
            self.held[connection] = set()
            return
        connection = self.random.choice(self.open)
        action = self.random.choice(["write", "write", "write", "nested", "undone", "commit", "rollback"])
        if action in {"commit", "rollback"}:
            self.finish(connection, action)
        elif action == "write":
            self.write(connection)
        else:
            connection.execute("SAVEPOINT s")
            self.write(connection)
            connection.execute("ROLLBACK TO s" if action == "undone" else "RELEASE s")

    def write(self, connection: psycopg.Connection) -> None:
        """Insert, change or delete a row that no other open transaction holds."""
        kind = self.random.choice(["insert", "update", "update", "delete"])
        if kind == "insert":
            self.next_id += 1
            connection.execute("INSERT INTO t VALUES (%s, 0)", [self.next_id])
            return
        taken = set().union(*(ids for other, ids in self.held.items() if other is not connection))
        row = self.random.choice([i for i in range(1, 41) if i not in taken])
        self.held[connection].add(row)
        connection.execute(
            "UPDATE t SET v = v + 1 WHERE id = %s" if kind == "update" else "DELETE FROM t WHERE id = %s",
            [row],
        )

    def finish(self, connection: psycopg.Connection, ending: str) -> None:
        """End a transaction one way or the other."""
        self.open.remove(connection)
        del self.held[connection]
        getattr(connection, ending)()
        connection.close()

    def finish_all(self) -> None:
        """Commit whatever is open."""
        for connection in list(self.open):
            self.finish(connection, "commit")


@pytest.mark.parametrize("source_version", [16, 18])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.rarely("1-16", "2-16", "3-16")
def test_every_committed_change_is_in_the_next_slice(source_url: str, seed: int) -> None:
    schedule = Schedule(source_url, seed)
    latest: dict[int, int] = {}
    since: int | None = None
    rows_read = total_present = 0
    try:
        for _ in range(25):
            with snapshots.snapshot(source_url) as (connection, snapshot):
                columns = describe(connection, "public", ["t"])["t"].columns
                slice_ = Slice(since=since)
                read = [
                    (row["id"], row["v"])
                    for batch in read_rows(connection, "public", "t", columns, slice_)
                    for row in batch.to_pylist()
                ]
                present = {
                    int(str(i)): int(str(v)) for i, v in connection.execute("SELECT id, v FROM public.t")
                }
                table = describe(connection, "public", ["t"])["t"]
                counts = probe(connection, "public", [(table, slice_)])["t"]
                assert (counts.total, counts.rows) == (len(present), len(read))
            latest.update(read)
            assert {i: v for i, v in latest.items() if i in present} == present
            rows_read += len(read)
            total_present += len(present)
            since = snapshot.xmin
            for _ in range(schedule.random.randrange(12)):
                schedule.step()
    finally:
        schedule.finish_all()
    assert rows_read < total_present, "a slice holds what changed, not the whole table"


def test_a_late_commit_is_seen_by_the_next_slice_only(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)")
    with psycopg.connect(source_url) as late:
        late.execute("SAVEPOINT s")
        late.execute("INSERT INTO t VALUES (1)")
        late.execute("RELEASE s")
        execute(source_url, "INSERT INTO t VALUES (2)")
        with snapshots.snapshot(source_url) as (_, before):
            pass
        assert carried(source_url, "t").num_rows == 1
        late.commit()
    assert {row["id"] for row in carried(source_url, "t", Slice(since=before.xmin)).to_pylist()} == {1, 2}


def test_nothing_changed_means_nothing_read(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (_, before):
        pass
    assert carried(source_url, "t", Slice(since=before.xmin)).num_rows == 0


def test_a_transaction_id_beyond_32_bits_is_compared_in_its_epoch(source_url: str) -> None:
    execute(source_url, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    with snapshots.snapshot(source_url) as (_, before):
        pass
    execute(source_url, "INSERT INTO t VALUES (2)")
    later_epoch = Slice(since=before.xmin + 3 * 2**32)
    assert carried(source_url, "t", later_epoch).to_pylist() == [{"id": 2}]


def test_a_view_is_read_in_full_or_by_its_cursor(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE t (id int, changed_at timestamptz)",
        "INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02 00:30'), (3, '2024-01-03'), (4, NULL)",
        "CREATE VIEW v AS SELECT * FROM t",
    )
    with snapshots.snapshot(source_url) as (connection, _):
        table = describe(connection, "public", ["v"])["v"]
    assert (table.has_xmin, table.has_pages, table.key) == (False, False, ())
    assert carried(source_url, "v").num_rows == 4
    cursor = Cursor(column="changed_at", overlap="1 hour")
    slice_ = Slice(cursor=cursor, reached="2024-01-02 01:00:00+00")
    assert {row["id"] for row in carried(source_url, "v", slice_).to_pylist()} == {2, 3, 4}


def test_a_partitioned_table_is_one_table(source_url: str) -> None:
    execute(
        source_url,
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
        "INSERT INTO t VALUES (1), (11)",
    )
    with snapshots.snapshot(source_url) as (connection, before):
        table = describe(connection, "public", ["t"])["t"]
    assert (table.has_xmin, table.has_pages, table.key) == (True, False, ("id",))
    execute(source_url, "INSERT INTO t VALUES (12)")
    assert carried(source_url, "t").num_rows == 3
    assert carried(source_url, "t", Slice(since=before.xmin)).to_pylist() == [{"id": 12}]


@pytest.mark.parametrize(
    "swap",
    [
        "ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old); INSERT INTO t SELECT * FROM old",
        """
        CREATE TABLE p (LIKE t) PARTITION BY RANGE (id);
        ALTER TABLE t RENAME TO leaf;
        ALTER TABLE p RENAME TO t;
        ALTER TABLE t ATTACH PARTITION leaf DEFAULT;
        CREATE TABLE other PARTITION OF t FOR VALUES FROM (100) TO (200)
        """,
    ],
    ids=["renamed", "partition attached"],
)
def test_another_heap_under_the_same_name_is_detected(source_url: str, swap: str) -> None:
    execute(source_url, "CREATE TABLE t (id int NOT NULL)")

    def heaps() -> str:
        with snapshots.snapshot(source_url) as (connection, _):
            return describe(connection, "public", ["t"])["t"].heaps

    before = heaps()
    execute(source_url, "INSERT INTO t VALUES (1)", "VACUUM FULL t", "TRUNCATE t")
    assert heaps() == before
    execute(source_url, swap)
    assert heaps() != before


def test_a_probe_of_no_tables_runs_no_query(source_url: str) -> None:
    with snapshots.snapshot(source_url) as (connection, _):
        assert probe(connection, "public", []) == {}
