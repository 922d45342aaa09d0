"""Who may load, and how far a warehouse is: the lock, the watermark, and what tables were computed with."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg
from psycopg.rows import class_row
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import ConcurrentRunError, WarehouseBusy
from pipeline.lake.manifest import Destination, State, Watermark
from pipeline.models.output import Loaded
from pipeline.postgres import Connection, exists, statement, transaction

LOCK = "totesys-etl"


class Lock:
    """Keeps other runs away from a warehouse, by a transaction that is held open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raise ConcurrentRunError where the lock is gone, because its connection is."""
        try:
            self._connection.execute("SELECT")
        except psycopg.OperationalError as error:
            raise ConcurrentRunError(
                "warehouse: the connection that keeps other runs away was lost, and nothing more is loaded"
                f" without it: {' '.join(str(error).split())}; run again"
            ) from None


@contextmanager
def lock(url: str, schema: str, minutes: int = 0) -> Iterator[Lock]:
    """Keep other runs away from this schema of the warehouse for as long as the block runs.

    The lock is a transaction's, so that it works through a pooler, too. Raises WarehouseBusy where
    another run is still at work after so many minutes.
    """
    held = ExitStack()
    connection = held.enter_context(transaction(url, "warehouse"))
    try:
        # Never 0, which is for ever to Postgres.
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{60_000 * minutes + 1}ms",))
        try:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), hashtext(%s))", (LOCK, schema))
        except psycopg.errors.LockNotAvailable:
            raise WarehouseBusy("another run is at work on this warehouse; let it finish") from None
        yield Lock(connection)
    finally:
        # What was done stays done, also where this connection is gone meanwhile.
        with suppress(psycopg.OperationalError):
            held.close()


def home(url: str, schema: str) -> Destination:
    """Where a schema's batches go; without an id where this release has prepared nothing yet."""
    with transaction(url, "warehouse") as connection:
        kept = None
        if exists(connection, "etl.warehouse"):
            kept = connection.execute("SELECT warehouse_id::text FROM etl.warehouse").fetchone()
        with connection.cursor(row_factory=class_row(Destination)) as cursor:
            names = {"schema": schema, "id": kept[0] if kept else ""}
            found = cursor.execute(statement("warehouse/home.sql"), names).fetchone()
    assert found is not None  # noqa: S101  a query without FROM has one row
    return found


def become(connection: Connection, former: Destination) -> None:
    """Go on as the warehouse that was here before it was lost; not once there are batches."""
    connection.execute(
        "UPDATE etl.warehouse SET warehouse_id = %s::uuid WHERE NOT EXISTS (SELECT FROM etl.watermark)",
        (former.id,),
    )


def watermark(url: str, schema: str) -> Watermark | None:
    """How far a schema of the warehouse is, or None before its first batch."""
    with (
        transaction(url, "warehouse") as connection,
        connection.cursor(row_factory=class_row(Watermark)) as cursor,
    ):
        return cursor.execute(
            "SELECT batch_id, manifest, snapshot_at, source_xmin FROM etl.watermark WHERE schema_name = %s",
            (schema,),
        ).fetchone()


def last_batch(url: str, schema: str) -> str | None:
    """The batch that a schema of the warehouse is at."""
    known = watermark(url, schema)
    return known.batch_id if known else None


def loaded(url: str, schema: str) -> dict[str, Loaded]:
    """What a schema's tables were last computed with, by table."""
    with transaction(url, "warehouse") as connection:
        rows = connection.execute(
            "SELECT table_name, fingerprint, result FROM etl.model WHERE schema_name = %s", (schema,)
        ).fetchall()
    return {
        str(name): Loaded(fingerprint=str(fingerprint), result=_kept(result))
        for name, fingerprint, result in rows
    }


def _kept(result: object) -> State | None:
    """Where a result lies; one that is no place below the bucket is none, and all rows are compared anew."""
    try:
        return TypeAdapter(State | None).validate_python(result)
    except ValidationError:
        return None
