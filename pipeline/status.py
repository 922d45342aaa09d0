"""How the warehouse is doing: how fresh, what waits in the source, what was set aside, what lies where."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from psycopg.rows import class_row

from pipeline.capture import plan
from pipeline.capture.batch import BatchPlan
from pipeline.columns import Frozen
from pipeline.errors import ModelError
from pipeline.lake import manifests
from pipeline.lake.buckets import Bucket, Usage
from pipeline.models import library
from pipeline.models.check import verify
from pipeline.models.library import Model
from pipeline.postgres import Connection, exists, statement, transaction
from pipeline.settings import Settings
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.warehouse import catalogue, ledger, upgrades
from pipeline.warehouse.mismatches import Mismatch, find_mismatches

_BATCHES = 8
# Tables of up to 64 MB are counted within milliseconds.
_SMALL = 64 * 1024 * 1024

# What is counted: "nothing", rows that wait in "small" tables and objects in the buckets, or "all".
Counting = Literal["nothing", "small", "all"]


class Batch(Frozen):
    """A batch in the warehouse, and what it did to all tables together."""

    batch_id: str
    snapshot_at: datetime
    loaded_at: datetime
    added: int
    changed: int
    deleted: int
    rejected: int

    @property
    def effects(self) -> tuple[int, int, int]:
        """Rows that the warehouse has other than before: added, changed, deleted."""
        return self.added, self.changed, self.deleted

    @property
    def lag(self) -> timedelta:
        """From the moment that it shows to the moment at which it could be seen."""
        return self.loaded_at - self.snapshot_at


class SetAside(Frozen):
    """Rows of one table that are set aside for one reason, the first of them by ``first_batch``."""

    table: str
    reason: str
    rows: int
    first_batch: str


@dataclass(frozen=True)
class Status:
    """What there is to know at the moment ``at``, by the source's clock.

    ``up_to_date_at`` is None before the first batch. ``waiting`` counts the rows of the source that the
    warehouse lacks, by table, and is None where not all were counted; ``story`` says it in words.
    ``sealed`` is a batch that was read and not loaded, ``broken`` are tables that are not as they
    were loaded. ``left_out`` are columns, by model, that a ``*`` brings and its table lacks. ``missed``
    counts rows, by table, that the last reconciling found and other runs had missed. ``readers`` are
    models over tables that have rejected rows: these count there.
    """

    at: datetime
    up_to_date_at: datetime | None
    waiting: Mapping[str, int] | None
    story: str
    sealed: str | None
    batches: tuple[Batch, ...]
    set_aside: tuple[SetAside, ...]
    usage: Mapping[str, Usage]
    broken: tuple[Mismatch, ...] = ()
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def age(self) -> timedelta | None:
        """How long ago the warehouse was known to hold all that the source held."""
        return self.at - self.up_to_date_at if self.up_to_date_at else None


def look(
    source_url: str,
    warehouse_url: str,
    raw: Bucket,
    processed: Bucket,
    config: Settings,
    *,
    counting: Counting,
    key: HashKey | None = None,
) -> Status:
    """Look at source, warehouse and buckets, and change nothing.

    To count changed rows reads the whole table, to count objects takes a request for a thousand of them.
    """
    with transaction(warehouse_url, "warehouse") as connection:
        upgrades.check(connection)
        schema = config.warehouse_schema
        up_to_date_at = _up_to_date_at(connection, schema)
        last = recent(connection, schema, _BATCHES) if up_to_date_at else []
        aside = set_aside(connection, schema) if up_to_date_at else []
        known = library.load(config.transforms)
        broken = find_mismatches(connection, schema, known) if up_to_date_at else []
        lost = missed(connection, schema) if up_to_date_at else {}
    home = ledger.home(warehouse_url, schema)
    sealed = manifests.sealed_after(raw, last[0].batch_id if last else None, home)
    if counting == "nothing":
        with snapshots.snapshot(source_url) as (_, snapshot):
            at, waiting, story = snapshot.taken_at, None, "not counted"
        left_out: Mapping[str, Sequence[str]] = {}
    else:
        most = _SMALL if counting == "small" else None
        planned, left_out = _planned(
            source_url, warehouse_url, raw, config, known, begun=bool(last), most_bytes=most, key=key
        )
        at, waiting, story = planned.snapshot.taken_at, planned.rows_to_read, planned.summary
        if waiting == {}:
            story = planned.recomputed or "nothing"
    return Status(
        at=at,
        up_to_date_at=up_to_date_at,
        waiting=waiting,
        story=story,
        sealed=sealed.batch_id if sealed else None,
        batches=tuple(last),
        set_aside=tuple(aside),
        broken=tuple(broken),
        usage={} if counting == "nothing" else {"raw": raw.usage(), "processed": processed.usage()},
        left_out=left_out,
        missed=lost,
        readers=_readers(known, by_table(aside)),
    )


def recent(connection: Connection, schema: str, number: int) -> list[Batch]:
    """The last batches of a schema of the warehouse, the latest first."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(statement("last_batches.sql"), {"schema": schema, "number": number}).fetchall()


def set_aside(connection: Connection, schema: str, batch_id: str | None = None) -> list[SetAside]:
    """What is set aside now; with ``batch_id`` only what that batch was the first to set aside."""
    with connection.cursor(row_factory=class_row(SetAside)) as cursor:
        return cursor.execute(statement("set_aside.sql"), {"schema": schema, "batch": batch_id}).fetchall()


def missed(connection: Connection, schema: str) -> dict[str, int]:
    """Rows, by table, that the last reconciling found and other runs had missed."""
    rows = connection.execute(statement("missed.sql"), {"schema": schema}).fetchall()
    return {str(table): int(str(number)) for table, number in rows}


def by_table(aside: Iterable[SetAside]) -> dict[str, int]:
    """Rows that are set aside, by table."""
    tables: dict[str, int] = {}
    for each in aside:
        tables[each.table] = tables.get(each.table, 0) + each.rows
    return tables


def _readers(known: Mapping[str, Model], tables: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The models that read these tables, by table, where there are any."""
    found = {table: tuple(name for name in sorted(known) if table in known[name].reads) for table in tables}
    return {table: names for table, names in found.items() if names}


def _up_to_date_at(connection: Connection, schema: str) -> datetime | None:
    """The moment that the warehouse shows; None where nothing was ever loaded."""
    if not exists(connection, "etl.watermark"):
        return None
    row = connection.execute(
        "SELECT up_to_date_at FROM etl.watermark WHERE schema_name = %s", (schema,)
    ).fetchone()
    return row[0] if row and isinstance(row[0], datetime) else None


def _planned(
    source_url: str,
    warehouse_url: str,
    raw: Bucket,
    config: Settings,
    known: Mapping[str, Model],
    *,
    begun: bool,
    most_bytes: int | None,
    key: HashKey | None,
) -> tuple[BatchPlan, Mapping[str, Sequence[str]]]:
    """The batch that a run would take now, as far as tables of so many bytes tell, and what it leaves out."""
    targets = catalogue.targets(warehouse_url, config.warehouse_schema, known)
    known = catalogue.with_contracts(known, targets)
    watermark = ledger.watermark(warehouse_url, config.warehouse_schema) if begun else None
    loaded = ledger.loaded(warehouse_url, config.warehouse_schema) if begun else {}
    previous = manifests.last_manifest(raw, watermark)
    with snapshots.snapshot(source_url) as (connection, snapshot):
        planned = plan.plan_batch(
            connection, snapshot, config.source_schema, known, loaded, watermark, previous,
            reconcile=False, full=False, most_bytes=most_bytes, key=key,
        )  # fmt: skip
    left_out: Mapping[str, Sequence[str]] = {}
    with suppress(ModelError):  # the next run says what is wrong
        left_out = verify(known, targets, planned.columns) if targets.keys() >= known.keys() else {}
    return planned, left_out
