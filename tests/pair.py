"""A real source and warehouse that the tests of a module share."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from demo.postgres import Postgres
from pipeline import pool
from pipeline.lake import manifests
from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.source.hashing import HashKey
from pipeline.warehouse.counts import Counts
from tests.house import Warehouse, plan_batch
from tests.servers import memory
from tests.support import database, execute, query, write_models

EMPTY = ("DROP SCHEMA IF EXISTS public, etl CASCADE", "CREATE SCHEMA public")


@dataclass
class Pair:
    """A source, a warehouse and its buckets; ``tally`` is for whoever wants to count.

    ``key`` is what personal columns are hashed with.
    """

    source_url: str
    house: Warehouse
    home: Path
    tally: Counter[str] = field(default_factory=Counter)
    key: HashKey | None = None

    def fresh(self, models: Mapping[str, str], *source: str) -> None:
        """Start again with empty databases and buckets, these models, and these statements in the source."""
        self.tally["fresh"] += 1
        home = self.home / str(self.tally["fresh"])
        execute(self.source_url, *EMPTY, *source)
        execute(self.house.url, *EMPTY)
        write_models(home / "models", {name: dedent(text).strip() for name, text in models.items()})
        self.house.folder, self.house.prepared, self.house.allow = home / "models", None, ()
        self.house.raw, self.house.processed = folder(f"{home}/raw"), folder(f"{home}/processed")

    def live(self, models: Mapping[str, str], source: Sequence[str], days: Sequence[Sequence[str]]) -> None:
        """The same, then a batch, and one after each day's changes of the source."""
        self.fresh(models, *source)
        self.run()
        for day in days:
            self.do(*day)
            self.run()

    def do(self, *statements: str) -> None:
        """Change the source."""
        execute(self.source_url, *statements)

    def source(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the source."""
        return query(self.source_url, text)

    def sealed(self) -> Manifest | None:
        """The sealed batch that is not loaded, if any."""
        return manifests.sealed_after(self.house.raw, self.house.last_batch(), self.house.destination)

    def run(self, *, reconcile: bool = False, full: bool = False, **limits: Any) -> dict[str, Counts] | None:
        """Finish the sealed batch, then take the next one; None if nothing has changed.

        ``limits`` are those of ``Warehouse.bring``.
        """
        with pool.reused():
            return self._run(reconcile=reconcile, full=full, **limits)

    def _run(self, *, reconcile: bool, full: bool, **limits: Any) -> dict[str, Counts] | None:
        lacking = self.house.prepared is not None and self.house.refill()
        full = full or lacking
        while self.house.prepared and not lacking and (waiting := self.sealed()):
            self.house.become(waiting.warehouse)
            self.house.bring(waiting)
        _, manifest = plan_batch(self.source_url, self.house, reconcile=reconcile, full=full, key=self.key)
        return self.house.bring(manifest, **limits) if manifest else None


@contextmanager
def copied(original: Pair, server: Postgres, home: Path) -> Iterator[Pair]:
    """A copy of the warehouse, its models and its buckets in a new folder, over the same source."""
    with database(server, "copy", f"TEMPLATE {original.house.url.rpartition('/')[2]}") as url:
        shutil.copytree(original.house.folder.parent, home)
        house = Warehouse(url, home / "models", folder(f"{home}/raw"), folder(f"{home}/processed"))
        yield replace(original, house=house, home=home)


@contextmanager
def pair(source_server: Postgres, warehouse_server: Postgres | None = None) -> Iterator[Pair]:
    """Two databases that are dropped when the block ends."""
    with (
        database(source_server, "source") as source_url,
        database(warehouse_server or source_server, "warehouse") as warehouse_url,
        tempfile.TemporaryDirectory(dir=memory()) as home,
    ):
        house = Warehouse(warehouse_url, Path(home), folder(home), folder(home))
        yield Pair(source_url, house, Path(home))
