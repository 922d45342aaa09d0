"""Programs that copy the source's tables, without models: Meltano's tap and target, and ingestr."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.data import Totals, statement, totals
from bench.figures import INGESTR, MEGABYTES, MELTANO, SECONDS
from bench.keeping import COPY
from bench.processes import Ran, run, version
from demo.home import PROJECT

_PROGRAMS = {name: PROJECT / f".venv-{name}" / "bin" for name in (MELTANO, INGESTR)}
_PACKAGES = {MELTANO: ("meltanolabs-tap-postgres", "meltanolabs-target-postgres"), INGESTR: ("ingestr",)}


@dataclass(frozen=True)
class Copier:
    """A program that copies every table: what it reads, where it writes, the folder that it works in."""

    source: str
    warehouse: str
    folder: Path
    name: str

    def run(self) -> dict[str, float]:
        """Copy once: everything the first time, what is new by ``last_updated`` from then on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ran = (
            [self._meltano()] if self.name == MELTANO else [self._ingestr(table) for table in self._tables()]
        )
        return {SECONDS: sum(one.seconds for one in ran), MEGABYTES: max(one.megabytes for one in ran)}

    def arrived(self) -> Totals:
        """The copied rows."""
        return totals(self.warehouse, COPY.schema, COPY.present)

    def _meltano(self) -> Ran:
        """The tap as documented, the target with the COPY that its documentation names as faster."""
        environment = {
            "TAP_POSTGRES_SQLALCHEMY_URL": self.source,
            "TAP_POSTGRES_FILTER_SCHEMAS": '["public"]',
            "TARGET_POSTGRES_SQLALCHEMY_URL": self.warehouse.replace("postgresql:", "postgresql+psycopg:"),
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": COPY.schema,
            "TARGET_POSTGRES_USE_COPY": "true",
        }
        job = PROJECT / "bench" / "meltano_job.py"
        return run([sys.executable, job, _PROGRAMS[MELTANO], self.folder], environment)

    def _ingestr(self, table: str) -> Ran:
        environment = {
            "INGESTR_SOURCE_URI": self.source,
            "INGESTR_DESTINATION_URI": self.warehouse,
            "INGESTR_DISABLE_TELEMETRY": "true",
            "HOME": str(self.folder),
        }
        options = {
            "source-table": f"public.{table}",
            "dest-table": f"{COPY.schema}.{table}",
            "incremental-strategy": "merge",
            "incremental-key": "last_updated",
            "primary-key": f"{table}_id",
            "progress": "log",
        }
        chosen = [f"--{name}={value}" for name, value in options.items()]
        return run([_PROGRAMS[INGESTR] / "ingestr", "ingest", "--yes", *chosen], environment)

    def _tables(self) -> list[str]:
        with psycopg.connect(self.source) as connection:
            found = connection.execute(statement("tables.sql"))
            return [str(name) for (name,) in found]


def missing() -> frozenset[str]:
    """Those that are not installed."""
    return frozenset(name for name, programs in _PROGRAMS.items() if not (programs / "python").exists())


def versions() -> list[str]:
    """The packages of those that are installed, with their versions."""
    return [
        f"{package} {version(_PROGRAMS[name] / 'python', package)}"
        for name in _PROGRAMS.keys() - missing()
        for package in _PACKAGES[name]
    ]
