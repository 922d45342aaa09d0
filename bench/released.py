"""Release 0.1 of this project, from the history of its repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.errors import BenchError
from demo.home import PROJECT

# Its last commit.
_REVISION = "3acf09d05c137678f422abd67f5e45be1e8539be"


def exists() -> bool:
    """Whether the history has it; a copy without history does not."""
    try:
        _git("rev-parse", "--verify", "--quiet", f"{_REVISION}^{{commit}}")
    except BenchError:
        return False
    return True


def unpack(folder: Path) -> Path:
    """Write its files into a folder, unless they are there."""
    if not folder.exists():
        folder.mkdir(parents=True)
        archive = folder / "release.tar"
        _git("archive", f"--output={archive}", _REVISION)
        shutil.unpack_archive(archive, folder, filter="data")
        archive.unlink()
    return folder


def _git(*arguments: str) -> None:
    try:
        subprocess.run(
            [shutil.which("git") or "git", "-C", PROJECT, *arguments], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise BenchError("git does not show release 0.1") from None
