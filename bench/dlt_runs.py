"""Runs of the job by dlt: each a process of its own, with the Python of ``.venv-dlt``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from bench import processes
from bench.data import Totals, totals
from bench.figures import DLT, KEYED, MEGABYTES, SECONDS
from bench.floor import FACT
from bench.keeping import STAR
from bench.processes import run
from demo.home import PROJECT
from pipeline.models import library
from pipeline.models.target import Target
from pipeline.postgres import identifiers
from pipeline.warehouse import catalogue

_PYTHON = PROJECT / ".venv-dlt" / "bin" / "python"
_JOB = PROJECT / "bench" / "dlt_job.py"
_MODELS = PROJECT / "transforms"
_STAR = STAR.schema


@dataclass(frozen=True)
class DltRuns:
    """A dlt project: what it reads, where it loads to, the folder that it works in, and which one it is."""

    source: str
    warehouse: str
    folder: Path
    name: str

    def run(self) -> dict[str, float]:
        """Run the job once: all of the source the first time, what is new from then on."""
        is_first = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {name: str(self.folder) for name in ("DLT_DATA_DIR", "DLT_PROJECT_DIR")}
        environment |= {"BENCH_SOURCE_URL": self.source, "BENCH_WAREHOUSE_URL": self.warehouse}
        options = ["--tuned"] * (self.name != DLT) + ["--upsert"] * (self.name == KEYED)
        ran = run([_PYTHON, _JOB, "--folder", self.folder, "--models", _MODELS, *options], environment)
        making_keys = self._make_keys() if is_first and self.name == KEYED else 0
        return {SECONDS: ran.seconds + making_keys, MEGABYTES: ran.megabytes}

    def _make_keys(self) -> float:
        """Give its tables the keys and references that the pipeline's have; returns the seconds that took."""
        targets = catalogue.prepare(self.warehouse, "public", library.load(_MODELS), _MODELS)
        with psycopg.connect(self.warehouse, autocommit=True) as connection:
            there = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [_STAR])
            known = {str(name): targets[name] for (name,) in there if name in targets}
            demands = [*map(_key, known.values()), *_references(known)]
            began = time.monotonic()
            for demand in demands:
                connection.execute(demand)
            return time.monotonic() - began

    def arrived(self) -> Totals:
        """The merged rows."""
        return totals(self.warehouse, _STAR, FACT)


def _key(target: Target) -> sql.Composed:
    table = sql.Identifier(_STAR, target.name)
    return sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table, identifiers(target.key))


def _references(known: Mapping[str, Target]) -> list[sql.Composed]:
    """What makes the references between tables that are there; dlt makes none for models without rows."""
    refer = sql.SQL("ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({})")
    return [
        refer.format(
            sql.Identifier(_STAR, target.name),
            identifiers(reference.columns),
            sql.Identifier(_STAR, reference.to_table),
            identifiers(reference.to_columns),
        )
        for target in known.values()
        for reference in target.references
        if reference.to_table in known
    ]


def missing() -> str:
    """Why it cannot take part; nothing where it can."""
    return "" if _PYTHON.exists() else "dlt is not installed"


def version() -> str:
    """Its version."""
    return processes.version(_PYTHON, "dlt")
