"""The folder of an embedded Postgres server: its data, password, port and log."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from demo.binaries import Account, PostgresError, account_for, open_folders, reachable, run


class ServerFolder:
    """A folder that keeps a server's files from run to run.

    The files are in its subfolder ``server``. If the plain user that Postgres runs as cannot reach that, they
    are in a folder for temporary files, whose path is in the file ``elsewhere``.
    """

    def __init__(self, folder: Path) -> None:
        """Describe a folder; nothing is created before make()."""
        self.folder = Path(folder).absolute()

    @property
    def home(self) -> Path:
        """The folder with data, password, port and log."""
        note = self.folder / "elsewhere"
        if note.is_file() and (elsewhere := Path(note.read_text().strip())).is_dir():
            return elsewhere
        return self.folder / "server"

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.home / "data"

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
    def password(self) -> str:
        """The superuser's password."""
        try:
            return (self.home / "password").read_text()
        except OSError as error:
            raise PostgresError(
                f"the password of the Postgres in {self.folder} cannot be read ({error.strerror}): "
                "start it first, as the user who created it"
            ) from None

    def pid(self) -> int | None:
        """The process id of the running server; None if it does not run."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            return pid if _alive(pid) else None
        return None

    def remove_stale_pid(self) -> None:
        """Delete the lock file of a dead server.

        Postgres takes a dead process that nobody waits for, as under a container's first process, for a
        running one, and would never start again.
        """
        if self.pid() is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def make(self) -> tuple[Path, Account | None]:
        """Create the home if it does not exist; returns it and the user that the server runs as."""
        self.folder.mkdir(parents=True, exist_ok=True)
        home, account = self.home, account_for(self.home)
        with suppress(FileExistsError):
            home.mkdir(mode=0o700)
            _hand_over(home, account)
        if account is None and home.stat().st_uid != os.geteuid():
            raise PostgresError(f"{home} belongs to another user: choose another folder")
        if reachable(home, account):
            return home, account
        return self._make_elsewhere(), account

    def _make_elsewhere(self) -> Path:
        """Create the home where the plain user can reach it."""
        account = account_for(self.folder / "elsewhere")
        with locked(self.folder):
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

    def write(self, name: str, text: str, account: Account | None) -> None:
        """Write a file of the home as its owner, readable by nobody else."""
        script = 'umask 077 && cat > "$1"'
        completed = run(["/bin/sh", "-c", script, "sh", self.home / name], account, text)
        if completed.returncode:
            raise PostgresError(f"cannot write {self.home / name}: {one_line(completed.stderr)}")

    def remove(self) -> None:
        """Delete the server's files, wherever they are."""
        for path in (self.home, self.folder / "server"):
            shutil.rmtree(path, ignore_errors=True)
        (self.folder / "elsewhere").unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from starting a server in the same folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def one_line(output: str) -> str:
    """The last lines of a program's output as one line."""
    return " | ".join(line.strip() for line in output.splitlines()[-5:] if line.strip())


def _hand_over(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that died and was not waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False
