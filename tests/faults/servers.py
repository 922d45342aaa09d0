"""The servers of a scenario: Postgres for source and warehouse, a standby of the source, and S3."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import psycopg

from demo.binaries import account_for, programs, run
from demo.postgres import Postgres
from tests.faults.disks import Disk, has_small_disks
from tests.faults.listings import S3Server
from tests.faults.proxy import Proxy

Mode = Literal["fast", "immediate"]

_SECONDS = 60.0
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    # A data folder that fits on a small disk.
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    # A standby cancels a query that its primary's changes disturb after this time.
    "max_standby_streaming_delay": "500ms",
}
_SIZE_OF_A_SERVERS_DISK = 400


class Servers:
    """Source, warehouse and S3 server, each behind a proxy; with ``standby``, a standby of the source.

    ``reading`` is the server that the pipeline reads, the source or its standby.
    """

    def __init__(self, home: Path, *, standby: bool = False, small_disks: bool = True) -> None:
        self.home = home
        self.small_disks = small_disks and has_small_disks()
        self.source = self._new("source")
        self.warehouse = self._new("warehouse")
        self.standby: Postgres | None = None
        self.reading = self.source
        self._with_standby = standby
        self._all = [self.source, self.warehouse]
        self._disks = ExitStack()
        self.s3 = S3Server()
        self.to_source = Proxy(lambda: self.reading.port)
        self.to_warehouse = Proxy(lambda: self.warehouse.port)
        self.to_s3 = Proxy(lambda: self.s3.port)

    @contextmanager
    def running(self) -> Iterator[Servers]:
        """Have all of them for the block."""
        try:
            for server in (self.source, self.warehouse):
                self._make_folder(server)
                server.start()
            if self._with_standby:
                self.add_standby()
            yield self
        finally:
            for proxy in (self.to_source, self.to_warehouse, self.to_s3):
                proxy.close()
            self.s3.close()
            for server in self._all:
                with suppress(OSError):
                    server.remove()
            self._disks.close()

    def repair(self) -> None:
        """Have everything run without trouble."""
        for proxy in (self.to_source, self.to_warehouse, self.to_s3):
            proxy.arm(None)
        self.s3.delay = 0.0
        for server in (self.source, self.warehouse, self.standby):
            if server:
                _answering(server.start())
        if self._with_standby and self.standby is None:
            self.add_standby()

    def disk_of(self, server: Postgres) -> Disk:
        """The small disk that a server's data lie on."""
        return Disk(server.folder)

    def restart(self, server: Postgres, mode: Mode) -> None:
        """Restart a server with pg_ctl."""
        log = str(server.log)
        _program(server, "pg_ctl", "restart", "-w", "-m", mode, "-D", str(server.home / "data"), "-l", log)

    def add_standby(self) -> None:
        """Make a standby of the source, and let the pipeline read it."""
        standby = self._new(f"standby {len(self._all)}")
        self._all.append(standby)
        self._make_folder(standby)
        self._copy_data(standby)
        self.standby = self.reading = standby.start()
        self.catch_up()

    def _copy_data(self, standby: Postgres) -> None:
        account, home = account_for(self.source.home), standby.folder / "server"
        home.mkdir(mode=0o700)
        shutil.copy2(self.source.home / "password", home / "password")
        if account:
            for path in (home, home / "password"):
                os.chown(path, account.uid, account.gid)
        _program(
            self.source, "pg_basebackup", "--wal-method=stream", "--checkpoint=fast", "--no-sync",
            "--write-recovery-conf", f"--pgdata={home / 'data'}", f"--dbname={self.source.url('postgres')}",
        )  # fmt: skip
        (home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def catch_up(self) -> None:
        """Wait until the standby, where there is one, shows all that the source has committed."""
        if self.standby is None:
            return
        with psycopg.connect(self.source.url("postgres"), autocommit=True) as connection:
            position = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()[0][0]
        deadline = time.monotonic() + _SECONDS
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as connection:
            reached = f"SELECT pg_last_wal_replay_lsn() >= '{position}'".encode()
            while connection.execute(reached).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError("the standby does not catch up")
                time.sleep(0.02)

    def fail_over(self, *, losing: bool) -> None:
        """Lose the source and promote its standby; ``losing`` what has not been sent to it yet."""
        if self.standby is None:
            raise ValueError("no standby")
        if not losing:
            self.catch_up()
        former = self.source
        former.kill()
        with psycopg.connect(self.standby.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        self.source = self.reading = self.standby
        self.standby = None
        former.remove()

    def _new(self, name: str) -> Postgres:
        return Postgres(self.home / name, settings=_SETTINGS)

    def _make_folder(self, server: Postgres) -> None:
        server.folder.mkdir(parents=True)
        server.folder.chmod(0o755)
        if self.small_disks:
            self._disks.enter_context(Disk(server.folder).mounted(_SIZE_OF_A_SERVERS_DISK))


def _answering(server: Postgres) -> None:
    """Wait until a server that recovers from a crash answers."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(server.url("postgres")).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def dump(server: Postgres, url: str, *options: str) -> str:
    """What pg_dump writes of a database."""
    lines = _program(server, "pg_dump", *options, url).splitlines()
    # Only the psql of the same release reads these.
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


def restore(server: Postgres, url: str, text: str) -> None:
    """Run what pg_dump wrote; the schema public is there already."""
    text = text.replace("CREATE SCHEMA public;", "")
    _program(server, "psql", "-qX", "-vON_ERROR_STOP=1", url, text=text)


def _program(server: Postgres, name: str, *arguments: str, text: str | None = None) -> str:
    """Run one of Postgres' own programs; returns what it printed."""
    account = account_for(server.home)
    done = run([programs(server.version, account) / name, *arguments], account, text)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    return done.stdout
