"""The pipeline's own records in the schema etl: locks, the watermark, batches and the models of tables.

A function ``fetch_...`` opens a transaction of its own; the one without the prefix reads in the caller's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import cast
from uuid import uuid4

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import ConcurrentRunError, WarehouseBusy
from pipeline.lake.manifest import Destination, Manifest, State, Watermark
from pipeline.models.library import FINGERPRINT, Model
from pipeline.models.output import Loaded
from pipeline.models.target import Target
from pipeline.postgres import Connection, exists, select, statement, texts, together, transaction
from pipeline.source.snapshots import Snapshot
from pipeline.source.wal_summaries import Marks
from pipeline.warehouse.counts import Counts

# Names of advisory locks. Releases share them, so that runs of an old and a new one exclude each other.
_RUN_LOCK = "totesys-etl"
_LOAD_LOCK = "totesys-etl load"
_PREPARE_LOCK = "totesys-etl prepare"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))"
_BATCH = "SELECT batch_id FROM etl.watermark WHERE schema_name = %s"


class Lock:
    """Keeps other runs away from a warehouse, by a transaction that is held open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raise ConcurrentRunError if the lock was lost with its connection."""
        try:
            self._connection.execute("SELECT")
        except psycopg.OperationalError as error:
            raise ConcurrentRunError(
                "warehouse: the connection that keeps other runs away was lost, and nothing more is loaded"
                f" without it: {' '.join(str(error).split())}; run again"
            ) from None


@contextmanager
def lock(url: str, schema: str, seconds: int = 0) -> Iterator[Lock]:
    """Keep other runs away from this schema of the warehouse during the block.

    The lock belongs to a transaction, so it works through a pooler. Raises WarehouseBusy if another run holds
    it for longer than ``seconds``.
    """
    stack = ExitStack()
    connection = stack.enter_context(transaction(url, "warehouse"))
    try:
        # Never 0, which means no timeout.
        timeout = "SELECT set_config('lock_timeout', %s, true)", [f"{1_000 * seconds + 1}ms"]
        try:
            together(connection, timeout, (_LOCK, [_RUN_LOCK, schema]))
        except psycopg.errors.LockNotAvailable:
            raise WarehouseBusy("another run is at work on this warehouse; let it finish") from None
        # The portal of a statement with parameters keeps its snapshot, which would hold back vacuum until the
        # run ends. A statement without parameters closes it.
        connection.execute("SELECT")
        yield Lock(connection)
    finally:
        # A lost connection has released the lock, and the block's work is committed by others.
        with suppress(psycopg.OperationalError):
            stack.close()


def lock_for_load(connection: Connection, schema: str) -> str | None:
    """Keep other loads of a schema away until the transaction ends, and return the schema's last batch.

    A run's own lock does not replace this one, because its connection may be lost meanwhile.
    """
    _, rows = together(connection, (_LOCK, [_LOAD_LOCK, schema]), (_BATCH, [schema]))
    return str(rows[0][0]) if rows else None


def last_batch(connection: Connection, schema: str) -> str | None:
    """The last batch of a schema at the moment of a transaction; None before the first one."""
    return next(iter(texts(connection, _BATCH, (schema,))), None)


def lock_for_prepare(connection: Connection) -> None:
    """Keep other first runs away until the transaction ends: they would create the same tables."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (_PREPARE_LOCK,))


def destination(url: str, schema: str) -> Destination:
    """Where a schema's batches go; its id is empty until a run has prepared the warehouse."""
    with transaction(url, "warehouse") as connection:
        row = None
        if exists(connection, "etl.warehouse"):
            row = connection.execute("SELECT warehouse_id::text FROM etl.warehouse").fetchone()
        warehouse_id = row[0] if row else ""
        (found,) = select(
            connection, Destination, "warehouse/destination.sql", schema=schema, id=warehouse_id
        )
    return found


def adopt_id(connection: Connection, former: Destination) -> None:
    """Take the id of the warehouse that this one replaces, unless this one has batches."""
    connection.execute(
        "UPDATE etl.warehouse SET warehouse_id = %s::uuid WHERE NOT EXISTS (SELECT FROM etl.watermark)",
        (former.id,),
    )


def renew_id(url: str) -> None:
    """Give the warehouse a new id."""
    with transaction(url, "warehouse") as connection:
        connection.execute("UPDATE etl.warehouse SET warehouse_id = %s", (uuid4(),))


def fetch_watermark(url: str, schema: str) -> Watermark | None:
    """The watermark of a schema of the warehouse; None before its first batch."""
    with transaction(url, "warehouse") as connection:
        return watermark(connection, schema)


def watermark(connection: Connection, schema: str) -> Watermark | None:
    """The watermark of a schema at the moment of a transaction; None before the first batch."""
    with connection.cursor(row_factory=class_row(Watermark)) as cursor:
        return cursor.execute(
            "SELECT batch_id, manifest, snapshot_at, source_xmin, wal_marks FROM etl.watermark"
            " WHERE schema_name = %s",
            (schema,),
        ).fetchone()


def fetch_last_batch(url: str, schema: str) -> str | None:
    """The last batch in a schema of the warehouse; None before the first one."""
    with transaction(url, "warehouse") as connection:
        return last_batch(connection, schema)


def record_up_to_date(
    url: str, schema: str, batch_id: str, snapshot: Snapshot, wal_marks: Marks | None = None
) -> None:
    """Record that at the snapshot's time, by the source's clock, it had nothing newer than this batch.

    ``wal_marks`` are those of the snapshot. Raises ConcurrentRunError if the warehouse is no longer at this
    batch.
    """
    with transaction(url, "warehouse") as connection:
        updated = connection.execute(
            "UPDATE etl.watermark"
            " SET up_to_date_at = %s, source_xmin = %s, wal_marks = %s"
            " WHERE schema_name = %s AND batch_id = %s AND source_xmin <= %s",
            (
                snapshot.taken_at,
                snapshot.xmin,
                wal_marks and Jsonb(wal_marks.model_dump(mode="json")),
                schema,
                batch_id,
                snapshot.xmin,
            ),
        ).rowcount
    if not updated:
        raise ConcurrentRunError("warehouse: another run has moved the watermark meanwhile")


def record_batch(
    connection: Connection,
    schema: str,
    manifest: Manifest,
    counts: Iterable[Counts],
    warned: Sequence[Mapping[str, object]] = (),
) -> None:
    """Record a batch as the last one in the warehouse, with the checks that warned."""
    values = {
        "schema": schema,
        "batch": manifest.batch_id,
        "previous": manifest.previous,
        "at": manifest.snapshot_at,
        "up_to_date_at": manifest.up_to_date_at,
        "manifest": manifest.path,
        "reconcile": manifest.reconcile,
        "source_xmin": manifest.source_xmin,
        "rows": Jsonb({count.table: count.model_dump(exclude={"table"}) for count in counts}),
        "checks": Jsonb(list(warned)),
        "source_rows": Jsonb({name: table.source_rows for name, table in manifest.tables.items()}),
    }
    connection.execute(statement("warehouse/record_batch.sql"), values)
    connection.execute(statement("warehouse/record_watermark.sql"), values)


def record_seconds(connection: Connection, schema: str, batch_id: str, seconds: Mapping[str, float]) -> None:
    """Record how long the steps of a batch took."""
    connection.execute(
        "UPDATE etl.batch SET seconds = %s WHERE schema_name = %s AND batch_id = %s",
        (Jsonb(dict(seconds)), schema, batch_id),
    )


def recorded_counts(connection: Connection, schema: str, batch_id: str) -> list[Counts]:
    """The counts of a batch that is in the warehouse."""
    rows = connection.execute(
        "SELECT key, value FROM etl.batch, jsonb_each(rows) WHERE schema_name = %s AND batch_id = %s",
        (schema, batch_id),
    ).fetchall()
    return [Counts.model_validate({"table": table, **cast(dict[str, int], counts)}) for table, counts in rows]


def record_model(
    connection: Connection,
    schema: str,
    batch_id: str,
    target: Target,
    loaded: Loaded,
    previous: str | None = None,
) -> None:
    """Record the model that a table was computed with: by a batch after ``previous``, or by all batches."""
    result = loaded.result
    values = {
        "schema": schema,
        "batch": batch_id,
        "table_name": target.name,
        "model_sql": target.model_sql,
        "fingerprint": loaded.fingerprint,
        "result": None if result is None else Jsonb([delta.model_dump() for delta in result]),
        "previous": previous,
        "comparable": FINGERPRINT,
    }
    connection.execute(statement("warehouse/record_model.sql"), values)


def give_up_restating(url: str, schema: str) -> None:
    """Record that no table of a schema is to be restated any more."""
    with transaction(url, "warehouse") as connection:
        connection.execute(
            "UPDATE etl.model SET to_restate = false WHERE schema_name = %s AND to_restate", (schema,)
        )


def record_texts(connection: Connection, schema: str, models: Mapping[str, Model]) -> None:
    """Record the texts of models whose meaning is that of the ones that their tables were computed with."""
    values = {
        "schema": schema,
        "names": list(models),
        "fingerprints": [model.fingerprint for model in models.values()],
        "texts": [model.sql for model in models.values()],
    }
    connection.execute(statement("warehouse/record_texts.sql"), values)


def fetch_loaded_models(url: str, schema: str) -> dict[str, Loaded]:
    """The model that each table of a schema was last computed with, and its stored result.

    Those are left out that had no model while the last batch was loaded.
    """
    with transaction(url, "warehouse") as connection:
        return loaded_models(connection, schema)


def loaded_models(connection: Connection, schema: str) -> dict[str, Loaded]:
    """The model that each table of a schema was last computed with, at the moment of a transaction."""
    rows = connection.execute(
        "SELECT m.table_name, m.fingerprint, m.result, m.to_restate FROM etl.model AS m"
        " INNER JOIN etl.watermark AS w USING (schema_name, batch_id) WHERE schema_name = %s",
        (schema,),
    ).fetchall()
    return {
        str(name): Loaded(
            fingerprint=str(fingerprint), result=_validated(result), to_restate=bool(to_restate)
        )
        for name, fingerprint, result, to_restate in rows
    }


def _validated(result: object) -> State | None:
    """A stored result; None if it is invalid, so that all rows are computed again."""
    try:
        return TypeAdapter(State | None).validate_python(result)
    except ValidationError:
        return None
