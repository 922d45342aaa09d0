"""Runs of random models over random edits, each table compared with plain Postgres after every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random

import psycopg

from pipeline.buckets import folder
from tests.differential import grammar, shop
from tests.differential.grammar import Query
from tests.support import Warehouse, execute, plan_batch

KINDS = ("fact", "fact", "dimension", "bridge")
Connection = psycopg.Connection[tuple[object, ...]]
Rows = dict[tuple[object, ...], tuple[object, ...]]


@dataclass(frozen=True)
class Drawn:
    """A model: its kind and its SELECT."""

    name: str
    kind: str
    query: Query

    @property
    def columns(self) -> list[str]:
        """Its columns, those of the key first."""
        rest = [each for each in (*self.query.numbers, *self.query.texts) if each not in self.query.key]
        return [*self.query.key, *rest]

    @property
    def table(self) -> str:
        columns = [
            *(f"{each} bigint" for each in self.query.numbers),
            *(f"{each} text" for each in self.query.texts),
        ]
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)});"

    @property
    def present(self) -> str:
        """What holds its present rows in the warehouse."""
        return f"{self.name}_current" if self.kind == "fact" else self.name

    def rows(self, connection: Connection, relation: str) -> list[tuple[object, ...]]:
        return connection.execute(f"SELECT {', '.join(self.columns)} FROM {relation}".encode()).fetchall()

    def expected(self, rows: Sequence[tuple[object, ...]], before: Rows) -> Rows:
        """What its table should hold: keys that are not unique keep what they had, dimensions all rows."""
        keys = [row[: len(self.query.key)] for row in rows]
        times = Counter(keys)
        kept = before if self.kind == "dimension" else {}
        return kept | {
            key: row if times[key] == 1 else before[key]
            for key, row in zip(keys, rows, strict=True)
            if times[key] == 1 or key in before
        }


@dataclass
class Differential:
    """Some models over the tables of ``grammar``, and what their tables should hold, now and in the past."""

    source_url: str
    warehouse_url: str
    home: Path
    models: list[Drawn]
    expected: dict[str, Rows] = field(default_factory=dict)
    past: list[tuple[datetime, dict[str, Rows]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        raw, out = folder(str(self.home / "raw")), folder(str(self.home / "out"))
        self.house = Warehouse(self.warehouse_url, self.home / "models", raw, out)
        self.house.folder.mkdir(parents=True)
        for model in self.models:
            text = f"-- kind: {model.kind}\n-- key: {', '.join(model.query.key)}\n{model.query.sql}\n"
            (self.house.folder / f"{model.name}.sql").write_text(text, encoding="utf-8")
            view = f"CREATE VIEW oracle.{model.name} AS {model.query.sql}"
            execute(self.source_url, f"SET search_path = oracle, public; {view}")
        tables = "\n".join(model.table for model in self.models)
        (self.house.folder / "schema.sql").write_text(tables, encoding="utf-8")

    def run(self) -> str:
        """One run; returns what it planned."""
        planned, manifest = plan_batch(self.source_url, self.house)
        if manifest:
            self.house.bring(manifest)
        with psycopg.connect(self.source_url) as source:
            self.expected = {
                model.name: model.expected(
                    model.rows(source, f"oracle.{model.name}"), self.expected.get(model.name, {})
                )
                for model in self.models
            }
        if manifest:
            self.past.append((manifest.snapshot_at, self.expected))
        return planned.story

    def differences(self) -> Iterator[str]:
        """What is wrong, as SQL that a person can run."""
        with psycopg.connect(self.warehouse_url) as warehouse:
            for model in self.models:
                for relation, expected in self._promises(model):
                    found = sorted(model.rows(warehouse, relation), key=repr)
                    wanted = sorted(expected.values(), key=repr)
                    if found != wanted:
                        yield f"-- {model.name}, a {model.kind}\n{model.query.sql};\nFROM {relation};"
                        yield f"-- wanted {wanted}\n-- found  {found}"

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
        made.append(Drawn(f"m{place:02}", random.choice(KINDS), drawn))
    return made


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
        story = trial.run()
        if wrong := list(trial.differences()):
            return [f"seed {seed}, run {run}: {story}", *wrong]
        with psycopg.connect(source_url, autocommit=True) as connection:
            shop.edit(connection, random)
    return []
