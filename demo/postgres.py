"""An embedded Postgres server for demos and tests: no root, no Docker, no running service."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from demo.binaries import Account, PostgresError, account_for, programs, run
from demo.guard import Guard
from demo.server_folder import ServerFolder, locked, one_line

__all__ = ["Postgres", "PostgresError"]

SUPERUSER = "postgres"
HOST = "127.0.0.1"
DEFAULTS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
}
START_SECONDS = 120
STOP_SECONDS = 60
PORT_TAKEN = "Address already in use"
# Messages of a failed start that is retried: after an unclean shutdown, or when two starts overlap.
TRANSIENT = (PORT_TAKEN, "lock file", "pre-existing shared memory block", "is in use")


class Postgres(ServerFolder):
    """A Postgres server with its data in a folder, listening on a free port of 127.0.0.1.

    The folder keeps data, password and log from run to run. A server that already runs there is used as it
    is, with the settings that it was started with. A server started here stops when this process ends, in
    whatever way, unless it is kept.
    """

    def __init__(
        self,
        folder: Path,
        version: int = 18,
        settings: dict[str, str] | None = None,
        retry_seconds: float = 10.0,
    ) -> None:
        """Describe a server; nothing is created before start(), which is retried for that many seconds."""
        super().__init__(folder)
        self.version = version
        self.settings = DEFAULTS | (settings or {})
        self._retry_seconds = retry_seconds
        self._keep = False
        self._guard = Guard(self.stop)

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server if this object started it."""
        if self._guard.is_owner:
            self.stop()

    @property
    def running(self) -> bool:
        """Whether the server accepts connections."""
        with suppress(OSError, PostgresError):
            if self.pid() is not None:
                socket.create_connection((HOST, self.port), timeout=5).close()
                return True
        return False

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """The postgresql:// URL of a database, for the superuser unless ``user`` is given."""
        if user is None:
            user, password = SUPERUSER, self.password
        secret = "" if password is None else f":{quote(password, safe='')}"
        location = f"{HOST}:{self.port}/{quote(database, safe='')}"
        return f"postgresql://{quote(user, safe='')}{secret}@{location}"

    def start(self, keep: bool = False) -> Self:
        """Start the server, initialised first if there is none, and wait until it accepts connections.

        With ``keep`` it stays running when this process ends.
        """
        home, account = self.make()
        with locked(home):
            if not self._answers():
                self._initialise(account)
                self._launch(account, keep)
        return self

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server if it runs; "immediate" skips the orderly shutdown."""
        if self.pid() is not None:
            wait = ("-w", "-t", str(STOP_SECONDS))
            completed = self._pg_ctl(account_for(self.home), "stop", "-m", mode, *wait)
            if completed.returncode and self.pid() is not None:
                raise PostgresError(
                    f"Postgres in {self.home} did not stop: {one_line(completed.stderr)}; "
                    'stop(mode="immediate") does not wait for an orderly shutdown'
                )
        self._guard.end()

    def kill(self) -> None:
        """End the server and its processes with SIGKILL, as a power cut would."""
        if (pid := self.pid()) is not None:
            server = psutil.Process(pid)
            server.suspend()  # so that it starts no more children
            family = [server, *server.children()]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, STOP_SECONDS)
            self.remove_stale_pid()
        self._guard.end()

    def restart(self) -> None:
        """Stop the server and start it again, on the same port if that is still free."""
        keep = self._keep or (not self._guard.is_set and self.running)
        self.stop()
        self.start(keep)

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self.stop("immediate")
        super().remove()

    def create_database(self, name: str) -> None:
        """Create a database if it does not exist."""
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            existing = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if existing.fetchone() is None:
                # Another process may create it at the same moment.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(create)

    def _initialise(self, account: Account | None) -> None:
        """Create the data directory and a password if they do not exist."""
        if (version_file := self.data / "PG_VERSION").is_file():
            if (version := version_file.read_text().strip()) != str(self.version):
                raise PostgresError(
                    f"{self.home} holds data of Postgres {version}, not {self.version}: "
                    "choose that version or another folder"
                )
            return
        if not (self.home / "password").exists():
            self.write("password", secrets.token_urlsafe(24), account)
        scratch = self.home / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        options = ["--auth=scram-sha-256", f"--username={SUPERUSER}", "--encoding=UTF8"]
        options += ["--locale=C", f"--pwfile={self.home / 'password'}"]
        if self.settings.get("fsync") == "off":
            options.append("--no-sync")
        initdb = programs(self.version, account) / "initdb"
        completed = run([initdb, *options, f"--pgdata={scratch}"], account)
        if completed.returncode:
            raise PostgresError(f"initdb failed in {self.home}: {one_line(completed.stderr)}")
        scratch.rename(self.data)

    def _launch(self, account: Account | None, keep: bool) -> None:
        """Start the server; transient failures are retried for a few seconds, others are raised."""
        self._guard.end()
        self._keep = keep
        if not keep:
            pg_ctl = programs(self.version, account) / "pg_ctl"
            self._guard.start([str(pg_ctl), "-D", str(self.data), "-m", "fast", "stop"], account)
        port = self._free_port()
        deadline = time.monotonic() + self._retry_seconds
        stale_after = time.monotonic() + self._retry_seconds / 2
        while (output := self._try_launch(account, port)) is not None and not self._answers():
            transient = any(text in output for text in TRANSIENT)
            if not transient or time.monotonic() > deadline:
                self._guard.end()
                raise PostgresError(
                    f"Postgres in {self.home} did not start: {one_line(output)} (log: {self.log})"
                )
            if PORT_TAKEN in output:
                port = free_port()
            if time.monotonic() > stale_after:
                self.remove_stale_pid()
            time.sleep(0.2)

    def _try_launch(self, account: Account | None, port: int) -> str | None:
        """Start the server on a port; returns its output if it did not start, else None."""
        lines = (f"{name} = {_quoted(value)}\n" for name, value in self.settings.items())
        self.write("data/postgresql.conf", "".join([*lines, f"port = {port}\n"]), account)
        self.write("port", str(port), account)
        before = self.log.stat().st_size if self.log.exists() else 0
        wait = ("-w", "-t", str(START_SECONDS))
        completed = self._pg_ctl(account, "start", "-l", str(self.log), *wait)
        if completed.returncode == 0:
            return None
        with suppress(OSError), self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(before)
            return log.read() or completed.stderr
        return completed.stderr

    def _pg_ctl(self, account: Account | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        pg_ctl = programs(self.version, account) / "pg_ctl"
        return run([pg_ctl, "-D", self.data, *arguments], account)

    def _answers(self) -> bool:
        """Whether the server that answers is the one of this folder."""
        if not self.running:
            return False
        with suppress(psycopg.OperationalError):
            with psycopg.connect(self.url("postgres"), connect_timeout=5) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
            return row is not None and Path(row[0]).resolve() == self.data.resolve()
        return False

    def _free_port(self) -> int:
        """The last port, so that URLs stay valid, or any free one."""
        with suppress(OSError, PostgresError):
            return free_port(self.port)
        return free_port()


def free_port(port: int = 0) -> int:
    """A port that is free now: the given one, or any for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])


def _quoted(value: str) -> str:
    """A value as postgresql.conf needs it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
