"""The benchmark's rounds: in each, every candidate runs once into a fresh warehouse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

from bench import far, keeping, released
from bench.copiers import Copier
from bench.data import Source, Totals, recent_monday, totals, vacuum
from bench.dlt_runs import DltRuns
from bench.errors import BenchError
from bench.figures import (
    CHANGED,
    CLICKED,
    DELETED,
    DIMENSION,
    DLT,
    EMPTY,
    FAR,
    FLOOR,
    FORGOTTEN,
    FULL,
    INGESTR,
    KEPT,
    KEYED,
    LARGE,
    LARGE_CHANGED,
    LARGE_SAME,
    MEGABYTES,
    MELTANO,
    NOTHING,
    PAGE,
    PIPELINE,
    QUARTER,
    READ,
    REBUILT,
    RELEASED,
    RELINKED,
    RESTATED,
    SECONDS,
    TUNED,
    UNSCANNED,
    VERIFIED,
    Figures,
    words,
)
from bench.floor import FACT, Floor
from bench.pages import clicks
from bench.plan import COPIERS, DLTS, Options
from bench.prefect_runs import Flows, PipelineRuns
from bench.reads import read, read_dimension
from demo.home import PROJECT
from demo.postgres import Postgres

_ONE_IN, _A_QUARTER, _DELETED = 100, 4, 10_000
_RELATIONS = {
    PIPELINE: keeping.OURS,
    **dict.fromkeys(DLTS, keeping.STAR),
    **dict.fromkeys(COPIERS, keeping.COPY),
}


class Contender(keeping.Loader, Protocol):
    """A loader that takes part in the rounds."""

    @property
    def name(self) -> str:
        """Its name."""

    def arrived(self) -> Totals:
        """The totals of its warehouse."""


@dataclass
class Bench:
    """A benchmark on running servers; ``say`` prints its progress."""

    options: Options
    server: Postgres
    flows: Flows
    programs: Path
    folder: Path
    say: Callable[[str], None]
    figures: Figures = field(default_factory=Figures)

    def run(self) -> Figures:
        """Generate the data, then measure in rounds."""
        source = self._made("source", self.options.orders)
        large = self._made("source_large", self.options.large) if self.options.large else None
        for number in range(1, self.options.rounds + 1):
            self.say(f"round {number} of {self.options.rounds}")
            self._round(source, [who for who in self.options.only if number <= self.options.rounds_of(who)])
            if large and PIPELINE in self.options.only:
                self._large_round(large, source.orders // _ONE_IN)
        if PAGE in self.options.only:
            self._page()
        return self.figures

    def _page(self) -> None:
        """The web page on a shop with purchases and payments, after 1% of the sales orders have changed."""
        source = self._made("source_of_page", self.options.orders, recent_monday())
        source.trade()
        with self._contender(source, PIPELINE) as pipeline:
            pipeline.run()
            source.change(_ONE_IN)
            pipeline.run()
            vacuum(pipeline.warehouse)
            for click, measured in clicks(pipeline.warehouse).items():
                self._note(CLICKED, click, measured)

    def _made(self, name: str, orders: int, monday: date | None = None) -> Source:
        self.say(f"making a source of {words(orders)} sales orders")
        self.server.create_database(name)
        source = Source(self.server.url(name), orders)
        source.monday = monday or source.monday
        source.make()
        return source

    def _round(self, source: Source, taking_part: list[str]) -> None:
        with ExitStack() as stack:
            if FLOOR in taking_part:
                with self._contender(source, FLOOR) as floor:
                    self._measure(FULL, floor, source)
            if RELEASED in taking_part:
                self._released_round(source)
            runs = [stack.enter_context(self._contender(source, who)) for who in self._loaders(taking_part)]
            for contender in runs:
                self._measure(FULL, contender, source)
            source.change(_ONE_IN)
            for contender in runs:
                self._measure(CHANGED, contender, source)
            for contender in runs:
                self._measure(NOTHING, contender, source)
            self._check_what_is_kept(source, runs)
            if runs and runs[0].name == PIPELINE:
                self._change_and_read(source, runs[0])
        if EMPTY in taking_part:
            self._note(NOTHING, EMPTY, self.flows.empty())
        if FAR in taking_part:
            far.measure(self._warehouse, self.flows.api, self._note)

    def _released_round(self, source: Source) -> None:
        """The former release alone, because both keep their databases in the same Prefect blocks."""
        with self._contender(source, RELEASED) as former:
            self._measure(FULL, former, source)
            source.change(_ONE_IN)
            self._measure(CHANGED, former, source)

    def _check_what_is_kept(self, source: Source, runs: list[Contender]) -> None:
        """Compare each warehouse with the source after changes that programs may miss."""
        changes = keeping.change(source)
        for contender in runs:
            kept = keeping.check(source, changes, contender, _RELATIONS[contender.name])
            self.figures.add(KEPT, contender.name, kept)
            self.say(f"  {KEPT:<24} {contender.name:<18}{', '.join(what for what in kept if kept[what])}")

    def _change_and_read(self, source: Source, pipeline: Contender) -> None:
        """Our own flow only: deletions, a changed joined row, and the cost of history for readers."""
        source.delete(_DELETED)
        self._measure(DELETED, pipeline, source)
        source.relink()
        self._measure(RELINKED, pipeline, source)
        source.change(_A_QUARTER)
        self._measure(QUARTER, pipeline, source)
        for who, measured in read(pipeline.warehouse).items():
            self._note(READ, who, measured)
        for table in ("staff", "counterparty"):
            self._note(FORGOTTEN, table, self.flows.forget(table, 1))
        self._note(VERIFIED, pipeline.name, self.flows.verify())
        self._change_a_model(source, pipeline)

    def _change_a_model(self, source: Source, pipeline: Contender) -> None:
        """Restate the fact by a model that changes every version, and rebuild another warehouse with it."""
        models = self.folder / "models"
        shutil.copytree(PROJECT / "transforms", models, dirs_exist_ok=True)
        model = models / f"{FACT}.sql"
        model.write_text(
            model.read_text(encoding="utf-8").replace("units_sold,", "units_sold + 1 AS units_sold,")
        )
        self._note(RESTATED, pipeline.name, self.flows.restate(models))
        with self._warehouse("rebuilt") as (url, _):
            self.flows.connect(source.url, url, self.folder / PIPELINE)
            self._note(REBUILT, pipeline.name, self.flows.rebuild(models))
            if (rebuilt := totals(url, f"{FACT}_current")) != pipeline.arrived():
                raise BenchError(f"restated: {pipeline.arrived()}, rebuilt: {rebuilt}")
            for who, measured in read_dimension(url).items():
                self._note(DIMENSION, who, measured)

    def _large_round(self, source: Source, rows: int) -> None:
        """Our own flow only: as many changed rows as in the smaller source, then the same share."""
        with self._contender(source, PIPELINE) as pipeline:
            self._measure(LARGE, pipeline, source)
            source.change(source.orders // rows)
            self._measure(LARGE_SAME, pipeline, source)
            source.change(_ONE_IN)
            self._measure(LARGE_CHANGED, pipeline, source)

    def _loaders(self, taking_part: list[str]) -> list[str]:
        return [who for who in (PIPELINE, DLT, TUNED, KEYED, MELTANO, INGESTR) if who in taking_part]

    def _measure(self, work: str, contender: Contender, source: Source) -> None:
        """Run a candidate, add its figures, and compare the totals."""
        _settle(self.server)
        self._note(work, contender.name, contender.run())
        vacuum(contender.warehouse)
        if (arrived := contender.arrived()) != (expected := source.totals()):
            raise BenchError(f"{contender.name}, {work}: {arrived} arrived of {expected}")

    def _note(self, work: str, who: str, measured: dict[str, float]) -> None:
        self.figures.add(work, who, measured)
        memory = f"{measured[MEGABYTES]:6.0f} MB" if MEGABYTES in measured else ""
        others = {SECONDS, MEGABYTES, UNSCANNED}
        rest = ", ".join(f"{what} {figure:.2f}" for what, figure in measured.items() if what not in others)
        self.say(f"  {work:<24} {who:<18}{measured[SECONDS]:7.2f} s{memory}  {rest}".rstrip())

    @contextmanager
    def _contender(self, source: Source, who: str) -> Iterator[Contender]:
        with self._warehouse(who) as (url, folder):
            if who == FLOOR:
                yield Floor(source.url, url, self.programs, PROJECT / "transforms")
            elif who == PIPELINE:
                yield PipelineRuns(source.url, url, folder, self.flows)
            elif who == RELEASED:
                home = released.unpack(self.folder / "release")
                yield PipelineRuns(source.url, url, folder, replace(self.flows, home=home), RELEASED)
            elif who in COPIERS:
                yield Copier(source.url, url, folder, who)
            else:
                yield DltRuns(source.url, url, folder, who)

    @contextmanager
    def _warehouse(self, name: str) -> Iterator[tuple[str, Path]]:
        """A fresh database and folder, removed when the block ends."""
        folder = self.folder / name.replace(", ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        self.server.create_database(name)
        try:
            yield self.server.url(name), folder
        finally:
            _execute(self.server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            shutil.rmtree(folder, ignore_errors=True)


def _settle(server: Postgres) -> None:
    """Flush all writes of earlier runs before the next one is timed."""
    _execute(server, sql.SQL("CHECKPOINT"))
    os.sync()


def _execute(server: Postgres, query: sql.SQL | sql.Composed) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(query)
