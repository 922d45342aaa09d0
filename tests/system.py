"""The Postgres server of this machine's own packages, with contrib's extensions, if there is one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import demo.postgres
from demo.binaries import Account, programs
from demo.postgres import Postgres


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

    home = Path(tempfile.mkdtemp(prefix="tests-system-"))
    home.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo.postgres, "programs", of_both)
        server = Postgres(home, version, {"fsync": "off", "full_page_writes": "off"})
        try:
            yield server.start()
        finally:
            server.remove()
            shutil.rmtree(home, ignore_errors=True)
