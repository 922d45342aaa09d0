"""How the warehouse is doing: how fresh, what waits in the source, what was set aside, what lies where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from pipeline import batches, models, plan, source, warehouse
from pipeline.buckets import Bucket, Usage
from pipeline.plan import BatchPlan
from pipeline.postgres import Connection, statement, transaction
from pipeline.settings import Settings
from pipeline.types import Frozen

_BATCHES = 8


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

    ``up_to_date_at`` is None before the first batch. ``waiting`` counts the rows of the
    source that the warehouse lacks, by table; ``sealed`` is a batch that was read and
    not loaded.
    """

    at: datetime
    up_to_date_at: datetime | None
    waiting: Mapping[str, int]
    story: str
    sealed: str | None
    batches: tuple[Batch, ...]
    set_aside: tuple[SetAside, ...]
    usage: Mapping[str, Usage]

    @property
    def age(self) -> timedelta | None:
        """How long ago the warehouse was known to hold all that the source held."""
        return self.at - self.up_to_date_at if self.up_to_date_at else None


def look(
    source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, config: Settings, *, listing: bool
) -> Status:
    """Look at source, warehouse and buckets, and change nothing.

    With ``listing`` all objects are counted, which takes a request for a thousand of them.
    """
    with transaction(warehouse_url, "warehouse") as connection:
        up_to_date_at = _up_to_date_at(connection)
        last = recent(connection, _BATCHES) if up_to_date_at else []
        aside = set_aside(connection) if up_to_date_at else []
    sealed = batches.sealed_after(raw, last[0].batch_id if last else None)
    planned = _planned(source_url, warehouse_url, raw, config, begun=bool(last))
    return Status(
        at=planned.snapshot.taken_at,
        up_to_date_at=up_to_date_at,
        waiting={name: table.rows for name, table in planned.tables.items() if table.is_new},
        story=planned.story,
        sealed=sealed.batch_id if sealed else None,
        batches=tuple(last),
        set_aside=tuple(aside),
        usage={"raw": raw.usage(), "processed": processed.usage()} if listing else {},
    )


def recent(connection: Connection, number: int) -> list[Batch]:
    """The warehouse's last batches, the latest first."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(statement("last_batches.sql"), {"number": number}).fetchall()


def set_aside(connection: Connection, batch_id: str | None = None) -> list[SetAside]:
    """What is set aside now; with ``batch_id`` only what that batch was the first to set aside."""
    with connection.cursor(row_factory=class_row(SetAside)) as cursor:
        return cursor.execute(statement("set_aside.sql"), {"batch": batch_id}).fetchall()


def by_table(aside: Iterable[SetAside]) -> dict[str, int]:
    """Rows that are set aside, by table."""
    tables: dict[str, int] = {}
    for each in aside:
        tables[each.table] = tables.get(each.table, 0) + each.rows
    return tables


def _up_to_date_at(connection: Connection) -> datetime | None:
    """The moment that the warehouse shows; None where nothing was ever loaded."""
    if connection.execute("SELECT to_regclass('etl.watermark')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT up_to_date_at FROM etl.watermark").fetchone()
    return row[0] if row and isinstance(row[0], datetime) else None


def _planned(source_url: str, warehouse_url: str, raw: Bucket, config: Settings, *, begun: bool) -> BatchPlan:
    """The batch that a run would take now."""
    known = models.load(config.transforms)
    known = warehouse.with_contracts(known, warehouse.targets(warehouse_url, config.warehouse_schema, known))
    watermark = warehouse.watermark(warehouse_url) if begun else None
    loaded = warehouse.fingerprints(warehouse_url) if begun else {}
    previous = batches.last_manifest(raw, watermark)
    with source.snapshot(source_url) as (connection, snapshot):
        return plan.make(
            connection, snapshot, config.source_schema, known, loaded, watermark, previous,
            reconcile=False, full=False,
        )  # fmt: skip
