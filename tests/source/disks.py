"""A source whose disk is put back, or whose transaction ids are moved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from demo.binaries import account_for, run
from demo.postgres import Postgres
from tests.source.server import program
from tests.support import execute, value

CLOG_SEGMENT = 2**20  # transactions whose fate one file of pg_xact holds, in two bits each


def copy_of_disk(primary: Postgres) -> Path:
    """Stop the server and copy its data, as a snapshot of its volume does."""
    primary.stop()
    copy = primary.home / "copy"
    done = run(["cp", "-a", primary.home / "data", copy], account_for(primary.home))
    assert done.returncode == 0, done.stderr
    primary.start()
    return copy


def copy_of_running_disk(primary: Postgres) -> Path:
    """Copy the data of a server in use, as a snapshot of its volume does; no transaction is lost by it."""
    execute(primary.url("postgres"), "CHECKPOINT")
    copy = primary.home / "copy"
    done = run(["cp", "-a", primary.home / "data", copy], account_for(primary.home))
    assert done.returncode == 0, done.stderr
    (copy / "postmaster.pid").unlink()
    return copy


def put_back(primary: Postgres, copy: Path) -> None:
    """Stop the server and start it from a copy of its data."""
    primary.stop()
    shutil.rmtree(primary.home / "data")
    copy.rename(primary.home / "data")
    primary.start()


def use_up(url: str, before: tuple[int, str]) -> None:
    """Write other transactions until ids and WAL have caught up."""
    while value(url, f"SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint <= {before[0]}"):
        execute(url, "SELECT pg_current_xact_id()")
    while value(url, f"SELECT pg_current_wal_lsn() <= '{before[1]}'"):
        execute(url, "SELECT pg_switch_wal()", "CREATE TABLE noise ()", "DROP TABLE noise")


def move_to(primary: Postgres, transaction: int, *freeze: str) -> None:
    """Restart the server with another next transaction id, as if all ids before it had been used.

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
