"""A real Postgres server for demos and tests: no root, no Docker, no running service."""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from demo.binaries import (
    Account,
    PostgresError,
    account_for,
    environment,
    open_folders,
    programs,
    reachable,
    run,
)

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
RETRY_SECONDS = 10.0
PORT_TAKEN = "Address already in use"
# What a start may meet for a moment after an unclean death, or when another start overlaps.
PASSING = (PORT_TAKEN, "lock file", "pre-existing shared memory block", "is in use")


class Postgres:
    """A Postgres server with its data in a folder, reachable on a free port of 127.0.0.1.

    The folder keeps data, password and log from run to run (`home` is where they are). A
    server that runs there already is used as it is, with the settings it was started with.
    A server started here stops with this process, however that ends, unless kept.
    """

    def __init__(self, folder: Path, version: int = 18, settings: dict[str, str] | None = None) -> None:
        """Describe a server; nothing is touched before start()."""
        self.folder = Path(folder).absolute()
        self.version = version
        self.settings = DEFAULTS | (settings or {})
        self._owner: int | None = None
        self._keep = False
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server if this object started it."""
        if self._owner == os.getpid():
            self.stop()

    @property
    def home(self) -> Path:
        """The folder with data, password and log: in `folder`, or where a note there says."""
        note = self.folder / "elsewhere"
        if note.is_file() and (there := Path(note.read_text().strip())).is_dir():
            return there
        return self.folder / "server"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "server.log"

    @property
    def port(self) -> int:
        """The port that the server listens on, or listened on last."""
        try:
            return int((self.home / "port").read_text())
        except OSError:
            raise PostgresError(f"no Postgres in {self.folder} yet: start it") from None

    @property
    def running(self) -> bool:
        """Whether the server is up and takes connections."""
        with suppress(OSError, PostgresError):
            if self._pid() is not None:
                socket.create_connection((HOST, self.port), timeout=5).close()
                return True
        return False

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Return a postgresql:// URL of a database, for the superuser unless a user is named."""
        if user is None:
            user, password = SUPERUSER, self._password()
        secret = "" if password is None else f":{quote(password, safe='')}"
        where = f"{HOST}:{self.port}/{quote(database, safe='')}"
        return f"postgresql://{quote(user, safe='')}{secret}@{where}"

    def start(self, keep: bool = False) -> Self:
        """Start the server, made first where there is none, and wait until it takes connections.

        keep=True leaves it running when this process ends.
        """
        home, account = self._make_home()
        with _locked(home):
            if not self._answers():
                self._initialise(account)
                self._launch(account, keep)
        return self

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server if it runs; "immediate" skips the orderly shutdown."""
        if self._pid() is not None:
            wait = ("-w", "-t", str(STOP_SECONDS))
            done = self._pg_ctl(account_for(self.home), "stop", "-m", mode, *wait)
            if done.returncode and self._pid() is not None:
                raise PostgresError(
                    f"Postgres in {self.home} did not stop: {_one_line(done.stderr)}; "
                    'stop(mode="immediate") does not wait for an orderly shutdown'
                )
        self._disown()

    def kill(self) -> None:
        """End the server and its processes with SIGKILL, as a power cut would."""
        if (pid := self._pid()) is not None:
            server = psutil.Process(pid)
            server.suspend()  # so that it starts no more children meanwhile
            family = [server, *server.children()]
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, RETRY_SECONDS)
            self._forget_dead()
        self._disown()

    def restart(self) -> None:
        """Stop the server and start it again, on the same port if that is still free."""
        keep = self._keep or (self._owner is None and self.running)
        self.stop()
        self.start(keep)

    def remove(self) -> None:
        """Stop the server and delete its data, wherever they are."""
        self.stop("immediate")
        for path in (self.home, self.folder / "server"):
            shutil.rmtree(path, ignore_errors=True)
        (self.folder / "elsewhere").unlink(missing_ok=True)

    def create_database(self, name: str) -> None:
        """Create a database where it is missing."""
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                # Unique violation: somebody else created it at the same moment.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(create)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _password(self) -> str:
        try:
            return (self.home / "password").read_text()
        except OSError as error:
            raise PostgresError(
                f"the password of the Postgres in {self.folder} cannot be read ({error.strerror}): "
                "start it first, as the user who made it"
            ) from None

    def _make_home(self) -> tuple[Path, Account | None]:
        """Return the folder of data, password and log, made where missing, and whose it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        home, account = self.home, account_for(self.home)
        with suppress(FileExistsError):
            home.mkdir(mode=0o700)
            _hand_over(home, account)
        if account is None and home.stat().st_uid != os.geteuid():
            raise PostgresError(f"{home} belongs to another user: choose another folder")
        if reachable(home, account):
            return home, account
        return self._make_home_elsewhere(), account

    def _make_home_elsewhere(self) -> Path:
        """Make the home where the plain user can reach it, and leave a note of it in folder."""
        account = account_for(self.folder / "elsewhere")
        with _locked(self.folder):
            if self.home != self.folder / "server":
                return self.home
            for base in open_folders(account):
                home = Path(tempfile.mkdtemp(prefix="totesys-postgres-data-", dir=base))
                _hand_over(home, account)
                (self.folder / "elsewhere").write_text(f"{home}\n")
                return home
        raise PostgresError(
            f"Postgres refuses to run as root, and its plain user can reach neither {self.folder} "
            "nor a folder for temporary files: start this as a plain user"
        )

    def _initialise(self, account: Account | None) -> None:
        """Create the data folder in one step, with a password of its own, where missing."""
        if (made := self._data / "PG_VERSION").is_file():
            if (found := made.read_text().strip()) != str(self.version):
                raise PostgresError(
                    f"{self.home} holds data of Postgres {found}, not {self.version}: "
                    "choose that version or another folder"
                )
            return
        if not (self.home / "password").exists():
            self._write("password", secrets.token_urlsafe(24), account)
        scratch = self.home / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        options = ["--auth=scram-sha-256", f"--username={SUPERUSER}", "--encoding=UTF8"]
        options += ["--locale=C", f"--pwfile={self.home / 'password'}"]
        if self.settings.get("fsync") == "off":
            options.append("--no-sync")
        initdb = programs(self.version, account) / "initdb"
        done = run([initdb, *options, f"--pgdata={scratch}"], account)
        if done.returncode:
            raise PostgresError(f"initdb failed in {self.home}: {_one_line(done.stderr)}")
        scratch.rename(self._data)

    def _launch(self, account: Account | None, keep: bool) -> None:
        """Start the server; what passes within seconds is waited out, the rest is raised."""
        self._disown()
        self._keep = keep
        if not keep:
            self._own(account)
        port = self._free_port()
        deadline = time.monotonic() + RETRY_SECONDS
        patience = time.monotonic() + RETRY_SECONDS / 2
        while (said := self._try_launch(account, port)) is not None and not self._answers():
            passing = any(words in said for words in PASSING)
            if not passing or time.monotonic() > deadline:
                self._disown()
                raise PostgresError(
                    f"Postgres in {self.home} did not start: {_one_line(said)} (log: {self.log})"
                )
            if PORT_TAKEN in said:
                port = free_port()
            if time.monotonic() > patience:
                self._forget_dead()
            time.sleep(0.2)

    def _try_launch(self, account: Account | None, port: int) -> str | None:
        """Start the server on a port; return what it said if it did not come up."""
        lines = (f"{name} = {_quoted(value)}\n" for name, value in self.settings.items())
        self._write("data/postgresql.conf", "".join([*lines, f"port = {port}\n"]), account)
        self._write("port", str(port), account)
        before = self.log.stat().st_size if self.log.exists() else 0
        wait = ("-w", "-t", str(START_SECONDS))
        done = self._pg_ctl(account, "start", "-l", str(self.log), *wait)
        if done.returncode == 0:
            return None
        with suppress(OSError), self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(before)
            return log.read() or done.stderr
        return done.stderr

    def _pg_ctl(self, account: Account | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        pg_ctl = programs(self.version, account) / "pg_ctl"
        return run([pg_ctl, "-D", self._data, *arguments], account)

    def _write(self, name: str, text: str, account: Account | None) -> None:
        """Write a file of the home as its owner, readable by nobody else."""
        script = 'umask 077 && cat > "$1"'
        done = run(["/bin/sh", "-c", script, "sh", self.home / name], account, text)
        if done.returncode:
            raise PostgresError(f"cannot write {self.home / name}: {_one_line(done.stderr)}")

    def _pid(self) -> int | None:
        """Return the process id of the running server."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            return pid if _alive(pid) else None
        return None

    def _forget_dead(self) -> None:
        """Delete the lock file of a dead server.

        Postgres takes a dead process that nobody waits for, as under a container's first
        process, for a living one, and would refuse to start for good.
        """
        if self._pid() is None:
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _answers(self) -> bool:
        """Tell whether the server that answers is the one of this folder."""
        if not self.running:
            return False
        with suppress(psycopg.OperationalError):
            with psycopg.connect(self.url("postgres"), connect_timeout=5) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
            return row is not None and Path(row[0]).resolve() == self._data.resolve()
        return False

    def _free_port(self) -> int:
        """Return the port of last time, so that URLs stay valid, or any free one."""
        with suppress(OSError, PostgresError):
            return free_port(self.port)
        return free_port()

    def _own(self, account: Account | None) -> None:
        """Let the server end with this process, also when that cannot do it itself."""
        self._owner = os.getpid()
        atexit.register(self._at_exit)
        # It reads from us: our end, SIGKILL included, is its end of file.
        script = 'read -r _; exec "$@"'
        pg_ctl = programs(self.version, account) / "pg_ctl"
        stop = (str(pg_ctl), "-D", str(self._data), "-m", "fast", "stop")
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *stop],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment(),
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    def _disown(self) -> None:
        """Forget the server: somebody else may start one in the same folder."""
        guard, self._guard, self._owner = self._guard, None, None
        atexit.unregister(self._at_exit)
        if guard is not None:
            guard.kill()
            guard.communicate()

    def _at_exit(self) -> None:
        if self._owner == os.getpid():  # not in a fork of the process that started it
            with suppress(PostgresError):
                self.stop()


def _hand_over(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.uid, account.gid)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from starting a server in the same folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def free_port(port: int = 0) -> int:
    """Return a port that could be bound just now: the given one, or any free one for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])


def _alive(pid: int) -> bool:
    """Tell whether a process runs; one that died and was not waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _quoted(value: str) -> str:
    """Return a value as postgresql.conf wants it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _one_line(said: str) -> str:
    """Return the last lines of a program's words as one line."""
    return " | ".join(line.strip() for line in said.splitlines()[-5:] if line.strip())
