"""The Postgres server of this machine's own packages, with contrib's extensions, if there is one.

``POSTGRES_PROGRAMS=/usr/lib/postgresql/13/bin make test`` runs all tests on a server of one's own instead of
the embedded ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psycopg
import pytest

import demo.binaries
import demo.postgres
from demo.binaries import INSTALLS, Account, programs
from demo.postgres import Postgres
from tests.servers import running_server
from tests.support import execute

PROGRAMS = "POSTGRES_PROGRAMS"
# Which Postgres 14 brought, for tests on 13.
_TERMINATE = """
    CREATE OR REPLACE FUNCTION pg_catalog.pg_terminate_backend(pid int, timeout bigint) RETURNS bool AS $$
        BEGIN
            PERFORM pg_catalog.pg_terminate_backend(pid);
            WHILE EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = $1) LOOP
                PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
            END LOOP;
            RETURN true;
        END
    $$ LANGUAGE plpgsql
"""


def _installed() -> dict[int, Path]:
    """Folders with the programs of a server, by major version: Debian's, and whatever is on the path."""
    found = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin")}
    if server := shutil.which("postgres"):
        folder = Path(server).resolve().parent
        if folder.parent.name.isdigit():
            found.setdefault(int(folder.parent.name), folder)
    return {version: folder for version, folder in found.items() if (folder / "initdb").exists()}


@contextmanager
def system_server() -> Iterator[Postgres]:
    """The oldest of the machine's own servers; the test is skipped where there is none."""
    installed = _installed()
    if not installed:
        pytest.skip("this machine has no Postgres server of its own")
    version = min(installed)

    def of_both(wanted: int, account: Account | None) -> Path:
        return installed[version] if wanted == version else programs(wanted, account)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo.postgres, "programs", of_both)
        with running_server("system", version) as server:
            yield server


@cache
def own_version() -> int:
    """The major version of the server that the environment names, or else of the newest embedded one."""
    return version_of(Path(os.environ[PROGRAMS])) if os.environ.get(PROGRAMS) else max(INSTALLS)


def version_of(folder: Path) -> int:
    """The major version of the server whose programs are in a folder."""
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    return int(re.findall(r"\d+", said.stdout)[0])


def use_own_programs(patch: pytest.MonkeyPatch) -> None:
    """Let every server of the tests be of the programs that the environment names, if it does."""
    if not os.environ.get(PROGRAMS):
        return
    folder = Path(os.environ[PROGRAMS])
    version, as_asked, start = own_version(), Postgres.__init__, Postgres.start

    def of_own(self: Postgres, home: Path, _: int = 0, settings: dict[str, str] | None = None) -> None:
        as_asked(self, home, version, {"password_encryption": "scram-sha-256"} | (settings or {}))

    def started(self: Postgres, *arguments: bool) -> Postgres:
        start(self, *arguments)
        with suppress(psycopg.errors.ReadOnlySqlTransaction):  # it is a standby
            for database in ("template1", "postgres") if version < 14 else ():
                execute(self.url(database), _TERMINATE)
        return self

    patch.setattr(demo.postgres, "programs", lambda wanted, account: folder)
    # Some packages have the server only; psql is then the embedded one.
    clients = folder if (folder / "psql").exists() else None
    patch.setattr(demo.binaries, "programs", lambda wanted, account: clients or programs(18, account))
    patch.setattr(Postgres, "__init__", of_own)
    patch.setattr(Postgres, "start", started)
