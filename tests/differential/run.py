"""Runs of random models over random edits, each table compared with plain Postgres after every run.

The models change too, and runs are killed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import psycopg
from psycopg import sql

from pipeline.errors import ModelError
from pipeline.lake import manifests
from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.models import properties
from pipeline.models.library import closure
from pipeline.warehouse import bindings, ledger
from tests.differential import grammar, relations, shop
from tests.differential.drawn import Connection, Contents, Drawn, Row
from tests.differential.relations import SEED
from tests.house import Warehouse, plan_batch
from tests.made_up import made_target
from tests.support import execute, write_models

KINDS = ("fact", "fact", "dimension", "bridge")
ContentsByModel = dict[str, Contents]


class _Killed(Exception):
    """The process is killed during a run."""


@dataclass
class Differential:
    """Some models over the tables of ``relations``, with the expected contents of their tables.

    ``sources`` and ``views`` are SQL that recreates the source and the models of each run.
    """

    source_url: str
    warehouse_url: str
    home: Path
    models: list[Drawn]
    seed_rows: Sequence[Row] = ()
    changes_keys: bool = False
    expected: ContentsByModel = field(default_factory=dict)
    past: list[tuple[datetime, ContentsByModel]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    _sealed: tuple[Manifest, ContentsByModel] | None = None

    def __post_init__(self) -> None:
        raw, out = folder(str(self.home / "raw")), folder(str(self.home / "out"))
        self.house = Warehouse(self.warehouse_url, self.home / "models", raw, out)
        self.original = {model.name: model.query for model in self.models}
        (self.house.folder / "seeds").mkdir(parents=True)
        tables = "\n".join(model.table for model in self.models)
        (self.house.folder / "schema.sql").write_text(tables, encoding="utf-8")
        self._write()

    def _write(self) -> None:
        """The models and the seed as files, and for Postgres as views and a table."""
        lines = [f"{SEED.key[0]}:integer,goal:integer,word:text", *(_as_csv(row) for row in self.seed_rows)]
        (self.house.folder / "seeds" / f"{SEED.name}.csv").write_text("\n".join(lines), encoding="utf-8")
        for model in self.models:
            (self.house.folder / f"{model.name}.sql").write_text(model.file, encoding="utf-8")
        self.views.append(
            "DROP SCHEMA IF EXISTS oracle CASCADE; CREATE SCHEMA oracle; SET search_path = oracle, public;\n"
            + relations.SEED_TABLE
            + "".join(f"\nINSERT INTO {SEED.name} VALUES ({_values(row)});" for row in self.seed_rows)
            + "".join(f"\n{view};" for model in self.models for view in model.views)
        )
        execute(self.source_url, self.views[-1])

    def edit(self, random: Random) -> None:
        """Change rows of the source, and sometimes the seed or a model."""
        with psycopg.connect(self.source_url, autocommit=True) as connection:
            shop.edit(connection, random, changes_keys=self.changes_keys)
        chance = random.random()
        if chance < 0.2:
            self.seed_rows = shop.seed_rows(random)
        elif chance < 0.35 and not self._sealed:
            place = random.randrange(len(self.models))
            model = self.models[place]
            query = random.choice(
                [grammar.varied(random, self.original[model.name]), self.original[model.name]]
            )
            self.models[place] = replace(model, query=query)
        if chance < 0.35:
            self._write()

    def run(self, random: Random) -> str:
        """A run that may be killed and followed by another one; returns the plan."""
        if self._sealed and random.random() < 0.5:
            self._load(*self._sealed, random)
        if random.random() < 0.05:
            with suppress(_Killed), mock.patch.object(manifests, "seal", side_effect=_Killed):
                plan_batch(self.source_url, self.house)
        how: dict[str, Any] = random.choice([*([{}] * 8), {"full": True}, {"reconcile": True}])
        planned, manifest = plan_batch(self.source_url, self.house, **how)
        self._sealed = None
        expected = self._contents()
        if manifest is None:
            self.expected = expected
        elif random.random() < 0.1 and self.past:
            self._sealed = manifest, expected
        else:
            self._load(manifest, expected, random)
        return f"{planned.summary}{' (not loaded)' if self._sealed else ''}"

    def _contents(self) -> ContentsByModel:
        """The expected contents for the present source."""
        made: ContentsByModel = {}
        with psycopg.connect(self.source_url) as source:
            self.sources.append(_dump(source))
            for model in self.models:
                result = model.select(source, f"oracle.all_of_{model.name}")
                made[model.name] = model.contents(result, self.expected.get(model.name, Contents()), made)
        return made

    def _load(self, manifest: Manifest, expected: ContentsByModel, random: Random) -> None:
        if random.random() < 0.15:
            self._load_and_die(manifest, random)
        if ledger.last_batch(self.warehouse_url, "public") != manifest.batch_id:
            counts = self.house.bring(manifest, max_rejected_share=1)
            self.alarms += [f"-- {each.table}: reconciling found {each.missed} missed rows"
                            for each in counts.values() if each.missed]  # fmt: skip
        self.expected = expected
        self.past.append((manifest.snapshot_at, expected))

    def _load_and_die(self, manifest: Manifest, random: Random) -> None:
        """Start a load, and kill it at some table or before its commit."""
        left = random.randrange(len(self.models) + 2)

        def die(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Killed

        commit = mock.patch.object(bindings, "bind", side_effect=_Killed)
        with suppress(_Killed), commit:
            self.house.bring(manifest, progress=die, max_rejected_share=1)

    def differences(self) -> Iterator[str]:
        """The differences, as SQL that reproduces them."""
        yield from self.alarms
        with psycopg.connect(self.warehouse_url) as connection:
            for model in self.models:
                if repeated := _repeated_versions(connection, model):
                    yield f"-- {model.name}: versions that equal the one before: {repeated}"
                for relation, rows in self._promises(model):
                    actual = _tracked(model, model.select(connection, relation))
                    target_rows = _tracked(model, rows.values())
                    if actual != target_rows:
                        yield from self._script(model, relation)
                        yield f"-- expected {target_rows}\n-- actual   {actual}"

    def _script(self, wrong: Drawn, relation: str) -> Iterator[str]:
        """SQL for psql that shows the expected rows."""
        yield f"-- {wrong.name}, a {wrong.kind}: compare SELECT * FROM {relation} in the warehouse"
        yield from (f"-- {line}" for line in (wrong.table, *wrong.file.splitlines()))
        yield relations.SOURCE
        for name, source in zip(("before", "now"), self.sources[-2:], strict=False):
            yield f"-- The source {name}:\n{source}"
        for name, views in zip(("before", "now"), self.views[-2:], strict=False):
            yield f"-- The models {name}, or as they were before they changed:\n{views}"
        yield f"SELECT {', '.join(wrong.columns)} FROM all_of_{wrong.name};"

    def _promises(self, model: Drawn) -> Iterator[tuple[str, dict[Row, Row]]]:
        """Relations and their expected rows: now, and as of each earlier batch."""
        yield model.now, self.expected[model.name].rows
        for moment, held in self.past:
            yield f"{model.name}_as_of('{moment.isoformat()}')", held[model.name].present


def _tracked(model: Drawn, rows: Iterable[Row]) -> list[Row]:
    """The rows in some order, without the values that can be out of date."""
    places = [model.columns.index(name) for name in model.tracked]
    return sorted((tuple(row[place] for place in places) for row in rows), key=repr)


def _repeated_versions(connection: Connection, model: Drawn) -> list[Any]:
    """Versions in the history of a model's table that equal the one before, and follow it without a gap."""
    columns, key = ", ".join(model.tracked), ", ".join(model.query.key)
    return connection.execute(
        f"SELECT * FROM (SELECT {key}, valid_from, row({columns}, deleted)::text"
        f" = lag(row({columns}, deleted)::text) OVER w AND valid_from = lag(valid_to) OVER w AS is_same"
        f" FROM {model.name}_history WINDOW w AS (PARTITION BY {key} ORDER BY valid_from)) AS v WHERE is_same"
    ).fetchall()


# Why a random model may be refused; anything else is a fault of the engine.
REFUSALS = re.compile(r"`-- unstable: allowed`|differently from Postgres")


def models(random: Random, number: int, folder: Path, keys: Mapping[str, tuple[str, ...]]) -> list[Drawn]:
    """Random models, of which later ones read earlier ones and refer to them.

    None is refused if the source's tables have these ``keys``; they are tried in ``folder``.
    """
    made: list[Drawn] = []
    while len(made) < number:
        below = [each.query.as_relation(each.name) for each in made[-4:]]
        drawn = grammar.draw(random, [*relations.TABLES, SEED, *below])
        others = [each for each in drawn.numbers if each not in drawn.key]
        short = random.choice(others) if others and random.random() < 0.3 else None
        filled = random.choice(others) if others and random.random() < 0.2 else None
        refers = _reference(random, [each for each in others if each != short], made)
        # A rejected row whose deletion is ignored is retried forever; the oracle does not model that.
        keeps_deleted = refers is None and random.random() < 0.1
        name, kind = f"m{len(made):02}", random.choice(KINDS)
        untracked = random.choice(others) if others and kind != "bridge" and random.random() < 0.1 else None
        model = Drawn(name, kind, drawn, short, filled, refers, keeps_deleted, untracked)
        try:
            _try([*made, model], folder, keys)
        except ModelError as refused:
            if not REFUSALS.search(str(refused)):
                raise
        else:
            made.append(model)
    return made


def _try(drawn: Sequence[Drawn], folder: Path, keys: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ModelError if the last of the models is refused."""
    all_models = write_models(folder, {model.name: model.file for model in drawn})
    targets = {model.name: made_target(model.name, model.query.key, **model.types) for model in drawn}
    columns = {table.name.strip('"'): table.catalogue for table in (*relations.TABLES, SEED)}
    properties.analysed(closure(all_models, drawn[-1].name), targets, columns, keys)


def _reference(random: Random, columns: Sequence[str], made: Sequence[Drawn]) -> tuple[str, Drawn] | None:
    """A column of numbers and the dimension that it refers to, or None."""
    all_models = [
        each for each in made
        if each.kind == "dimension" and len(each.query.key) == 1 and each.query.key[0] in each.query.numbers
    ]  # fmt: skip
    if not (columns and all_models and random.random() < 0.5):
        return None
    return random.choice(columns), random.choice(all_models)


def _as_csv(row: Row) -> str:
    return ",".join("" if value is None else str(value) for value in row)


def _values(row: Row) -> str:
    return sql.SQL(", ").join(map(sql.Literal, row)).as_string()


def _dump(source: Connection) -> str:
    """The source's rows as SQL."""
    lines = []
    for table in relations.TABLES:
        lines.append(f"TRUNCATE {table.name};")
        rows = source.execute(f"SELECT * FROM {table.name}".encode())
        lines += [f"INSERT INTO {table.name} VALUES ({_values(row)});" for row in rows]
    return "\n".join(lines)


def prepare_source(url: str, random: Random) -> None:
    """The tables of the source, with some rows."""
    execute(url, relations.SOURCE)
    with psycopg.connect(url, autocommit=True) as connection:
        shop.fill(connection, random)


def search(
    seed: int, source_url: str, warehouse_url: str, home: Path, *, number: int, runs: int
) -> Sequence[str]:
    """The first differences of some random models over some runs; empty if there are none."""
    random = Random(seed)
    prepare_source(source_url, random)
    keys = {table.name.strip('"'): table.key for table in relations.TABLES}
    # If keys are dropped and added, no model may depend on them.
    changes_keys = random.random() < 0.3
    drawn = models(random, number, home / "tried", {} if changes_keys else keys)
    trial = Differential(source_url, warehouse_url, home, drawn, shop.seed_rows(random), changes_keys)
    for run in range(runs):
        plan = trial.run(random)
        if wrong := list(trial.differences()):
            return [f"seed {seed}, run {run}: {plan}", *wrong]
        trial.edit(random)
    return []
