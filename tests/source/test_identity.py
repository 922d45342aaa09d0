"""Whose transaction ids a watermark counts in: restored copies, standbys, promotions, wraparound."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

import pytest

from demo.binaries import account_for, programs, run
from demo.postgres import Postgres
from pipeline.errors import SourceError
from tests.bench import Bench
from tests.bench import bench as new_bench
from tests.support import execute, plan_batch, query, value

MODELS = {
    "dim_shop": "SELECT shop_id, town.name AS town FROM shop LEFT JOIN town USING (town_id)",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, town varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (sale_id integer NOT NULL, shop_id integer, amount numeric);
    """,
}
SOURCE = (
    "CREATE TABLE town (town_id int PRIMARY KEY, name text)",
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town_id int)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric)",
    "INSERT INTO town VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shop VALUES (1, 1), (2, 2)",
    "INSERT INTO sale SELECT i, 1 + i % 2, i FROM generate_series(1, 5) AS i",
)
ANOTHER = {"another source than the last batch's"}
PUT_BACK = {"the source was restored to an earlier state"}
UNSURE = {"its server was restarted, and the rows read last no longer exist"}
WRAPPED = {"the watermark's transaction ids have wrapped around"}
CHANGED = {"changed rows"}
SECONDS = 60
CLOG_SEGMENT = 2**20  # transactions whose fate one file of pg_xact holds, in two bits each


def new_server() -> Postgres:
    home = Path(tempfile.mkdtemp(prefix="tests-identity-"))
    home.chmod(0o755)
    return Postgres(home, settings={"fsync": "off", "full_page_writes": "off", "autovacuum": "off"})


def away(server: Postgres) -> None:
    server.remove()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A server of the module's own, which may be stopped."""
    server = new_server()
    try:
        yield server.start()
    finally:
        away(server)


@pytest.fixture
def bench(primary: Postgres, postgres: Postgres) -> Iterator[Bench]:
    """A source on that server, after the first run."""
    with new_bench(primary, postgres) as made:
        made.fresh(MODELS, *SOURCE)
        made.run()
        yield made


def read(bench: Bench, url: str | None = None) -> tuple[set[str], int]:
    """Take a batch from a source and load it: why its tables were read as they were, and versions added."""
    before = versions(bench)
    planned, manifest = plan_batch(url or bench.source_url, bench.house)
    if manifest:
        bench.house.bring(manifest)
    return {table.reason for table in planned.tables.values()}, versions(bench) - before


def versions(bench: Bench) -> int:
    return int(value(bench.house.url, "SELECT count(*) FROM fact_sale"))


def equal(bench: Bench, url: str | None = None) -> None:
    """The warehouse shows what plain SQL on the source says."""
    sales = "SELECT sale_id, shop_id, amount FROM {} ORDER BY 1"
    shops = "SELECT shop_id, name FROM shop LEFT JOIN town USING (town_id) ORDER BY 1"
    source_url = url or bench.source_url
    assert bench.house.query(sales.format("fact_sale_current")) == query(source_url, sales.format("sale"))
    assert bench.house.query("SELECT shop_id, town FROM dim_shop ORDER BY 1") == query(source_url, shops)


def program(server: Postgres, name: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run one of Postgres' own programs; returns what it printed."""
    account = account_for(server.home)
    done = run([programs(server.version, account) / name, *arguments], account, text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_source_restored_from_a_dump_is_read_whole_and_doubles_nothing(
    bench: Bench, primary: Postgres, postgres: Postgres
) -> None:
    dump = program(primary, "pg_dump", bench.source_url)
    bench.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
    assert read(bench) == (CHANGED, 1)
    with new_bench(postgres, primary) as restored:
        program(postgres, "psql", "-qX", "-v", "ON_ERROR_STOP=1", restored.source_url, text=dump)
        execute(restored.source_url, "UPDATE sale SET amount = 20 WHERE sale_id = 2")
        assert read(bench, restored.source_url) == (ANOTHER, 2), "one is as it was before, one is new"
        equal(bench, restored.source_url)
        assert read(bench, restored.source_url) == (CHANGED, 0)
        execute(restored.source_url, "UPDATE town SET name = 'Hull' WHERE town_id = 1")
        assert read(bench, restored.source_url) == (CHANGED, 0)
        equal(bench, restored.source_url)


def standby_of(primary: Postgres) -> Postgres:
    """A running physical standby, by pg_basebackup."""
    standby = new_server()
    account = account_for(primary.home)
    home = standby.folder / "server"
    home.mkdir(mode=0o700)
    shutil.copy2(primary.home / "password", home / "password")
    if account:
        for path in (home, home / "password"):
            os.chown(path, account.uid, account.gid)
    url = primary.url("postgres")
    program(primary, "pg_basebackup", "--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf",
            "--no-sync", f"--pgdata={home / 'data'}", f"--dbname={url}")  # fmt: skip
    (home / "data" / "postmaster.pid").unlink(missing_ok=True)
    return standby.start()


def wait_for(url: str, condition: str) -> None:
    deadline = monotonic() + SECONDS
    while not value(url, f"SELECT {condition}"):
        assert monotonic() < deadline, condition
        sleep(0.02)


def catch_up(primary_url: str, standby_url: str) -> None:
    """Wait until the standby has replayed all that the primary has written."""
    position = value(primary_url, "SELECT pg_current_wal_lsn()::text")
    wait_for(standby_url, f"pg_last_wal_replay_lsn() >= '{position}'")


def test_a_standby_is_read_as_its_primary_is_until_it_is_promoted(bench: Bench, primary: Postgres) -> None:
    standby = standby_of(primary)
    try:
        url = standby.url(bench.source_url.rsplit("/", 1)[1])
        catch_up(bench.source_url, url)
        assert read(bench, url) == (CHANGED, 0), "the same source, read from elsewhere"
        bench.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        catch_up(bench.source_url, url)
        assert read(bench, url) == (CHANGED, 1)
        equal(bench, url)
        bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        assert read(bench) == (CHANGED, 1), "and back again"
        catch_up(bench.source_url, url)
        bench.do("SELECT pg_switch_wal()")
        execute(url, "SELECT pg_promote()")
        execute(url, "UPDATE sale SET amount = 30 WHERE sale_id = 3")
        assert read(bench, url) == (ANOTHER, 1), "another timeline counts its own transactions"
        equal(bench, url)
        execute(url, "UPDATE town SET name = 'Hull' WHERE town_id = 1")
        assert read(bench, url) == (CHANGED, 0)
        equal(bench, url)
    finally:
        with suppress(OSError):
            away(standby)


# A copy of the disk that is put back


def copy_of_disk(primary: Postgres) -> Path:
    """Stop the server and copy its data, as a snapshot of its volume does."""
    primary.stop()
    copy = primary.home / "copy"
    done = run(["cp", "-a", primary.home / "data", copy], account_for(primary.home))
    assert done.returncode == 0, done.stderr
    primary.start()
    return copy


def put_back(primary: Postgres, copy: Path) -> None:
    """Stop the server and let it go on from a copy of its data."""
    primary.stop()
    shutil.rmtree(primary.home / "data")
    copy.rename(primary.home / "data")
    primary.start()


def position(url: str) -> tuple[int, str]:
    """The next transaction, and how much WAL there is."""
    ((xid, wal),) = query(
        url, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_current_wal_lsn()::text"
    )
    return int(xid), str(wal)


def use_up(url: str, before: tuple[int, str]) -> None:
    """Let other things happen until ids and WAL are where they were."""
    while value(url, f"SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint <= {before[0]}"):
        execute(url, "SELECT pg_current_xact_id()")
    while value(url, f"SELECT pg_current_wal_lsn() <= '{before[1]}'"):
        execute(url, "SELECT pg_switch_wal()", "CREATE TABLE noise ()", "DROP TABLE noise")


# What the shop does before it is put back, and what it does afterwards instead.
UNDONE = (
    "UPDATE sale SET amount = 10 WHERE sale_id = 1",
    "UPDATE sale SET amount = 20 WHERE sale_id = 2",
    "INSERT INTO sale VALUES (6, 1, 6)",
    "DELETE FROM sale WHERE sale_id = 5",
    "UPDATE town SET name = 'Hull' WHERE town_id = 1",
    "UPDATE shop SET town_id = 1 WHERE shop_id = 2",
)
INSTEAD = {
    "nothing": (),
    "the like in the same order": (
        "UPDATE sale SET amount = 11 WHERE sale_id = 1",
        "UPDATE sale SET amount = 22 WHERE sale_id = 3",
        "INSERT INTO sale VALUES (7, 2, 7)",
        "DELETE FROM sale WHERE sale_id = 4",
        "UPDATE town SET name = 'Ayr' WHERE town_id = 1",
        "UPDATE shop SET town_id = 1 WHERE shop_id = 1",
    ),
}


@pytest.mark.parametrize("caught_up", [False, True], ids=["behind", "caught up"])
@pytest.mark.parametrize("instead", INSTEAD)
def test_a_source_put_back_from_a_copy_of_its_disk_is_read_whole(
    bench: Bench, primary: Postgres, instead: str, caught_up: bool
) -> None:
    """Identifier, timeline and oids are those of before, and so are, in time, its transaction ids."""
    copy = copy_of_disk(primary)
    bench.do(*UNDONE)
    assert read(bench) == (CHANGED, 4), "two changed, one new, one deleted"
    before = position(bench.source_url)
    put_back(primary, copy)
    bench.do(*INSTEAD[instead])
    if caught_up:
        use_up(bench.source_url, before)
        bench.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    reason = read(bench)[0]
    assert reason == UNSURE if caught_up else reason in (PUT_BACK, UNSURE)
    equal(bench)
    assert read(bench) == (CHANGED, 0)


def test_a_source_put_back_while_nothing_was_new_is_read_whole(bench: Bench, primary: Postgres) -> None:
    """What is noted of a run without news must not hide what came before it in another history."""
    copy = copy_of_disk(primary)
    for _ in range(20):
        execute(bench.source_url, "SELECT pg_current_xact_id()")
    assert read(bench) == (CHANGED, 0)
    before = position(bench.source_url)
    put_back(primary, copy)
    bench.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    use_up(bench.source_url, before)
    assert read(bench) == (CHANGED, 1), "the rows read last are there, and later ones are read"
    equal(bench)


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_source_that_is_only_started_again_is_read_as_before(
    bench: Bench, primary: Postgres, how: Literal["fast", "immediate"]
) -> None:
    bench.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
    assert read(bench) == (CHANGED, 1)
    primary.stop(how)
    primary.start()
    assert read(bench) == (CHANGED, 0)
    bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2", "VACUUM sale")
    assert read(bench) == (CHANGED, 1)
    primary.restart()
    bench.do("UPDATE sale SET amount = 25 WHERE sale_id = 2")
    assert read(bench) == (UNSURE, 1), "the only row read last was written again: nothing shows what happened"
    equal(bench)


def test_a_standby_that_is_behind_the_last_batch_is_waited_for(bench: Bench, primary: Postgres) -> None:
    standby = standby_of(primary)
    try:
        url = standby.url(bench.source_url.rsplit("/", 1)[1])
        catch_up(bench.source_url, url)
        execute(url, "SELECT pg_wal_replay_pause()")
        wait_for(url, "pg_get_wal_replay_pause_state() = 'paused'")
        bench.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        assert read(bench) == (CHANGED, 1)
        with pytest.raises(
            SourceError, match="standby is behind the last batch; run again when it has caught"
        ):
            read(bench, url)
        execute(url, "SELECT pg_wal_replay_resume()")
        catch_up(bench.source_url, url)
        assert read(bench, url) == (CHANGED, 0)
    finally:
        with suppress(OSError):
            away(standby)


def move_to(primary: Postgres, transaction: int, *freeze: str) -> None:
    """Stop the server and let it go on with another transaction id, as if all before had been used.

    ``freeze`` are databases whose rows get too old for ordinary ids, as autovacuum would see in time.
    """
    urls = [primary.url(name) for name in ("template1", "postgres", *freeze)] if freeze else []
    for url in urls:
        execute(url, "VACUUM FREEZE")
    primary.stop()
    account = account_for(primary.home)
    data = primary.home / "data"
    epoch, next_id = divmod(transaction, 2**32)
    segment = data / "pg_xact" / f"{next_id // CLOG_SEGMENT:04X}"
    if not segment.exists():
        segment.write_bytes(bytes(CLOG_SEGMENT // 4))
        if account:
            os.chown(segment, account.uid, account.gid)
    oldest = next_id - 1000
    options = [f"--oldest-transaction-id={oldest}"] if freeze else []
    program(primary, "pg_resetwal", f"--epoch={epoch}", f"--next-transaction-id={next_id}",
            *options, f"--pgdata={data}")  # fmt: skip
    primary.start()
    for url in urls:
        execute(url, f"UPDATE pg_class SET relfrozenxid = '{oldest}' WHERE relfrozenxid <> '0'")
        execute(url, f"UPDATE pg_database SET datfrozenxid = '{oldest}'")


def test_transaction_ids_that_wrap_around(bench: Bench, primary: Postgres) -> None:
    """Past 2^31 a watermark says nothing; past 2^32 a recent one still does."""
    database = bench.source_url.rsplit("/", 1)[1]
    move_to(primary, 2**31 + 2**21, database)
    bench.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
    assert read(bench) == (WRAPPED, 1)
    equal(bench)
    bench.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    assert read(bench) == (CHANGED, 1)

    move_to(primary, 2**32 - 2**21, database)
    bench.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    assert read(bench) == (CHANGED, 1), "not 2^31 transactions ago"
    bench.do(
        "UPDATE town SET name = 'Hull' WHERE town_id = 1", "UPDATE sale SET amount = 40 WHERE sale_id = 4"
    )
    move_to(primary, 2**32 + 2**19)
    assert value(bench.source_url, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > 2^32")
    bench.do("UPDATE sale SET amount = 50 WHERE sale_id = 5", "INSERT INTO sale VALUES (6, 1, 6)")
    assert read(bench) == (CHANGED, 3), "from both sides of the wraparound"
    equal(bench)
    assert read(bench) == (CHANGED, 0)

    move_to(primary, 2**32 + 2**31 + 2**22, database)
    bench.do("UPDATE sale SET amount = 60 WHERE sale_id = 6")
    assert read(bench) == (WRAPPED, 1)
    equal(bench)
