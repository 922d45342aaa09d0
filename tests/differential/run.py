"""Runs of random models over random edits, each table compared with plain Postgres after every run.

The models change too, and runs are killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import psycopg
from psycopg import sql

from pipeline.capture.batch_plan import BatchPlan
from pipeline.lake import manifests
from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.warehouse import bindings, ledger
from tests.differential import grammar, relations, shop
from tests.differential.choice import choose
from tests.differential.drawn import Connection, Contents, Drawn, Row
from tests.differential.feed import Feed
from tests.differential.relations import FEED, SEED
from tests.house import Warehouse, plan_batch
from tests.support import execute

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
    overlap: int = 0
    feed: Feed = field(default_factory=Feed)
    expected: ContentsByModel = field(default_factory=dict)
    past: list[tuple[datetime, ContentsByModel]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    _sealed: tuple[Manifest, ContentsByModel, Feed] | None = None

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
            + relations.ORACLE
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
        feed, expected = self._contents(planned)
        if manifest is None:
            self.expected = expected
        elif random.random() < 0.1 and self.past:
            self._sealed = manifest, expected, feed
        else:
            self._load(manifest, expected, feed, random)
        return f"{planned.summary}{' (not loaded)' if self._sealed else ''}"

    def _contents(self, planned: BatchPlan) -> tuple[Feed, ContentsByModel]:
        """The rows of the feed that are read after this batch, and the expected contents of all tables."""
        made: ContentsByModel = {}
        with psycopg.connect(self.source_url) as source:
            feed = self.feed
            if plan := planned.tables.get(FEED.name):
                feed = feed.after(source, self.overlap, whole=plan.mode == "full")
            feed.write(source)
            self.sources.append(_dump(source))
            for model in self.models:
                result = model.select(source, f"oracle.all_of_{model.name}")
                made[model.name] = model.contents(result, self.expected.get(model.name, Contents()), made)
        return feed, made

    def _load(self, manifest: Manifest, expected: ContentsByModel, feed: Feed, random: Random) -> None:
        if random.random() < 0.15:
            self._load_and_die(manifest, random)
        if ledger.fetch_last_batch(self.warehouse_url, "public") != manifest.batch_id:
            counts = self.house.bring(manifest, max_rejected_share=1)
            self.alarms += [f"-- {each.table}: reconciling found {each.missed} missed rows"
                            for each in counts.values() if each.missed]  # fmt: skip
        self.expected, self.feed = expected, feed
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


def _as_csv(row: Row) -> str:
    return ",".join("" if value is None else str(value) for value in row)


def _values(row: Row) -> str:
    return sql.SQL(", ").join(map(sql.Literal, row)).as_string()


def _dump(source: Connection) -> str:
    """The source's rows as SQL."""
    lines = []
    for name in (*(table.name for table in relations.TABLES), "feed_row", "read_of_feed"):
        lines.append(f"TRUNCATE {name};")
        rows = source.execute(f"SELECT * FROM {name}".encode())
        lines += [f"INSERT INTO {name} VALUES ({_values(row)});" for row in rows]
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
    keys = {table.text: table.key for table in relations.TABLES}
    # If keys are dropped and added, no model may depend on them.
    changes_keys = random.random() < 0.3
    overlap = random.choice([0, 0, 2])
    drawn = choose(random, number, home / "tried", {} if changes_keys else keys, overlap)
    trial = Differential(
        source_url, warehouse_url, home, drawn, shop.seed_rows(random), changes_keys, overlap
    )
    for run in range(runs):
        plan = trial.run(random)
        if wrong := list(trial.differences()):
            return [f"seed {seed}, run {run}: {plan}", *wrong]
        trial.edit(random)
    return []
