"""Runs of random models over random edits, each table compared with plain Postgres after every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg import sql

from pipeline import warehouse
from pipeline.batches import Manifest
from pipeline.buckets import folder
from tests.differential import grammar, shop
from tests.differential.grammar import Query
from tests.support import Warehouse, execute, plan_batch

KINDS = ("fact", "fact", "dimension", "bridge")
Connection = psycopg.Connection[tuple[object, ...]]
Rows = dict[tuple[object, ...], tuple[object, ...]]


@dataclass(frozen=True)
class Drawn:
    """A model: its kind and its SELECT; of its table a number of one digit, and a column that is not NULL."""

    name: str
    kind: str
    query: Query
    short: str | None = None
    filled: str | None = None

    @property
    def columns(self) -> list[str]:
        """Its columns, those of the key first."""
        rest = [each for each in (*self.query.numbers, *self.query.texts) if each not in self.query.key]
        return [*self.query.key, *rest]

    @property
    def table(self) -> str:
        types = dict.fromkeys(self.query.numbers, "bigint") | dict.fromkeys(self.query.texts, "text")
        if self.short:
            types[self.short] = "numeric(1)"
        if self.filled:
            types[self.filled] += " NOT NULL"
        columns = [f"{name} {type_}" for name, type_ in types.items()]
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)});"

    @property
    def views(self) -> tuple[str, str]:
        """Views for Postgres: what the model yields, and the same as models over it see it."""
        names = [*self.query.numbers, *self.query.texts]
        shown = [f"CASE WHEN abs({n}) < 10 THEN {n} END AS {n}" if n == self.short else n for n in names]
        return (
            f"CREATE VIEW all_of_{self.name} AS {self.query.sql}",
            f"CREATE VIEW {self.name} AS SELECT {', '.join(shown)} FROM all_of_{self.name}",
        )

    def _fits(self, row: tuple[object, ...]) -> bool:
        named = dict(zip(self.columns, row, strict=True))
        short = named[self.short] if self.short else None
        return (short is None or abs(int(str(short))) < 10) and not (
            self.filled and named[self.filled] is None
        )

    @property
    def present(self) -> str:
        """What holds its present rows in the warehouse."""
        return f"{self.name}_current" if self.kind == "fact" else self.name

    def rows(self, connection: Connection, relation: str) -> list[tuple[object, ...]]:
        return connection.execute(f"SELECT {', '.join(self.columns)} FROM {relation}".encode()).fetchall()

    def expected(self, rows: Sequence[tuple[object, ...]], before: Rows) -> Rows:
        """What its table should hold: rejected keys keep what they had, dimensions all rows."""
        keys = [row[: len(self.query.key)] for row in rows]
        times = Counter(keys)
        kept = before if self.kind == "dimension" else {}
        return kept | {
            key: row if times[key] == 1 and self._fits(row) else before[key]
            for key, row in zip(keys, rows, strict=True)
            if (times[key] == 1 and self._fits(row)) or key in before
        }


class _Killed(Exception):
    """The process is gone in the midst of a load."""


@dataclass
class Differential:
    """Some models over the tables of ``grammar``, and what their tables should hold, now and in the past."""

    source_url: str
    warehouse_url: str
    home: Path
    models: list[Drawn]
    expected: dict[str, Rows] = field(default_factory=dict)
    past: list[tuple[datetime, dict[str, Rows]]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    _sealed: tuple[Manifest, dict[str, Rows]] | None = None

    def __post_init__(self) -> None:
        raw, out = folder(str(self.home / "raw")), folder(str(self.home / "out"))
        self.house = Warehouse(self.warehouse_url, self.home / "models", raw, out)
        self.house.folder.mkdir(parents=True)
        for model in self.models:
            text = f"-- kind: {model.kind}\n-- key: {', '.join(model.query.key)}\n{model.query.sql}\n"
            (self.house.folder / f"{model.name}.sql").write_text(text, encoding="utf-8")
            execute(self.source_url, f"SET search_path = oracle, public; {'; '.join(model.views)}")
        tables = "\n".join(model.table for model in self.models)
        (self.house.folder / "schema.sql").write_text(tables, encoding="utf-8")

    def run(self, random: Random) -> str:
        """A run that may be killed and followed by another one; returns what they planned."""
        if self._sealed and random.random() < 0.5:
            self._load(*self._sealed)
        how: dict[str, Any] = random.choice([*([{}] * 8), {"full": True}, {"reconcile": True}])
        planned, manifest = plan_batch(self.source_url, self.house, **how)
        self._sealed = None
        with psycopg.connect(self.source_url) as source:
            self.sources.append(_dump(source))
            expected = {
                model.name: model.expected(
                    model.rows(source, f"oracle.all_of_{model.name}"), self.expected.get(model.name, {})
                )
                for model in self.models
            }
        if manifest is None:
            self.expected = expected
        elif (killed := random.random()) < 0.1 and self.past:
            self._sealed = manifest, expected
        else:
            self._load(manifest, expected, is_killed=killed < 0.2)
        return f"{planned.story}{' (not loaded)' if self._sealed else ''}"

    def _load(self, manifest: Manifest, expected: dict[str, Rows], *, is_killed: bool = False) -> None:
        def kill(table: str, rows: int) -> None:
            raise _Killed(table, rows)

        if is_killed:
            with suppress(_Killed):
                self.house.bring(manifest, progress=kill, max_rejected_share=1)
        if warehouse.last_batch(self.warehouse_url, "public") != manifest.batch_id:
            self.house.bring(manifest, max_rejected_share=1)
        self.expected = expected
        self.past.append((manifest.snapshot_at, expected))

    def differences(self) -> Iterator[str]:
        """What is wrong, as SQL that a person can run."""
        with psycopg.connect(self.warehouse_url) as warehouse:
            for model in self.models:
                for relation, expected in self._promises(model):
                    found = sorted(model.rows(warehouse, relation), key=repr)
                    wanted = sorted(expected.values(), key=repr)
                    if found != wanted:
                        yield from self._script(model, relation)
                        yield f"-- wanted {wanted}\n-- found  {found}"

    def _script(self, wrong: Drawn, relation: str) -> Iterator[str]:
        """What to type into psql to see what should have come."""
        yield f"-- {wrong.name}, a {wrong.kind}: found by SELECT * FROM {relation} in the warehouse"
        yield grammar.SOURCE
        for name, source in zip(("before", "now"), self.sources[-2:], strict=False):
            yield f"-- The source {name}:\n{source}"
        for model in self.models:
            yield from (f"{view};" for view in model.views)
        yield f"SELECT {', '.join(wrong.columns)} FROM all_of_{wrong.name};"

    def _promises(self, model: Drawn) -> Iterator[tuple[str, Rows]]:
        """What to select from, and what should come: now, and for facts as of each earlier batch."""
        yield model.present, self.expected[model.name]
        for moment, expected in self.past if model.kind == "fact" else []:
            yield f"{model.name}_as_of('{moment.isoformat()}')", expected[model.name]


def models(random: Random, number: int) -> list[Drawn]:
    """Random models, of which later ones read earlier ones."""
    made: list[Drawn] = []
    for place in range(number):
        below = [each.query.as_relation(each.name) for each in made[-4:]]
        drawn = grammar.draw(random, [*grammar.TABLES, *below])
        others = [each for each in drawn.numbers if each not in drawn.key]
        short = random.choice(others) if others and random.random() < 0.3 else None
        filled = random.choice(others) if others and random.random() < 0.2 else None
        made.append(Drawn(f"m{place:02}", random.choice(KINDS), drawn, short, filled))
    return made


def _dump(source: Connection) -> str:
    """The source's rows as SQL."""
    lines = []
    for table in grammar.TABLES:
        lines.append(f"TRUNCATE {table.name};")
        for row in source.execute(f"SELECT * FROM {table.name}".encode()):
            values = sql.SQL(", ").join(map(sql.Literal, row)).as_string(source)
            lines.append(f"INSERT INTO {table.name} VALUES ({values});")
    return "\n".join(lines)


def prepare_source(url: str, random: Random) -> None:
    execute(url, grammar.SOURCE, "CREATE SCHEMA oracle")
    with psycopg.connect(url, autocommit=True) as connection:
        shop.fill(connection, random)


def search(
    seed: int, source_url: str, warehouse_url: str, home: Path, *, number: int, runs: int
) -> Sequence[str]:
    """The first differences of some random models over some runs; none where all are right."""
    random = Random(seed)
    prepare_source(source_url, random)
    trial = Differential(source_url, warehouse_url, home, models(random, number))
    for run in range(runs):
        story = trial.run(random)
        if wrong := list(trial.differences()):
            return [f"seed {seed}, run {run}: {story}", *wrong]
        with psycopg.connect(source_url, autocommit=True) as connection:
            shop.edit(connection, random)
    return []
