"""The status of the warehouse: its age, pending rows in the source, rejected rows, use of the buckets."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pipeline.capture import planner
from pipeline.columns import Frozen
from pipeline.errors import ModelError
from pipeline.lake import manifests
from pipeline.lake.buckets import Bucket, Usage
from pipeline.models import library
from pipeline.models.dry_run import verify
from pipeline.models.library import Model, is_stable
from pipeline.postgres import Connection, exists, select, statement, transaction
from pipeline.settings import Settings
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.warehouse import catalogue, ledger, references, removed, upgrades
from pipeline.warehouse.checks import Warned
from pipeline.warehouse.mismatches import Mismatch, find_mismatches

_BATCHES = 8
# Tables of up to 64 MB are counted within milliseconds.
_SMALL = 64 * 1024 * 1024

# What is counted: "nothing", pending rows of "small" tables and objects in the buckets, or "all".
Counting = Literal["nothing", "small", "all"]


class Batch(Frozen):
    """A batch in the warehouse, with its row counts over all tables."""

    batch_id: str
    snapshot_at: datetime
    loaded_at: datetime
    added: int
    changed: int
    deleted: int
    rejected: int

    @property
    def effects(self) -> tuple[int, int, int]:
        """The rows that it added, changed and deleted."""
        return self.added, self.changed, self.deleted

    @property
    def lag(self) -> timedelta:
        """The time from its snapshot to its commit."""
        return self.loaded_at - self.snapshot_at


class RejectedRows(Frozen):
    """Rows of one table that are rejected for one reason, the first of them by ``first_batch``."""

    table: str
    reason: str
    rows: int
    first_batch: str


@dataclass(frozen=True)
class _InSource:
    """What the source tells, at the time ``at`` of its clock.

    ``pending`` counts the changed rows of the source by table; it is None if not all tables were counted.
    ``pending_summary`` is the same as text. ``left_out`` are, by model, columns that its ``*`` selects and
    its table lacks. ``scan_reason`` says why a run scans every table that is read for changes; it is empty if
    the source's WAL summaries show unchanged tables, and None if that was not examined.
    """

    at: datetime
    pending: Mapping[str, int] | None = None
    pending_summary: str = "not counted"
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scan_reason: str | None = None


@dataclass(frozen=True)
class _InWarehouse:
    """What the warehouse alone tells; nothing before the first batch, when ``up_to_date_at`` is None.

    ``to_refill`` are tables that are not as they were loaded. ``missed`` counts by table the rows that the
    last reconciliation found and earlier runs had missed. ``frozen`` are the tables without a model, with the
    time since when, or None if the next run freezes them. ``warned`` are the checks that warned in the last
    batch. ``checked_by_row`` are the tables whose references Postgres checks for each row, with the reason.
    ``to_restate`` are the tables that a killed run has not restated.
    """

    up_to_date_at: datetime | None = None
    batches: tuple[Batch, ...] = ()
    rejected: tuple[RejectedRows, ...] = ()
    to_refill: tuple[Mismatch, ...] = ()
    missed: Mapping[str, int] = field(default_factory=dict)
    frozen: Mapping[str, datetime | None] = field(default_factory=dict)
    warned: tuple[Warned, ...] = ()
    checked_by_row: Mapping[str, str] = field(default_factory=dict)
    to_restate: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status(_InWarehouse, _InSource):
    """The status of source, warehouse and buckets.

    ``sealed`` is a batch that is read but not loaded. ``readers`` are, by table with rejected rows, the
    models that read it; their results include those rows.
    """

    sealed: str | None = None
    usage: Mapping[str, Usage] = field(default_factory=dict)
    readers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def age(self) -> timedelta | None:
        """How far the warehouse is behind the source; None before the first batch."""
        return self.at - self.up_to_date_at if self.up_to_date_at else None

    @property
    def ahead(self) -> timedelta:
        """How much later than the source's clock shows the last batch was, by a clock that was wrong."""
        return self.batches[0].snapshot_at - self.at if self.batches else timedelta()


def inspect(
    source_url: str,
    warehouse_url: str,
    raw: Bucket,
    processed: Bucket,
    config: Settings,
    *,
    counting: Counting,
    small: int = _SMALL,
    key: HashKey | None = None,
) -> Status:
    """Read the status of source, warehouse and buckets; nothing is changed.

    Counting the pending rows of a table reads all of it; a small one has up to that many bytes. Counting
    objects takes one request per thousand.
    """
    with transaction(warehouse_url, "warehouse") as connection:
        upgrades.check(connection)
        models = library.load(config.transforms)
        found = _in_warehouse(connection, config.warehouse_schema, models)
    removed.refuse_readers(models, found.frozen)
    destination = ledger.destination(warehouse_url, config.warehouse_schema)
    last = found.batches[0].batch_id if found.batches else None
    sealed = manifests.sealed_after(raw, last, destination, config.source_schema)
    if counting == "nothing":
        source = _moment_of(source_url)
    else:
        most = small if counting == "small" else None
        source = _in_source(
            source_url, warehouse_url, raw, config, models, begun=last is not None, most_bytes=most, key=key
        )
    return Status(
        sealed=sealed.batch_id if sealed else None,
        usage={} if counting == "nothing" else {"raw": raw.usage(), "processed": processed.usage()},
        readers=_readers(models, by_table(found.rejected)),
        **vars(source),
        **vars(found),
    )


def _in_warehouse(connection: Connection, schema: str, models: Mapping[str, Model]) -> _InWarehouse:
    up_to_date_at = _up_to_date_at(connection, schema)
    if up_to_date_at is None:
        return _InWarehouse()
    return _InWarehouse(
        up_to_date_at,
        tuple(recent(connection, schema, _BATCHES)),
        tuple(rejected(connection, schema)),
        tuple(find_mismatches(connection, schema, models)),
        missed(connection, schema),
        removed.without_model(connection, schema, models),
        tuple(warned(connection, schema)),
        references.checked_by_row(connection, schema, models),
        _to_restate(connection, schema, models),
    )


def _to_restate(connection: Connection, schema: str, models: Mapping[str, Model]) -> tuple[str, ...]:
    """The tables that a killed run has not restated."""
    marked = {name for name, each in ledger.loaded_models(connection, schema).items() if each.to_restate}
    return tuple(name for name in models if name in marked and is_stable(models, name))


def recent(connection: Connection, schema: str, number: int) -> list[Batch]:
    """The last batches of a schema of the warehouse, the latest first."""
    return select(connection, Batch, "last_batches.sql", schema=schema, number=number)


def rejected(connection: Connection, schema: str, batch_id: str | None = None) -> list[RejectedRows]:
    """The rows that are rejected now; with ``batch_id`` only those that it was the first to reject."""
    return select(connection, RejectedRows, "rejected.sql", schema=schema, batch=batch_id)


def missed(connection: Connection, schema: str) -> dict[str, int]:
    """Rows by table that the last reconciliation found and earlier runs had missed."""
    rows = connection.execute(statement("missed.sql"), {"schema": schema}).fetchall()
    return {str(table): int(str(number)) for table, number in rows}


def warned(connection: Connection, schema: str, batch_id: str | None = None) -> list[Warned]:
    """The checks that warned in a batch, by default the last one."""
    return select(connection, Warned, "warned.sql", schema=schema, batch=batch_id)


def by_table(rejected_rows: Iterable[RejectedRows]) -> dict[str, int]:
    """The number of rejected rows by table."""
    tables: dict[str, int] = {}
    for each in rejected_rows:
        tables[each.table] = tables.get(each.table, 0) + each.rows
    return tables


def _readers(models: Mapping[str, Model], tables: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The models that read each of these tables, without tables that none reads."""
    readers = {
        table: tuple(name for name in sorted(models) if table in models[name].reads) for table in tables
    }
    return {table: names for table, names in readers.items() if names}


def _up_to_date_at(connection: Connection, schema: str) -> datetime | None:
    """The time of the source that the warehouse is up to date with; None if nothing was loaded yet."""
    if not exists(connection, "etl.watermark"):
        return None
    row = connection.execute(
        "SELECT up_to_date_at FROM etl.watermark WHERE schema_name = %s", (schema,)
    ).fetchone()
    return row[0] if row and isinstance(row[0], datetime) else None


def _moment_of(source_url: str) -> _InSource:
    """The source's time; its rows are not counted."""
    with snapshots.snapshot(source_url) as (_, snapshot):
        return _InSource(snapshot.taken_at)


def _in_source(
    source_url: str,
    warehouse_url: str,
    raw: Bucket,
    config: Settings,
    models: Mapping[str, Model],
    *,
    begun: bool,
    most_bytes: int | None,
    key: HashKey | None,
) -> _InSource:
    """What a run that starts now would read, with rows counted in tables of up to ``most_bytes`` only."""
    targets = catalogue.targets(warehouse_url, config.warehouse_schema, models)
    models = catalogue.with_contracts(models, targets)
    watermark = ledger.fetch_watermark(warehouse_url, config.warehouse_schema) if begun else None
    loaded = ledger.fetch_loaded_models(warehouse_url, config.warehouse_schema) if begun else {}
    previous = manifests.last_manifest(raw, watermark)
    with snapshots.snapshot(source_url) as (connection, snapshot):
        request = planner.Request(models, loaded, watermark, previous, most_bytes=most_bytes, key=key)
        plan = planner.plan_batch(connection, snapshot, config.source_schema, request)
    left_out: Mapping[str, Sequence[str]] = {}
    with suppress(ModelError):  # the next run reports it
        left_out = verify(models, targets, plan.columns) if targets.keys() >= models.keys() else {}
    pending = plan.rows_to_read
    return _InSource(
        snapshot.taken_at,
        pending,
        (plan.recomputed or "nothing") if pending == {} else plan.summary,
        left_out,
        (plan.scan_reason or "") if watermark else None,
    )
