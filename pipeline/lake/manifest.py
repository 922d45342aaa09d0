"""A manifest: the file that lists everything that belongs to a batch, by table and by chunk."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from pipeline.columns import Column, Frozen
from pipeline.lake.buckets import File
from pipeline.lake.erasures import Erasure
from pipeline.lake.paths import BatchId, batch_folder
from pipeline.source.changes import Slice
from pipeline.source.cursors import Reached
from pipeline.source.definition import Definition
from pipeline.source.snapshots import Identity, Snapshot
from pipeline.source.wal_summaries import Marks
from pipeline.source.witnesses import Continuity

MANIFESTS = "_manifests"
# Manifests of resumed batches. A search for the next batch does not list this folder.
RESUMED = "_resumed"
# The start of a batch id: the batch's moment in UTC.
TIME = "%Y%m%dT%H%M%S%fZ"

Files = tuple[File, ...]


class StateDelta(Frozen):
    """The changes of one batch, or of several merged ones: written rows, and keys of deleted rows."""

    files: Files = ()
    # Manifests before format 3, and results in etl.model that were stored then, have ``gone``.
    deleted: Files = Field(default=(), validation_alias=AliasChoices("deleted", "gone"))

    @property
    def all_files(self) -> Files:
        """All objects of the delta."""
        return (*self.files, *self.deleted)

    @property
    def rows(self) -> int:
        """The number of rows and keys in its files."""
        return sum(file.rows for file in self.all_files)


State = tuple[StateDelta, ...]


class Watermark(Frozen):
    """The last batch in the warehouse, and the lowest transaction that was open at its snapshot.

    ``wal_marks`` are those of a later run that found nothing new.
    """

    batch_id: str
    manifest: str
    snapshot_at: datetime
    source_xmin: int
    wal_marks: Marks | None = None


class TableBatch(Frozen):
    """One table in a batch.

    ``files`` has the rows that the batch read, ``deleted`` the keys of deleted rows.
    ``state`` has the deltas of the present state, oldest first; the newest row of a key counts. It is None
    where the state is unknown.
    ``source_rows`` is the row count of the table.
    ``has_commit_times``: the rows have the column commits.COMMITTED.
    ``seed`` is the digest of a seed's file; None for a table of the source.
    ``former_names``: earlier batches read the table by these, before it was renamed or moved.
    """

    table: str
    mode: Literal["full", "changes", "unchanged"]
    reason: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: str
    filenodes: str = ""
    definition: Definition | None = None
    reached: Reached | None = None
    files: Files = ()
    deleted: Files = ()
    state: State | None = None
    source_rows: NonNegativeInt | None = None
    has_commit_times: bool = False
    seed: str | None = None
    former_names: tuple[str, ...] = ()

    @property
    def all_files(self) -> Files:
        """All objects of the table, those of its state included."""
        deltas = (StateDelta(files=self.files, deleted=self.deleted), *(self.state or ()))
        return tuple(file for delta in deltas for file in delta.all_files)

    @property
    def changed(self) -> bool:
        """Whether the batch read or deleted rows of the table."""
        return self.mode == "full" or bool(self.files or self.deleted)

    @property
    def rows(self) -> int:
        """The number of rows that the batch read."""
        return sum(file.rows for file in self.files)


class Chunk(Frozen):
    """What one extract task reads: a table, or one of its ranges of pages.

    ``full``: the table is read in full. It is stored as ``whole``, as in manifests of all releases.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    batch_id: BatchId
    table: str
    number: NonNegativeInt
    of: PositiveInt
    full: bool = Field(
        default=False, validation_alias=AliasChoices("full", "whole"), serialization_alias="whole"
    )

    @property
    def name(self) -> str:
        """The name in the UI: the table, and the number of the chunk where there are several."""
        return self.table if self.of == 1 else f"{self.table} {self.number + 1} of {self.of}"

    @property
    def folder(self) -> str:
        """The folder of its rows in the raw bucket."""
        return batch_folder(self.table, self.batch_id)


class ReadSpec(Frozen):
    """How a chunk is read, for as long as its snapshot lasts; ``erasure`` has the values to hide."""

    snapshot: str
    schema_name: str
    slice: Slice
    columns: tuple[Column, ...]
    expected_rows: int
    erasure: Erasure | None = None


class ReadChunk(Frozen):
    """A chunk that was read, with its file; without files where it has no rows."""

    chunk: Chunk
    files: Files


class Destination(Frozen):
    """Where batches are loaded: a schema of a warehouse; ``id`` is stored in its schema ``etl``."""

    id: str
    system: str
    database: str
    schema_name: str

    def is_same_warehouse(self, other: "Destination") -> bool:
        """Whether both are in one warehouse: by id, which dumps include, or by system and database."""
        return self.id == other.id or (self.system, self.database) == (other.system, other.database)

    def is_same(self, other: "Destination") -> bool:
        """Whether both are the same schema of one warehouse."""
        return self.is_same_warehouse(other) and self.schema_name == other.schema_name

    def has_left(self, former: "Destination") -> bool:
        """Whether it has the id of a warehouse in another database: it was moved there, or is a copy."""
        return self.id == former.id and (self.system, self.database) != (former.system, former.database)

    def __str__(self) -> str:
        return f"{self.database}.{self.schema_name} ({self.id})"


class Manifest(Frozen):
    """Everything that belongs to a sealed batch; later steps read nothing else.

    ``release`` is the release that read the batch, ``warehouse`` its destination, ``source_schema`` the main
    schema of the source, whose tables are named without it; manifests of earlier releases lack them.
    ``unchanged`` are models in which an ordinary run would have found no change. A change that a reconciling
    batch finds there was missed by earlier runs.
    ``resumed``: a rebuild continued here, after batches that are lost. ``read_at`` is what the source's clock
    showed, if that is not ``snapshot_at``, because it had shown a later time before.
    """

    format: Literal[3] = 3
    release: str | None = None
    batch_id: BatchId
    previous: BatchId | None
    snapshot_at: datetime
    read_at: datetime | None = None
    source_xmin: NonNegativeInt
    identity: Identity
    warehouse: Destination | None = None
    continuity: Continuity | None = None
    wal_marks: Marks | None = None
    reconcile: bool
    resumed: bool = False
    source_schema: str | None = None
    # Its name in manifests of formats 1 and 2 is quiet.
    unchanged: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("unchanged", "quiet"))
    chunks: tuple[ReadChunk, ...]
    tables: dict[str, TableBatch]

    @model_validator(mode="after")
    def _is_consistent(self) -> "Manifest":
        if self.previous is not None and self.previous >= self.batch_id:
            raise ValueError(f"batch {self.batch_id} is not later than {self.previous}, which it follows")
        for read in self.chunks:
            if read.chunk.batch_id != self.batch_id:
                raise ValueError(f"chunk {read.chunk.name} is of batch {read.chunk.batch_id}")
        for name, table in self.tables.items():
            folder = batch_folder(name, "")
            if table.table != name or not all(file.path.startswith(folder) for file in table.all_files):
                raise ValueError(f"table {name} has the name or objects of another table")
        return self

    @property
    def up_to_date_at(self) -> datetime:
        """The source's time, by its own clock, that a warehouse with this batch is up to date with."""
        return self.read_at or self.snapshot_at

    @property
    def all_files(self) -> Files:
        """All objects that it names."""
        chunks = (file for each in self.chunks for file in each.files)
        return (*chunks, *(file for table in self.tables.values() for file in table.all_files))

    @property
    def columns(self) -> dict[str, tuple[Column, ...]]:
        """The columns of its tables, by name."""
        return {name: table.columns for name, table in self.tables.items()}

    @property
    def primary_keys(self) -> dict[str, tuple[str, ...]]:
        """The primary keys of its tables, empty where there is none.

        ``dict(manifest)`` would call an attribute named keys.
        """
        return {name: table.key for name, table in self.tables.items()}

    @property
    def path(self) -> str:
        """Its path in the raw bucket."""
        folder = RESUMED if self.resumed else MANIFESTS
        return f"{folder}/after={self.previous or 'nothing'}/{self.batch_id}.json"

    @property
    def rows(self) -> int:
        """The number of rows read from the source."""
        return sum(table.rows for table in self.tables.values() if table.seed is None)

    def may_be_for(self, destination: Destination | None, source_schema: str | None = None) -> bool:
        """Whether the batch belongs to that warehouse; True where either is unknown.

        Schemas of a warehouse share those that were read from one schema of the source.
        """
        if destination is None or self.warehouse is None or destination.is_same(self.warehouse):
            return True
        is_same_schema = None in {source_schema, self.source_schema} or source_schema == self.source_schema
        return is_same_schema and destination.is_same_warehouse(self.warehouse)


def needs_merging(table: TableBatch) -> bool:
    """Whether the newest deltas of a table's state should be merged."""
    return len(mergeable_deltas(table.state or ())[1]) > 1


def batch_time(snapshot: Snapshot, watermark: Watermark | None) -> datetime:
    """The moment of a batch by the source's clock, at least a microsecond after the last batch's."""
    if watermark is None:
        return snapshot.taken_at
    return max(snapshot.taken_at, watermark.snapshot_at + timedelta(microseconds=1))


def batch_id(moment: datetime, snapshot: Snapshot) -> str:
    """An id that sorts by time and ends with the snapshot's name."""
    return f"{moment.astimezone(UTC):{TIME}}-{snapshot.name}"


def mergeable_deltas(state: State) -> tuple[State, State]:
    """Split a state into the deltas to keep and the newest ones to merge (at least one).

    A delta is merged with the later ones once these have half as many rows. So there are at most about
    log2(rows) deltas, and each row is rewritten at most that often.
    """
    sizes = [delta.rows for delta in state]
    first = len(state) - 1
    while first > 0 and 2 * sum(sizes[first:]) >= sizes[first - 1]:
        first -= 1
    return state[:first], state[first:]
