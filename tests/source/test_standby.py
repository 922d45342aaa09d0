"""A standby as the source, and a source restored from a dump."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import pytest

from demo.binaries import account_for
from demo.postgres import Postgres
from pipeline.errors import SourceError
from pipeline.lake import manifests
from tests.pair import Pair
from tests.pair import pair as new_pair
from tests.servers import described_server
from tests.source.server import CHANGED, equal, program, read
from tests.support import execute, value

ANOTHER = {"another source than the last batch's"}
SECONDS = 60


def test_a_source_restored_from_a_dump_is_read_in_full_and_doubles_nothing(
    pair: Pair, primary: Postgres, postgres: Postgres
) -> None:
    dump = program(primary, "pg_dump", pair.source_url)
    pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
    assert read(pair) == (CHANGED, 1)
    with new_pair(postgres, primary) as restored:
        program(postgres, "psql", "-qX", "-v", "ON_ERROR_STOP=1", restored.source_url, text=dump)
        execute(restored.source_url, "UPDATE sale SET amount = 20 WHERE sale_id = 2")
        assert read(pair, restored.source_url) == (ANOTHER, 2), "one is as it was before, one is new"
        equal(pair, restored.source_url)
        assert read(pair, restored.source_url) == (CHANGED, 0)
        execute(restored.source_url, "UPDATE town SET name = 'Hull' WHERE town_id = 1")
        assert read(pair, restored.source_url) == (CHANGED, 0)
        equal(pair, restored.source_url)


@contextmanager
def standby_of(primary: Postgres, pair: Pair) -> Iterator[str]:
    """The URL of the source on a running physical standby, made by pg_basebackup."""
    with described_server("standby", autovacuum="off", max_prepared_transactions="5") as standby:
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
        yield standby.start().url(pair.source_url.rsplit("/", 1)[1])


def wait_for(url: str, condition: str) -> None:
    deadline = monotonic() + SECONDS
    while not value(url, f"SELECT {condition}"):
        assert monotonic() < deadline, condition
        sleep(0.02)


def catch_up(primary_url: str, standby_url: str) -> None:
    """Wait until the standby has replayed everything that the primary has written."""
    position = value(primary_url, "SELECT pg_current_wal_lsn()::text")
    wait_for(standby_url, f"pg_last_wal_replay_lsn() >= '{position}'")


def test_a_standby_is_read_as_its_primary_is_until_it_is_promoted(pair: Pair, primary: Postgres) -> None:
    with standby_of(primary, pair) as url:
        catch_up(pair.source_url, url)
        assert read(pair, url) == (CHANGED, 0), "the same source, read from elsewhere"
        pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        catch_up(pair.source_url, url)
        assert read(pair, url) == (CHANGED, 1)
        equal(pair, url)
        pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        assert read(pair) == (CHANGED, 1), "and back again"
        catch_up(pair.source_url, url)
        pair.do("SELECT pg_switch_wal()")
        execute(url, "SELECT pg_promote()")
        execute(url, "UPDATE sale SET amount = 30 WHERE sale_id = 3")
        assert read(pair, url) == (ANOTHER, 1), "another timeline counts its own transactions"
        equal(pair, url)
        execute(url, "UPDATE town SET name = 'Hull' WHERE town_id = 1")
        assert read(pair, url) == (CHANGED, 0)
        equal(pair, url)


def read_from_next_timeline(pair: Pair) -> None:
    """Let the last batch be one that was read after a promotion."""
    manifest = manifests.read_manifest(
        pair.house.raw, value(pair.house.url, "SELECT manifest FROM etl.watermark")
    )
    identity = manifest.identity.model_copy(update={"timeline": manifest.identity.timeline + 1})
    manifests.seal(pair.house.raw, manifest.model_copy(update={"identity": identity}))


@pytest.mark.parametrize("is_promoted", [False, True])
@pytest.mark.rarely("False")
def test_a_standby_that_is_behind_the_last_batch_is_refused(
    pair: Pair, primary: Postgres, is_promoted: bool
) -> None:
    """Also if it follows a promoted primary: until its next restart point it reports the former timeline."""
    with standby_of(primary, pair) as url:
        catch_up(pair.source_url, url)
        execute(url, "SELECT pg_wal_replay_pause()")
        wait_for(url, "pg_get_wal_replay_pause_state() = 'paused'")
        pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        assert read(pair) == (CHANGED, 1)
        if is_promoted:
            read_from_next_timeline(pair)
        with pytest.raises(
            SourceError, match="standby is behind the last batch; run again when it has caught"
        ):
            read(pair, url)
        execute(url, "SELECT pg_wal_replay_resume()")
        catch_up(pair.source_url, url)
        assert read(pair, url) == (ANOTHER if is_promoted else CHANGED, 0)
