"""A warehouse with its models, and the steps of a run without Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.capture import extract
from pipeline.capture.as_text import Places, retried_as_text
from pipeline.capture.batch_plan import BatchPlan
from pipeline.capture.extract import Readers
from pipeline.capture.source_columns import changed_columns
from pipeline.errors import LakeIncomplete, ModelError
from pipeline.lake import adapt
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Destination, Manifest
from pipeline.lake.state import compacted
from pipeline.models import library
from pipeline.models.dry_run import verify
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output
from pipeline.models.target import Target
from pipeline.models.transform import transform
from pipeline.postgres import transaction
from pipeline.recovery import etl_from_lake, refill, rehearsal, restate
from pipeline.recovery.rebuild import Rebuild, Selection
from pipeline.recovery.rehearsal import Rehearsal
from pipeline.recovery.replays import Replayer
from pipeline.recovery.restate import Restated
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.source.snapshots import Identity
from pipeline.steps import Pipeline, transform_models
from pipeline.warehouse import catalogue, ledger, load
from pipeline.warehouse.checks import NO_CHECKS, Checks
from pipeline.warehouse.counts import Counts
from pipeline.warehouse.limits import Limits
from pipeline.warehouse.mismatches import examine_tables
from tests.support import execute, query


def transform_all(
    known: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifest: Manifest,
    loaded: Mapping[str, Loaded],
    raw: Bucket,
    processed: Bucket,
) -> dict[str, Output]:
    """Run the models whose result may change, as the flow does."""
    outputs = transform_models(known, targets, manifest, loaded, raw, processed, transform)
    return {output.model: output for output in outputs}


@lru_cache(maxsize=64)
def _load(folder: Path, texts: tuple[str, ...]) -> dict[str, Model]:
    """The models of a folder whose files have these texts."""
    return library.load(folder)


@dataclass
class Warehouse:
    """A warehouse with its models; ``bring`` transforms and loads a batch.

    ``allow`` names changes that somebody consents to.
    """

    url: str
    folder: Path
    raw: Bucket
    processed: Bucket
    schema: str = "public"
    prepared: tuple[tuple[str, tuple[str, ...]], dict[str, Target]] | None = None
    allow: tuple[str, ...] = ()

    @property
    def models(self) -> dict[str, Model]:
        """The models of the folder, with their tables' contracts once these are known."""
        known = _load(self.folder, self._texts)
        return catalogue.with_contracts(known, self.prepared[1]) if self.prepared else known

    @property
    def _texts(self) -> tuple[str, ...]:
        return tuple(path.read_text(encoding="utf-8") for path in sorted(self.folder.rglob("*.*")))

    def prepare(self) -> dict[str, Target]:
        """Create missing tables, and read their contracts."""
        models = _load(self.folder, self._texts)
        found = catalogue.prepare(self.url, self.schema, models, self.folder, self.allow)
        self.prepared = (self.url, self._texts), found
        return found

    def targets(self) -> dict[str, Target]:
        """The tables of the models, prepared if needed."""
        if self.prepared is None or self.prepared[0] != (self.url, self._texts):
            return self.prepare()
        return self.prepared[1]

    def bring(
        self,
        manifest: Manifest,
        max_rejected: int | None = None,
        progress: Callable[[str, int], None] = lambda table, rows: None,
        max_rejected_share: float = 0.2,
        max_deleted_share: float | None = None,
        checks: Checks = NO_CHECKS,
    ) -> dict[str, Counts]:
        """Transform and load a batch; the warehouse is prepared first if its models are new."""
        pipeline = self.pipeline
        counts = load.load(
            self.url,
            self.schema,
            manifest,
            pipeline.targets,
            pipeline.transform(manifest, transform),
            self.processed,
            Limits(max_rejected, max_rejected_share, max_deleted_share),
            progress,
            checks,
        )
        return {count.table: count for count in counts}

    @property
    def pipeline(self) -> Pipeline:
        """The warehouse as a run opens it."""
        targets = self.targets()
        destination, buckets = self.destination, (self.raw, self.processed)
        return Pipeline(self.models, targets, self.url, self.schema, destination, *buckets)

    @property
    def destination(self) -> Destination:
        """Its id and database."""
        self.targets()
        return ledger.destination(self.url, self.schema)

    def last_batch(self) -> str | None:
        """Its last batch."""
        return ledger.fetch_last_batch(self.url, self.schema)

    def become(self, former: Destination | None) -> None:
        """Take the id of the former warehouse, if that was the same schema of the same database."""
        if former and self.destination.is_same_warehouse(former):
            with transaction(self.url, "warehouse") as connection:
                ledger.adopt_id(connection, former)

    def rebuild(
        self, *, until: datetime | None = None, named: str = "", source: Identity | None = None
    ) -> int:
        """Rebuild from the raw bucket, as the flow does; returns the number of batches."""
        if self.refill():
            raise LakeIncomplete("raw bucket: it lacks batches")
        tables = frozenset(library.tables_read(self.models))
        selection = Selection(self.destination, self.last_batch(), tables, source, named)
        rebuild = Rebuild(self.raw, self.processed, selection, until)
        self.become(rebuild.owner)
        unread = adapt.UnreadTables(self.raw, tables)
        return len(list(rebuild.run(self.last_batch, lambda each: self._bring_again(unread.added_to(each)))))

    def _bring_again(self, manifest: Manifest) -> dict[str, Counts]:
        tables = library.tables_read(self.models)
        with_later = adapt.with_later_columns(self.raw, manifest, tables)
        try:
            return self.bring(with_later if tables - manifest.tables.keys() else manifest)
        except ModelError:
            return self.bring(with_later)

    def refill(self) -> bool:
        """Refill tables that are not as they were loaded; returns whether the source must be read in full."""
        found = etl_from_lake.rewrite(self.url, self.schema, self.raw, self.targets(), self.destination)
        if found and found.lacking:
            return True
        mismatches = examine_tables(self.url, self.schema, self.targets())
        return bool(mismatches and refill.refill(self.url, self.schema, self.replayer(), mismatches)[1])

    def restate(self, names: Iterable[str]) -> list[Restated]:
        """Compute these tables again over all batches."""
        return restate.restate(self.url, self.schema, self.replayer(), list(names))

    def changed_models(self) -> list[str]:
        """The models that did not compute what their tables hold."""
        return restate.changed(self.models, ledger.fetch_loaded_models(self.url, self.schema))

    def rehearse(self, lake: Bucket | None = None) -> Rehearsal:
        """A rebuild without effects, compared with this warehouse."""
        *_, found = rehearsal.rehearse(self.url, self.schema, self.models, self.folder, lake or self.raw)
        return found

    def replayer(self) -> Replayer:
        """What computes outputs for batches again."""
        targets = self.targets()
        return Replayer(self.models, targets, self.raw, self.processed)

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return query(self.url, text)

    def rejected(self) -> list[tuple[str, dict[str, str], str]]:
        """Table, key and reason of the rejected rows that are not resolved."""
        return self.query(
            "SELECT table_name, key, reason FROM etl.rejected WHERE NOT resolved ORDER BY 1, 2::text"
        )

    def miscounted(self) -> list[tuple[str, int, int]]:
        """The tables of rows or versions of which etl.model records another number than they have."""
        recorded = self.query(
            "SELECT table_name || suffix, number FROM etl.model CROSS JOIN LATERAL"
            " (VALUES ('', row_count), ('_version', version_count)) AS t (suffix, number)"
            " WHERE number IS NOT NULL ORDER BY 1"
        )
        counted = [
            (name, number, self.query(f"SELECT count(*) FROM {name}")[0][0]) for name, number in recorded
        ]
        return [each for each in counted if each[1] != each[2]]

    def empty(self) -> None:
        """Delete all rows and batches, and keep the tables."""
        names = [
            name
            for (name,) in self.query(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
                " AND NOT (schemaname = 'etl' AND tablename IN ('version', 'warehouse'))"
            )
        ]
        execute(self.url, f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE")


def plan_batch(
    source_url: str,
    house: Warehouse,
    *,
    reconcile: bool = False,
    full: bool = False,
    pages: int = 32_768,
    key: HashKey | None = None,
    reading: Readers | None = None,
    schema: str = "public",
) -> tuple[BatchPlan, Manifest | None]:
    """Plan, read and seal a batch of a real source; no manifest if nothing has changed."""
    reading = reading or readers(source_url, house.raw, key)
    pipeline = house.pipeline

    def take(as_text: Places) -> tuple[BatchPlan, Manifest | None]:
        with snapshots.snapshot(source_url, key) as (connection, snapshot):
            planned = pipeline.plan(
                connection, snapshot, schema, reconcile=reconcile, full=full, key=key, as_text=as_text
            )
            if planned.watermark and planned.nothing_new:
                ledger.record_up_to_date(
                    house.url, house.schema, planned.watermark.batch_id, snapshot, planned.wal_marks
                )
                return planned, None
            list(changed_columns(pipeline.models, pipeline.targets, planned))
            verify(pipeline.models, pipeline.targets, planned.columns, planned.keys)
            read = extract.extract(connection, planned, schema, reading, pages)
        return planned, pipeline.seal(read)

    return retried_as_text(take)


def readers(source_url: str, raw: Bucket, key: HashKey | None = None) -> Readers:
    """Readers that work sequentially."""
    return Readers(
        read=lambda parts: [extract.read_chunk(source_url, part, how, raw, key=key) for part, how in parts],
        find_deleted=lambda found: [
            extract.find_deleted(source_url, "public", each, raw, key) for each in found
        ],
        compact=lambda tables, batch_id: [compacted(table, batch_id, raw) for table in tables],
        write_seed=lambda seed, batch_id: extract.write_seed(seed, batch_id, raw),
    )
