"""Copies of the models' tables, temporary or a branch's, into which the code of the load loads batches."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from pipeline.errors import ModelError, ObjectMissing, UnusableBatch, WarehouseError
from pipeline.lake import adapt
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models.dry_run import verify
from pipeline.models.library import Model, closure, tables_read
from pipeline.models.output import Loaded, Output
from pipeline.models.reference_tables import NAMES
from pipeline.models.target import Target
from pipeline.postgres import Connection, template
from pipeline.recovery.refill import load_again
from pipeline.recovery.replays import Replay, Replayer
from pipeline.warehouse import catalogue, declarations
from pipeline.warehouse.referring import load_order

# Errors with which a batch fails for good.
PERMANENT = (ModelError, ObjectMissing, WarehouseError)


@dataclass
class TableCopies:
    """A schema with such copies, and what they were computed with so far.

    ``processed`` holds the outputs of each model.
    """

    connection: Connection
    schema: str
    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    raw: Bucket
    processed: Mapping[str, Bucket]
    loaded: dict[str, Loaded] = field(default_factory=dict)
    _unread: adapt.UnreadTables = field(init=False)

    def __post_init__(self) -> None:
        self._unread = adapt.UnreadTables(self.raw, tables_read(self.models) - NAMES)

    def load(self, manifest: Manifest) -> None:
        """Load a batch, or nothing of it; raises one of PERMANENT."""
        manifest = self._as_models_read(manifest)
        outputs = {
            name: self._replayer(name).output(name, manifest, self.loaded.get(name)) for name in self.models
        }
        with self.connection.transaction():
            for name in load_order(self.targets.values()):
                self._load_table(name, manifest, outputs[name])
        for name, output in outputs.items():
            if output:
                self.loaded[name] = Loaded(fingerprint=output.fingerprint, result=output.result)

    def _load_table(self, name: str, manifest: Manifest, output: Output | None) -> None:
        replay = Replay(self.targets[name], ((manifest, output),) if output else (), Loaded(fingerprint=""))
        load_again(self.connection, self.schema, self._replayer(name), manifest, [replay], self.targets)

    def as_filled(self, manifest: Manifest) -> dict[str, Target]:
        """The tables, in which defaults of columns that the model yields in a batch do not count."""
        manifest, filled = self._as_models_read(manifest), dict[str, Target]()
        for name, target in self.targets.items():
            work = self._replayer(name).work(closure(self.models, name), manifest)
            filled[name] = target.filled_with([column.name for column in work.columns])
        return filled

    def _replayer(self, name: str) -> Replayer:
        return Replayer(self.models, self.targets, self.raw, self.processed[name])

    def _as_models_read(self, manifest: Manifest) -> Manifest:
        """The batch, if necessary with tables and columns of others; raises UnusableBatch."""
        tables, manifest = tables_read(self.models), self._unread.added_to(manifest)
        try:
            if tables <= manifest.tables.keys() | NAMES:
                verify(self.models, self.targets, manifest.columns)
                return manifest
        except ModelError:
            pass
        manifest = adapt.with_later_columns(self.raw, manifest, tables)
        if missing := tables - manifest.tables.keys() - NAMES:
            raise UnusableBatch(f"no batch has read {', '.join(sorted(missing))} yet")
        return manifest


def take_memory(connection: Connection) -> None:
    """Keep more of temporary tables in memory, if the session has used none yet."""
    with suppress(psycopg.errors.InvalidParameterValue), connection.transaction():
        connection.execute(
            "SELECT set_config('temp_buffers', '128MB', true)"
            " WHERE pg_size_bytes(current_setting('temp_buffers')) < pg_size_bytes('128MB')"
        )


def create(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    transforms: Path,
    raw: Bucket,
    processed: Mapping[str, Bucket],
) -> TableCopies:
    """Create the models' tables as temporary ones, where they are missing.

    Their types and functions may come from ``schema``. The role only needs the right TEMPORARY, which loads
    need, too.
    """
    temporary = declarations.temporary_schema(connection)
    targets = catalogue.create_tables(connection, temporary, models, transforms, beside=schema)
    known = catalogue.with_contracts(models, targets)
    return TableCopies(connection, temporary, known, targets, raw, processed)


@contextmanager
def without_references(connection: Connection, schema: str, target: Target) -> Iterator[None]:
    """Let rows be inserted for the block whose references only the batches will bring."""
    table = sql.Identifier(schema, target.name)
    for each in target.references:
        query = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
        connection.execute(query.format(table, sql.Identifier(each.name)))
    yield
    for each in target.references:
        query = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID")
        connection.execute(query.format(table, sql.Identifier(each.name), template(each.definition)))


def go_on_numbering(connection: Connection, table: sql.Identifier, target: Target) -> None:
    """Let the table's own sequences continue after its numbers."""
    for column in (each.name for each in target.columns if each.has_sequence):
        query = sql.SQL(
            "SELECT setval(pg_get_serial_sequence(%s, %s), max({0})) FROM {1} HAVING max({0}) > 0"
        )
        arguments = table.as_string(connection), column
        connection.execute(query.format(sql.Identifier(column), table), arguments)
