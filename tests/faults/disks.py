"""Small disks that can be full: a file system in memory, which only root may mount."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BALLAST = "ballast"


@dataclass(frozen=True)
class Disk:
    """A small disk, mounted at a folder."""

    folder: Path

    @contextmanager
    def mounted(self, megabytes: int) -> Iterator[None]:
        """Have it for the block, open to everybody as the folder is."""
        mode = f"{self.folder.stat().st_mode & 0o777:o}"
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode={mode}", "tmpfs", self.folder)
        try:
            yield
        finally:
            _run("umount", "--lazy", self.folder)

    def fill(self, left: int = 0) -> None:
        """Leave this many bytes of it."""
        found = os.statvfs(self.folder)
        size = found.f_bavail * found.f_frsize - left
        if size > 0:
            with (self.folder / _BALLAST).open("ab") as ballast, suppress(OSError):
                os.posix_fallocate(ballast.fileno(), 0, size)

    def empty(self) -> None:
        """Have space again."""
        (self.folder / _BALLAST).unlink(missing_ok=True)


@cache
def has_small_disks() -> bool:
    """Whether small disks can be mounted here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    refused = OSError, subprocess.CalledProcessError
    with tempfile.TemporaryDirectory() as folder, suppress(*refused), Disk(Path(folder)).mounted(1):
        return True
    return False


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
