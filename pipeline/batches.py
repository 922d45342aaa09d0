"""Batches: what one moment of the source left in the raw bucket, sealed by a manifest.

A batch is planned from the one before it, read, and sealed. A manifest lies below the
name of the batch that it follows, so the next one is found by one short listing, and
only what a manifest lists is ever read.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from pipeline.buckets import Bucket, File, batch_folder
from pipeline.cursors import Reached
from pipeline.definition import Definition
from pipeline.errors import BucketError, ObjectMissing
from pipeline.source import Column, Identity, Slice, Snapshot
from pipeline.types import Frozen
from pipeline.witnesses import Continuity

MANIFESTS = "_manifests"
# Not below the others, so that nothing takes a batch for the one that follows.
RESUMED = "_resumed"
# The manifests' format that this code writes; it reads earlier ones, too.
FORMAT = 2

Run = tuple[File, ...]


class StateRun(Frozen):
    """What one batch, or several merged, brought to a table: rows written, and keys of rows that went."""

    files: Run = ()
    gone: Run = ()

    @property
    def rows(self) -> int:
        """How much there is to read of it."""
        return sum(file.rows for file in (*self.files, *self.gone))


State = tuple[StateRun, ...]


class Watermark(Frozen):
    """What the warehouse has: its last batch, and how far the source is known."""

    batch_id: str
    manifest: str
    snapshot_at: datetime
    source_xmin: int


class TableBatch(Frozen):
    """What a batch holds of one table.

    ``files`` are the rows read now, ``gone`` the keys of rows that the source has no more. ``state`` is
    the present state in runs from the oldest to the newest, of which the newest row of a key counts; it
    is None where it cannot be known. ``source_rows`` is how many rows the table has. With
    ``has_commit_times`` the rows read now have commits.COMMITTED, too. ``seed`` is the digest of the file
    that it comes from, where it is not a table of the source.
    """

    table: str
    mode: Literal["full", "changes", "unchanged"]
    reason: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: str
    definition: Definition | None = None
    reached: Reached | None = None
    files: Run = ()
    gone: Run = ()
    state: State | None = None
    source_rows: int | None = None
    has_commit_times: bool = False
    seed: str | None = None

    @property
    def changed(self) -> bool:
        """Whether anything is other than at the batch before."""
        return self.mode == "full" or bool(self.files or self.gone)

    @property
    def rows(self) -> int:
        """Rows read in this batch."""
        return sum(file.rows for file in self.files)


class Part(Frozen):
    """A piece of a batch that one task reads: a table, or one of its ranges of pages."""

    batch_id: str
    table: str
    number: int
    of: int
    whole: bool = False

    @property
    def name(self) -> str:
        """What people see: the table, and which of its parts where there are several."""
        return self.table if self.of == 1 else f"{self.table} {self.number + 1} of {self.of}"

    @property
    def folder(self) -> str:
        """Where its rows go in the raw bucket."""
        return batch_folder(self.table, self.batch_id)


class Reading(Frozen):
    """How a part is read, for as long as its snapshot lasts."""

    snapshot: str
    schema_name: str
    slice: Slice
    columns: tuple[Column, ...]
    expected_rows: int


class Landed(Frozen):
    """What came of a part: its file, or none where it has no rows."""

    part: Part
    files: Run


class Manifest(Frozen):
    """The seal of a batch: everything that later steps may read.

    ``quiet`` are models of which an ordinary run would have seen no change: what reconciling finds there,
    ordinary runs had missed. One that is ``resumed`` was sealed after another batch; a rebuild goes on there
    without those between.
    """

    format: Literal[2] = 2
    batch_id: str
    previous: str | None
    snapshot_at: datetime
    source_xmin: int
    identity: Identity
    continuity: Continuity | None = None
    reconcile: bool
    resumed: bool = False
    quiet: tuple[str, ...] = ()
    landed: tuple[Landed, ...]
    tables: dict[str, TableBatch]

    @property
    def path(self) -> str:
        """Where it lies in the raw bucket."""
        folder = RESUMED if self.resumed else MANIFESTS
        return f"{folder}/after={self.previous or 'nothing'}/{self.batch_id}.json"

    @property
    def rows(self) -> int:
        """Rows read from the source."""
        return sum(table.rows for table in self.tables.values() if table.seed is None)


def _after(previous: str | None) -> str:
    return f"{MANIFESTS}/after={previous or 'nothing'}"


def needs_merging(table: TableBatch) -> bool:
    """Whether a table's state has newest runs that are worth merging into one."""
    return len(mergeable_runs(table.state or ())[1]) > 1


def batch_time(snapshot: Snapshot, watermark: Watermark | None) -> datetime:
    """The batch's moment: the source's clock, but never at or before the last batch's."""
    if watermark is None:
        return snapshot.taken_at
    return max(snapshot.taken_at, watermark.snapshot_at + timedelta(microseconds=1))


def batch_id(moment: datetime, snapshot: Snapshot) -> str:
    """A name that sorts by time and ends in the snapshot's own."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{snapshot.name}"


def mergeable_runs(state: State) -> tuple[State, State]:
    """Split a state into the runs to keep and the newest ones to merge, of which there may be one.

    A run is merged with those after it once they hold half as many rows as it does, so
    there are never more than about log2(rows) runs, and a row is rewritten as often.
    """
    sizes = [run.rows for run in state]
    first = len(state) - 1
    while first > 0 and 2 * sum(sizes[first:]) >= sizes[first - 1]:
        first -= 1
    return state[:first], state[first:]


def seal(bucket: Bucket, manifest: Manifest) -> None:
    """Write the manifest: from here on the batch will be finished, whatever happens."""
    bucket.write_text(manifest.path, manifest.model_dump_json(indent=1))


def last_manifest(bucket: Bucket, watermark: Watermark | None) -> Manifest | None:
    """The manifest of the warehouse's last batch; None before the first, or where it is lost."""
    if watermark is None:
        return None
    try:
        return read_manifest(bucket, watermark.manifest)
    except ObjectMissing:
        return None


def sealed_after(bucket: Bucket, previous: str | None) -> Manifest | None:
    """The sealed batch that follows ``previous`` and waits to be loaded, if any.

    There may be several: two runs that each believed to be alone, or one that the models
    cannot work on and its successor. Only one can have been loaded, the one that others
    follow; as long as none do, the newest is as good as any and the most useful.
    """
    found = [path for path in bucket.list(_after(previous)) if path.endswith(".json")]
    if not found:
        return None
    sealed = [read_manifest(bucket, path) for path in found]
    followed = [manifest for manifest in sealed if bucket.list(_after(manifest.batch_id))]
    return (followed or sealed)[-1]


def is_followed(bucket: Bucket, manifest: Manifest) -> bool:
    """Whether a batch follows this one, which only one that was loaded has."""
    return bool(bucket.list(_after(manifest.batch_id)))


def read_manifest(bucket: Bucket, path: str) -> Manifest:
    """Read a sealed batch's manifest back."""
    try:
        written = json.loads(bucket.read_text(path))
        _refuse_later(written, f"{bucket.uri}: {path}")
        return Manifest.model_validate(_upgraded(written))
    except (ValidationError, ValueError) as error:
        words = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise BucketError(f"{bucket.uri}: {path} is no manifest of this version: {words}") from None


def _refuse_later(manifest: Any, where: str) -> None:  # noqa: ANN401  JSON
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise BucketError(
            f"{where} has format {found}, made by a later release than this one, which knows format {FORMAT};"
            " update the pipeline"
        )


def _upgraded(manifest: Any) -> Any:  # noqa: ANN401  JSON
    """A manifest of format 1 as it would be today: it has no keys of rows that went, and counts no rows."""
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        return manifest
    tables = {name: _upgraded_table(table) for name, table in manifest["tables"].items()}
    return manifest | {"format": 2, "tables": tables}


def _upgraded_table(table: dict[str, Any]) -> dict[str, Any]:
    runs = table.get("state")
    if runs is None and table["mode"] == "full":
        runs = [table["files"]]
    state = None if runs is None else [{"files": run} for run in runs]
    return {key: value for key, value in table.items() if key != "before"} | {"state": state}
