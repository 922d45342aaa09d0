"""Runs of the job by dlt: each a process of its own, with the Python of ``.venv-dlt``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.data import Totals, totals
from bench.figures import DLT, MEGABYTES, SECONDS, TUNED
from bench.floor import FACT
from bench.processes import run
from demo.home import PROJECT

_PYTHON = PROJECT / ".venv-dlt" / "bin" / "python"
_JOB = PROJECT / "bench" / "dlt_job.py"


@dataclass(frozen=True)
class DltRuns:
    """A dlt project: what it reads, where it loads to, and the folder that it works in."""

    source: str
    warehouse: str
    folder: Path
    tuned: bool

    @property
    def name(self) -> str:
        """Which of the two it is."""
        return TUNED if self.tuned else DLT

    def run(self) -> dict[str, float]:
        """Run the job once: all of the source the first time, what is new from then on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {name: str(self.folder) for name in ("DLT_DATA_DIR", "DLT_PROJECT_DIR")}
        environment |= {"BENCH_SOURCE_URL": self.source, "BENCH_WAREHOUSE_URL": self.warehouse}
        options = ["--tuned"] if self.tuned else []
        models = PROJECT / "transforms"
        ran = run([_PYTHON, _JOB, "--folder", self.folder, "--models", models, *options], environment)
        return {SECONDS: ran.seconds, MEGABYTES: ran.megabytes}

    def arrived(self) -> Totals:
        """The merged rows."""
        return totals(self.warehouse, "star", FACT)


def missing() -> str:
    """Why it cannot take part; nothing where it can."""
    return "" if _PYTHON.exists() else "dlt is not installed"


def version() -> str:
    """Its version."""
    return run([_PYTHON, "-c", "from importlib.metadata import version; print(version('dlt'))"]).said.strip()
