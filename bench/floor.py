"""The floor: what any copy costs. Binary COPY out, piped into COPY in, then keys and indexes.

`psql` does it, in the warehouse that the pipeline itself makes. The dimensions are there
before it begins, so it is a little lower than anything that also has to fill those.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from bench.data import Totals, statement, totals
from bench.errors import BenchError
from bench.figures import FLOOR, SECONDS
from demo.binaries import login
from pipeline.models import library
from pipeline.models.target import RECORDED_AT, Target
from pipeline.postgres import identifiers, template
from pipeline.warehouse import catalogue

FACT = "fact_sales_order"
_OWN_SQL = ("dim_date", "dim_currency")


@dataclass
class Floor:
    """One copy of a source into an empty warehouse, by the psql in that folder."""

    source: str
    warehouse: str
    programs: Path
    transforms: Path
    name: str = FLOOR

    def run(self) -> dict[str, float]:
        """Copy, then create keys, indexes and references; the preparation before that is not timed."""
        copies, demands = self._prepare()
        began = time.monotonic()
        with (
            self._psql(self.source, copies[0], stdout=subprocess.PIPE) as out,
            self._psql(self.warehouse, copies[1], stdin=out.stdout),
        ):
            pass
        with self._psql(self.warehouse, *demands):
            pass
        return {SECONDS: time.monotonic() - began}

    def arrived(self) -> Totals:
        """The copied rows."""
        return totals(self.warehouse, FACT)

    def _prepare(self) -> tuple[tuple[str, str], list[str]]:
        """Create the warehouse and fill its dimensions; returns both COPYs and the statements after them."""
        known = library.load(self.transforms)
        targets = catalogue.prepare(self.warehouse, "public", known, self.transforms)
        with psycopg.connect(self.source) as reader, psycopg.connect(self.warehouse) as writer:
            for reference in targets[FACT].references:
                name = reference.to_table
                model = statement(f"{name}.sql").as_string() if name in _OWN_SQL else known[name].sql
                _fill_once(reader, writer, targets[name], model)
            return _copies(reader, targets[FACT], known[FACT].sql), _strip(writer, FACT)

    @contextmanager
    def _psql(
        self,
        url: str,
        *commands: str,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run commands while the block runs, and wait for their end after it."""
        chosen = [f"--command={command}" for command in commands]
        argv: list[str | Path] = [
            self.programs / "psql",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            *chosen,
        ]
        environment = os.environ | login(url)
        with subprocess.Popen(argv, env=environment, stdin=stdin, stdout=stdout) as process:
            yield process
        if process.returncode:
            raise BenchError(f"psql failed with status {process.returncode}; its output is above")


def _fill_once(reader: psycopg.Connection, writer: psycopg.Connection, target: Target, model: str) -> None:
    """Fill a dimension, unless another reference has done so."""
    table = sql.Identifier(target.name)
    if writer.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(table)).rowcount:
        return
    out, into = _copies(reader, target, model)
    with reader.cursor().copy(out.encode()) as source, writer.cursor().copy(into.encode()) as copy:
        for block in source:
            copy.write(block)


def _copies(reader: psycopg.Connection, target: Target, model: str) -> tuple[str, str]:
    """A model's COPY out of the source in the warehouse's types, and the COPY into its table."""
    query = sql.SQL("SELECT * FROM ({}\n) AS model LIMIT 0").format(template(model))
    names = [column.name for column in reader.execute(query).description or ()]
    types = {column.name: column.type for column in target.columns}
    cast = [sql.SQL("{}::{}").format(sql.Identifier(name), template(types[name])) for name in names]
    out = sql.SQL("COPY (SELECT {} FROM ({}\n) AS model) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(cast), template(model)
    )
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(target.name), identifiers(names)
    )
    return out.as_string(), into.as_string()


def _strip(writer: psycopg.Connection, table: str) -> list[str]:
    """Drop keys, indexes and references of a table; returns the statements that create them again."""
    demands = writer.execute(statement("demands.sql"), {"table": table}).fetchall()
    for dropping, _, _ in reversed(demands):
        writer.execute(dropping.encode())
    time_ = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT now()")
    writer.execute(time_.format(sql.Identifier(table), sql.Identifier(RECORDED_AT)))
    return [making for _, making, _ in demands]
