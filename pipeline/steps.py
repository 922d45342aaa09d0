"""The steps of a run: plan a batch, seal it, transform it. The caller decides where the work runs."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from pipeline.capture import planner
from pipeline.capture.as_text import Places
from pipeline.capture.batch_plan import BatchPlan
from pipeline.lake import chains, erasures, manifests
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Destination, Manifest, Watermark
from pipeline.models.library import Model, closure
from pipeline.models.output import Loaded, Output, no_output
from pipeline.models.target import Target
from pipeline.models.work import Work, needed
from pipeline.postgres import Connection, transaction
from pipeline.source.hashing import HashKey
from pipeline.source.snapshots import CLOCK_TOLERANCE, Snapshot
from pipeline.warehouse import ledger

_logger = logging.getLogger(__name__)
_Submitted = TypeVar("_Submitted")


@dataclass
class Pipeline:
    """A warehouse with its models and their tables, and the lake that feeds it."""

    models: dict[str, Model]
    targets: dict[str, Target]
    warehouse_url: str
    warehouse_schema: str
    destination: Destination
    raw: Bucket
    processed: Bucket

    def last_batch(self) -> str | None:
        """The id of the last batch in the warehouse."""
        return ledger.fetch_last_batch(self.warehouse_url, self.warehouse_schema)

    def plan(
        self,
        connection: Connection,
        snapshot: Snapshot,
        source_schema: str,
        *,
        reconcile: bool,
        full: bool,
        key: HashKey | None = None,
        as_text: Places = frozenset(),
    ) -> BatchPlan:
        """Plan the batch that follows the warehouse's last one; ``connection`` holds the snapshot open.

        A warehouse that was moved or copied gets a new id first.
        """
        with transaction(self.warehouse_url, "warehouse") as warehouse:
            watermark = ledger.watermark(warehouse, self.warehouse_schema)
            loaded = ledger.loaded_models(warehouse, self.warehouse_schema)
            forgotten = erasures.in_warehouse(warehouse, self.warehouse_schema)
        previous = manifests.last_manifest(self.raw, watermark)
        if previous and previous.warehouse and self.destination.has_left(previous.warehouse):
            self._renew_id(previous.warehouse)
        if watermark and watermark.snapshot_at > snapshot.taken_at + CLOCK_TOLERANCE:
            _warn_of_clock(snapshot, watermark)
        request = planner.Request(
            self.models,
            loaded,
            watermark,
            previous,
            reconcile=reconcile,
            full=full,
            key=key,
            checkpoint=True,
            forgotten=forgotten.values(),
            as_text=as_text,
        )
        return planner.plan_batch(connection, snapshot, source_schema, request)

    def _renew_id(self, former: Destination) -> None:
        """Take a new id, so that the original, if it is still in use, does not load this one's batches."""
        ledger.renew_id(self.warehouse_url)
        self.destination = ledger.destination(self.warehouse_url, self.warehouse_schema)
        _logger.warning(
            "The warehouse was moved or copied from %s, and is %s from now on; if the original is still in"
            " use, neither loads the other's batches; give a copy buckets of its own",
            former,
            self.destination,
        )

    def seal(self, manifest: Manifest) -> Manifest:
        """Write the manifest of a batch whose tables are all read; from then on every run finishes it."""
        manifest = manifest.model_copy(update={"warehouse": self.destination})
        manifests.seal(self.raw, manifest)
        chains.record_seal(self.processed, manifest)
        return manifest

    def transform(
        self, manifest: Manifest, submit: Callable[[Work], _Submitted]
    ) -> list[_Submitted | Output]:
        """Submit each model whose result may change; returns what ``submit`` does, and empty outputs."""
        loaded = ledger.fetch_loaded_models(self.warehouse_url, self.warehouse_schema)
        return transform_models(self.models, self.targets, manifest, loaded, self.raw, self.processed, submit)


def _warn_of_clock(snapshot: Snapshot, watermark: Watermark) -> None:
    _logger.warning(
        "The source's clock shows %s, and the last batch was read at %s: the clock has gone back; until it"
        " has caught up, each batch's moment is a microsecond after the last one's",
        snapshot.taken_at,
        watermark.snapshot_at,
    )


def transform_models(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifest: Manifest,
    loaded: Mapping[str, Loaded],
    raw: Bucket,
    processed: Bucket,
    submit: Callable[[Work], _Submitted],
) -> list[_Submitted | Output]:
    """Submit each model whose result may change, those that read most rows first.

    The others get an empty output, because rejected rows of their tables are still retried.
    """
    outputs: list[_Submitted | Output] = []
    for name in _longest_first(models, manifest):
        below = closure(models, name)
        if needed(below, manifest, loaded.get(name)):
            outputs.append(submit(Work(below, targets, manifest, loaded.get(name), raw, processed)))
        else:
            outputs.append(no_output(targets[name]))
    return outputs


def _longest_first(models: Mapping[str, Model], manifest: Manifest) -> list[str]:
    rows = {name: table.rows for name, table in manifest.tables.items()}

    def rows_read(name: str) -> int:
        return sum(rows.get(table, 0) for below in closure(models, name).values() for table in below.reads)

    return sorted(models, key=rows_read, reverse=True)


def definitions_digest(models: Mapping[str, Model], targets: Mapping[str, Target]) -> str:
    """A digest that changes with any model and with what any warehouse table takes."""
    lines = [f"{name} {models[name].fingerprint} {targets[name].contract}" for name in sorted(models)]
    return sha256("\n".join(lines).encode()).hexdigest()[:16]
