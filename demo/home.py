"""The demo's folder: its contents, its lock, and the environment of its processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.postgres import Postgres

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / ".demo"
SOURCE, WAREHOUSE = "totesys", "warehouse"
# Without fsync only a power cut could damage the data, which can be generated again.
_POSTGRES_SETTINGS = {"fsync": "off"}
IN_USE = "another command uses the databases: they stop at its end; Ctrl-C stops them now"
# Prefixes of variables that Prefect, the pipeline or libpq would read.
_NOT_INHERITED = ("PREFECT_", "TOTESYS_", "AWS_", "PG")


class DemoError(Exception):
    """An error of the demo, in one line."""


class InUse(DemoError):
    """Another demo uses the folder."""


@dataclass(frozen=True)
class Home:
    """The folder with all data of a demo."""

    folder: Path

    @property
    def raw(self) -> Path:
        """The folder used as raw bucket."""
        return self.folder / "raw"

    @property
    def processed(self) -> Path:
        """The folder used as processed bucket."""
        return self.folder / "processed"

    @property
    def log(self) -> Path:
        """The output of Prefect, its server and all libraries."""
        return self.folder / "demo.log"

    def postgres(self) -> Postgres:
        """The server of both databases; not started."""
        return Postgres(self.folder / "postgres", settings=_POSTGRES_SETTINGS)

    def remove(self) -> None:
        """Delete everything but the lock. The next demo completes an interrupted removal."""
        marker = self.folder / "removing"
        marker.touch()
        self.postgres().remove()
        for path in self.folder.iterdir():
            if path.name not in {"lock", marker.name}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        marker.unlink()

    def finish_removal(self) -> None:
        """Complete an interrupted removal."""
        if (self.folder / "removing").exists():
            self.remove()

    def forget_buckets(self) -> None:
        """Empty both buckets, which belong to databases that no longer exist."""
        for path in (self.raw, self.processed):
            shutil.rmtree(path, ignore_errors=True)

    def forget_prefect(self) -> None:
        """Remove Prefect's database with the scheduled and interrupted runs of earlier demos."""
        shutil.rmtree(self.folder / "prefect", ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder while the block runs; raises InUse if another demo holds the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise InUse(f"{shown(self.folder)} is in use by another demo: let it end first") from None
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Use databases that another command has started; it stops them after this block."""
        with (self.folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            yield

    def wait_for_others(self) -> None:
        """Wait until no other command uses the databases that this one has started."""
        with (self.folder / "users").open("w") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(IN_USE, file=sys.stderr, flush=True)
                fcntl.flock(users, fcntl.LOCK_EX)

    def isolate(self) -> None:
        """Give this process and its children the demo's own settings only.

        To be called before Prefect is imported, because it reads its settings then.
        """
        for name in list(os.environ):
            if name.startswith(_NOT_INHERITED) or name.lower().endswith("_proxy"):
                del os.environ[name]
        own = self.folder / "home"
        own.mkdir(exist_ok=True)
        os.environ |= {
            "HOME": str(own),
            "DO_NOT_TRACK": "1",
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_LOGGING_COLORS": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Set explicitly: a worker runs in the project's folder, where there may be a .env.
            "TOTESYS_SOURCE_SCHEMA": "public",
            "TOTESYS_WAREHOUSE_SCHEMA": "public",
            "TOTESYS_TRANSFORMS": str(PROJECT / "transforms"),
        }
        os.chdir(self.folder)  # this folder has no .env, prefect.toml or pyproject.toml


def shown(path: Path) -> str:
    """A path as it is typed in the project's folder."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def command(home: Home, *arguments: str) -> str:
    """A command line of the demo, for the project's folder."""
    python = Path(sys.executable)
    where = () if home.folder == FOLDER else ("--folder", shown(home.folder))
    return " ".join([shown(python), "-m", "demo", *where, *arguments])
