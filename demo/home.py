"""The demo's folder: what lies where, who may use it, and the environment that it works in."""

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
# The data are made up and can be made again: only a power cut could damage them.
_POSTGRES_SETTINGS = {"fsync": "off"}
# What of the caller's environment would reach Prefect, the pipeline or libpq.
_NOT_INHERITED = ("PREFECT_", "TOTESYS_", "AWS_", "PG")


class DemoError(Exception):
    """What keeps the demo from going on, in one line."""


class InUse(DemoError):
    """Another demo is at work in the folder."""


@dataclass(frozen=True)
class Home:
    """The folder that holds all that a demo makes."""

    folder: Path

    @property
    def raw(self) -> Path:
        """The folder that stands for the raw bucket."""
        return self.folder / "raw"

    @property
    def processed(self) -> Path:
        """The folder that stands for the processed bucket."""
        return self.folder / "processed"

    @property
    def log(self) -> Path:
        """What Prefect, its server and every library had to say."""
        return self.folder / "demo.log"

    def postgres(self) -> Postgres:
        """The server of both databases; not started."""
        return Postgres(self.folder / "postgres", settings=_POSTGRES_SETTINGS)

    def remove(self) -> None:
        """Delete all of it but the lock. A removal that is cut short is finished by the next demo."""
        marker = self.folder / "removing"
        marker.touch()
        self.postgres().remove()
        for path in self.folder.iterdir():
            if path.name not in {"lock", marker.name}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        marker.unlink()

    def finish_removal(self) -> None:
        """Finish a removal that was cut short."""
        if (self.folder / "removing").exists():
            self.remove()

    def forget_buckets(self) -> None:
        """Empty both buckets: they belong to databases that are gone."""
        for path in (self.raw, self.processed):
            shutil.rmtree(path, ignore_errors=True)

    def forget_prefect(self) -> None:
        """Remove Prefect's database: what was due, or under way when a demo ended, would be in the way."""
        shutil.rmtree(self.folder / "prefect", ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from using the folder for the block; raises InUse where somebody does."""
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

    def isolate(self) -> None:
        """Let this process and its children see the demo's own settings and nobody else's.

        Prefect reads its settings when it is imported: call this before.
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
            # Said in full: a worker runs the flows in the project's folder, where a .env may lie.
            "TOTESYS_SOURCE_SCHEMA": "public",
            "TOTESYS_WAREHOUSE_SCHEMA": "public",
            "TOTESYS_TRANSFORMS": str(PROJECT / "transforms"),
        }
        os.chdir(self.folder)  # no .env, prefect.toml or pyproject.toml lies here


def shown(path: Path) -> str:
    """A path as a person in the project's folder would type it."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def command(home: Home, *arguments: str) -> str:
    """A command line of the demo, to be typed in the project's folder."""
    python = Path(sys.executable)
    where = () if home.folder == FOLDER else ("--folder", shown(home.folder))
    return " ".join([shown(python), "-m", "demo", *where, *arguments])
