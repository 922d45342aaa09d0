"""Tables without a changed block are not scanned, and never differ from the last batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest import mock

import psycopg
import pytest

from demo.postgres import Postgres
from pipeline.source import wal_summaries
from pipeline.source.wal_summaries import Unchanged
from tests.house import plan_batch
from tests.pair import pair
from tests.servers import running_server
from tests.source.both_ways import both_ways
from tests.source.server import MODELS, SOURCE, equal
from tests.source.summarized import (
    CREATE,
    NAMES,
    Watched,
    answers,
    crash,
    stopped_summarizer,
    wait_for_summary,
    wait_until,
)
from tests.support import database, execute

# The seed of this run's random writers; WAL_SUMMARIES_SEED=7 repeats those of a seed.
_FRESH = int(os.environ.get("WAL_SUMMARIES_SEED", Random().randrange(10**9)))

pytestmark = pytest.mark.since(17, "summaries of the WAL")


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A server that summarizes its WAL."""
    more = {"autovacuum": "off", "max_prepared_transactions": "5", "allow_in_place_tablespaces": "on"}
    with (
        running_server("summaries", 18, summarize_wal="on", **more) as server,
        mock.patch.object(wal_summaries, "_WORTH_A_CHECKPOINT", 0),
    ):
        yield server


@pytest.fixture(scope="module")
def watched(primary: Postgres) -> Iterator[Watched]:
    """A source of its own on that server."""
    with database(primary, "watched") as url:
        execute(url, *CREATE)
        yield Watched(url)


ALL = frozenset(NAMES) - {"loose"}
# Statements, and the tables that they change.
CHANGES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "nothing": ((), set()),
    "an insert": (("INSERT INTO t VALUES (100, 1)",), {"t"}),
    "a change of a long value, and a deletion": (
        ("UPDATE long SET v = repeat('y', 9000) WHERE id = 3", "DELETE FROM other WHERE id = 3"),
        {"long", "other"},
    ),
    "a row of a partition": (("UPDATE parts_high SET v = 1 WHERE id = 30",), {"parts"}),
    "a truncation": (("TRUNCATE t",), {"t"}),
    "a sequence, an index, and an unlogged table": (
        ("CREATE SEQUENCE s", "SELECT nextval('s')", "CREATE INDEX ON t (v)", "UPDATE loose SET v = 1"),
        set(),
    ),
}
# What changes tables in ways of its own.
UNUSUAL: tuple[tuple[str, set[str]], ...] = (
    ("TRUNCATE t; INSERT INTO t TABLE other", {"t"}),
    ("BEGIN; TRUNCATE t; COPY t FROM PROGRAM 'echo 7,7' (FORMAT csv, FREEZE); COMMIT", {"t"}),
    ("DELETE FROM other WHERE id > 30", {"other"}),
    ("VACUUM other", set()),
    ("VACUUM FULL long", {"long"}),
    ("CLUSTER other USING other_pkey", {"other"}),
    ("ALTER TABLE t ALTER v TYPE bigint", {"t"}),
    ("ALTER TABLE t SET UNLOGGED", {"t"}),
    ("UPDATE t SET v = 8; ALTER TABLE t SET LOGGED", {"t"}),
    ("ALTER TABLE t SET TABLESPACE elsewhere", {"t"}),
    ("ALTER TABLE t SET TABLESPACE pg_default", {"t"}),
    ("UPDATE parts SET id = -id WHERE id = 3", {"parts"}),
    ("ALTER TABLE parts DETACH PARTITION parts_high", {"parts"}),
    ("ALTER TABLE parts ATTACH PARTITION parts_high DEFAULT", {"parts"}),
    ("CREATE TABLE below () INHERITS (other); INSERT INTO below VALUES (99, 1)", {"other"}),
    ("UPDATE below SET v = 2", {"other"}),
    ("ALTER TABLE below NO INHERIT other", {"other"}),
    ("MERGE INTO t USING other ON t.id = other.id WHEN NOT MATCHED THEN INSERT VALUES (other.id, 1)", {"t"}),
    ("BEGIN; SAVEPOINT a; UPDATE t SET v = 9; ROLLBACK TO a; DELETE FROM t WHERE id = 7; COMMIT", {"t"}),
    ("ALTER TABLE other RENAME TO kept; ALTER TABLE t RENAME TO other; ALTER TABLE kept RENAME TO t",
     {"t", "other"}),
)  # fmt: skip


def test_a_table_is_unchanged_if_no_block_of_it_has_changed(watched: Watched) -> None:
    for name, (statements, changed) in CHANGES.items():
        watched.settle()
        execute(watched.url, *statements)
        assert watched.look() == Unchanged(ALL - changed), name


def test_no_way_to_change_a_table_is_missed(watched: Watched, primary: Postgres) -> None:
    execute(watched.url, "CREATE TABLESPACE elsewhere LOCATION ''")
    watched.look()
    for statements, changed in UNUSUAL:
        execute(watched.url, *statements.split("; ") if "BEGIN" not in statements else [statements])
        found = watched.look()
        assert found.reason is None, statements
        assert found.tables.isdisjoint(changed), statements
    watched.settle()
    assert watched.look().tables == ALL
    # The files of the database are copied as files, and keep their numbers.
    name = watched.url.rpartition("/")[2]
    execute(primary.url("postgres"), f"ALTER DATABASE {name} SET TABLESPACE elsewhere")
    assert watched.look() == Unchanged(frozenset())
    execute(primary.url("postgres"), f"ALTER DATABASE {name} SET TABLESPACE pg_default")
    execute(watched.url, "DROP TABLESPACE elsewhere")


def test_a_change_that_commits_late_is_found_although_its_block_changed_before_the_last_look(
    watched: Watched,
) -> None:
    """Its WAL is before the position of the look that did not show it."""
    watched.settle()
    with psycopg.connect(watched.url) as late:
        late.execute("UPDATE t SET v = 1 WHERE id = 1")
        for _ in range(3):
            execute(watched.url, "UPDATE other SET v = v + 1", "CHECKPOINT")
            assert watched.look().tables >= {"long"}
    assert "t" not in watched.look().tables
    watched.settle()
    with psycopg.connect(watched.url) as prepared:
        prepared.execute("SAVEPOINT s; DELETE FROM t WHERE id = 2; RELEASE s; PREPARE TRANSACTION 'later'")
    for _ in range(3):
        execute(watched.url, "CHECKPOINT")
        assert watched.look().tables >= {"long"}
    execute(watched.url, "COMMIT PREPARED 'later'")
    assert "t" not in watched.look().tables


INSERTED = "INSERT INTO {0} SELECT * FROM {0} WHERE id = {1}"
WRITES = (
    "UPDATE {} SET v = v WHERE id = {}",
    "DELETE FROM {} WHERE id = {}",
    f"{INSERTED} ON CONFLICT (id) DO UPDATE SET id = excluded.id + 1000",
    "SELECT FROM {} WHERE id = {} FOR KEY SHARE",
    "SAVEPOINT s; UPDATE {0} SET v = NULL WHERE id = {1}; ROLLBACK TO s; DELETE FROM {0} WHERE id = {1} + 1",
)


def test_transactions_in_any_order_are_found(watched: Watched) -> None:
    """Random writers, some of which commit late, roll back, or lock rows; ``look`` compares the rows."""
    print(f"WAL_SUMMARIES_SEED={_FRESH}")  # noqa: T201  pytest shows it if the test fails
    random_ = Random(_FRESH)
    open_: list[psycopg.Connection] = []
    unchanged = 0
    for step in range(60):
        names = NAMES[step // 20 : step // 20 + 2]
        if len(open_) < 3:
            open_.append(psycopg.connect(watched.url, options="-c lock_timeout=1ms"))
        writer = random_.choice(open_)
        try:
            writer.execute(random_.choice(WRITES).format(random_.choice(names), random_.randint(1, 40)))
        except psycopg.Error:
            writer.rollback()
        if random_.random() < 0.4:
            open_.remove(writer)
            getattr(writer, random_.choice(["commit", "commit", "rollback"]))()
            writer.close()
        if random_.random() < 0.5:
            unchanged += len(watched.look(checkpoint=step % 5 > 0).tables)
    for writer in open_:
        writer.commit()
        writer.close()
    watched.look()
    assert unchanged > 0


def test_without_the_right_to_write_a_checkpoint_an_idle_source_is_not_scanned(
    watched: Watched, primary: Postgres
) -> None:
    tail = watched.url.rpartition("/")[2]
    execute(watched.url, "CREATE ROLE plain LOGIN PASSWORD 'p'",
            f"GRANT SELECT ON {', '.join(NAMES)} TO plain")  # fmt: skip
    url = primary.url(tail, "plain", "p")
    try:
        execute(watched.url, "CHECKPOINT")
        assert watched.look(url=url).reason is None
        execute(watched.url, "UPDATE t SET v = v + 1")
        assert watched.look(url=url) == Unchanged(frozenset(), wal_summaries.NOT_COVERED)
        execute(watched.url, "CHECKPOINT")
        wait_for_summary(watched.url)
        assert watched.look(url=url).reason is None
        execute(watched.url, "GRANT pg_checkpoint TO plain", "UPDATE other SET v = v + 1")
        assert watched.look(url=url, checkpoint=False) == Unchanged(frozenset())
        assert watched.look(url=url).tables >= {"long"}
    finally:
        execute(watched.url, "DROP OWNED BY plain; DROP ROLE plain")


def test_missing_summaries_and_interruptions_are_scanned(watched: Watched, primary: Postgres) -> None:
    def interrupted(reason: str) -> None:
        assert watched.look() == Unchanged(frozenset(), reason)
        watched.settle()

    def newest_summary() -> Path:
        execute(watched.url, "UPDATE t SET v = v + 1", "CHECKPOINT")
        wait_for_summary(watched.url)
        return max((primary.home / "data" / "pg_wal" / "summaries").iterdir())

    execute(watched.url, "ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
    wait_until(lambda: watched.look().reason == wal_summaries.NO_SUMMARIES)
    execute(watched.url, "ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")
    wait_until(lambda: watched.look().reason is None)

    watched.settle()
    execute(watched.url, "UPDATE t SET v = v + 1")
    with stopped_summarizer(watched.url), mock.patch.object(wal_summaries, "_SUMMARIZER_SECONDS", 0.1):
        assert watched.look() == Unchanged(frozenset(), wal_summaries.LATE.format(0.1))
    watched.settle()

    damaged = newest_summary()
    damaged.write_bytes(damaged.read_bytes()[:-5])
    interrupted(wal_summaries.GAP)

    newest_summary().unlink()
    newest_summary()
    interrupted(wal_summaries.GAP)

    primary.restart()
    interrupted(wal_summaries.RESTARTED)

    crash(watched.url)
    wait_until(lambda: answers(watched.url))
    interrupted(wal_summaries.RESTARTED)


def test_a_run_scans_only_the_tables_that_have_changed(primary: Postgres, postgres: Postgres) -> None:
    with pair(primary, postgres) as here, both_ways() as unscanned:
        here.fresh(MODELS, *SOURCE)
        here.run()
        here.do("CHECKPOINT")
        assert here.run() is None, "from now on the WAL after this run is examined"
        here.do("DELETE FROM sale WHERE sale_id = 1", "UPDATE sale SET amount = 9 WHERE sale_id = 2")
        here.run()
        assert unscanned[-1] == {"shop", "town"}
        equal(here)
        here.do("CHECKPOINT")
        here.run()
        here.do("UPDATE town SET name = 'Hull' WHERE town_id = 1")
        here.run()
        assert unscanned[-1] == {"shop", "sale"}
        equal(here)
        here.run(reconcile=True)
        assert unscanned[-1] == frozenset(), "a reconciling run scans all tables"
        equal(here)
        # Values of rows that nobody writes.
        here.do("ALTER TABLE town ADD country text DEFAULT 'UK'")
        planned, _ = plan_batch(here.source_url, here.house)
        assert {name for name, table in planned.tables.items() if table.mode == "full"} == {"town"}
        assert unscanned[-1] == {"shop", "sale"}
        assert planned.scan_reason is None
