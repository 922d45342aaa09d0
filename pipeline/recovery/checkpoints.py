"""Checkpoints of a restate in the processed bucket, at which it goes on after a kill.

A checkpoint has all rows of the temporary tables after a batch, as COPY prints them. It only serves the same
models, tables and batches, of which its key is a digest; other checkpoints are removed.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from uuid import uuid4

import duckdb
import psycopg
import pyarrow as pa
from psycopg import sql
from pydantic import PositiveInt

from pipeline import RELEASE
from pipeline.columns import Frozen
from pipeline.errors import BucketError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Destination, Files, Manifest
from pipeline.lake.paths import table_folder
from pipeline.models.output import Loaded
from pipeline.models.target import versions_name
from pipeline.postgres import Connection, identifiers, statement, texts
from pipeline.recovery.table_copies import TableCopies, go_on_numbering
from pipeline.source.table_names import spelled
from pipeline.streams import joined
from pipeline.warehouse.references import may_skip, unchecked
from pipeline.warehouse.referring import load_order

FOLDER = "_restating"
# A restate that takes less time begins again.
SECONDS = 60.0
# Writing checkpoints takes at most this share of the time.
_SHARE = 0.03
_LINES = pa.schema([("lines", pa.binary())])
_BYTES = 1 << 20
_REJECTED = sql.Identifier("etl", "rejected")

_logger = logging.getLogger(__name__)


class Checkpoint(Frozen):
    """Rows by table after a number of batches, and what the tables were computed with."""

    key: str
    done: PositiveInt
    tables: dict[str, Files]
    rejected: Files
    loaded: dict[str, Loaded]


@dataclass
class Checkpoints:
    """The checkpoints of one restate, of the tables ``names``, in a folder of the processed bucket."""

    copies: TableCopies
    bucket: Bucket
    folder: str
    names: Collection[str]
    manifests: Sequence[Manifest]
    _definitions: str = field(init=False)
    _since: float = field(init=False, default_factory=monotonic)
    _pause: float = field(init=False, default_factory=lambda: SECONDS)

    def __post_init__(self) -> None:
        self._definitions = self._digest()

    def restore(self) -> int:
        """Fill the tables from the latest checkpoint that serves them; returns its number of batches."""
        paths = self.bucket.list(self.folder, deep=True)
        for path in reversed([path for path in paths if path.endswith(".json")]):
            with suppress(BucketError, ValueError, psycopg.DataError, psycopg.IntegrityError):
                found = Checkpoint.model_validate_json(self.bucket.read_text(path))
                if found.done <= len(self.manifests) and found.key == self._key(found.done):
                    with self.copies.connection.transaction():
                        self._fill(found)
                    return found.done
        return 0

    def save(self, done: int) -> None:
        """Write a checkpoint after this number of batches, if enough time has passed since the last one."""
        if (started := monotonic()) - self._since < self._pause:
            return
        folder = f"{self.folder}/batch={self.manifests[done - 1].batch_id}"
        of_schema = sql.SQL("WHERE schema_name = {}").format(self.copies.schema)
        rejected = self._written(folder, _REJECTED, of_schema)
        saved = Checkpoint(
            key=self._key(done),
            done=done,
            tables={name: self._written(folder, table, sql.SQL("")) for name, table in self._tables()},
            rejected=rejected,
            loaded={
                # The other results are in a folder that does not outlast the process.
                name: each if name in self.names else each.model_copy(update={"result": None})
                for name, each in self.copies.loaded.items()
            },
        )
        path = f"{folder}/{uuid4().hex}.json"
        self.bucket.write_text(path, saved.model_dump_json())
        files = (*rejected, *(file for files in saved.tables.values() for file in files))
        remove(self.bucket, self.folder, {path, *(file.path for file in files)})
        self._since = monotonic()
        self._pause = max(SECONDS, (self._since - started) / _SHARE)

    def _key(self, done: int) -> str:
        digest = sha256(self._definitions.encode())
        for manifest in self.manifests[:done]:
            digest.update(manifest.model_dump_json().encode())
        return digest.hexdigest()

    def _digest(self) -> str:
        """A digest of what the tables depend on beside the batches, while they hold only rows of others."""
        copies = self.copies
        parts = [RELEASE, duckdb.__version__, str(copies.connection.info.server_version), *sorted(self.names)]
        parts += [f"{name} {model.fingerprint}" for name, model in copies.models.items()]
        parts += [target.model_dump_json() for target in copies.targets.values()]
        for name, table in self._tables():
            listed = identifiers(_columns(copies.connection, table))
            query = statement("warehouse/table_digest.sql").format(columns=listed, table=table)
            parts.append(f"{name} {copies.connection.execute(query).fetchone()}")
        # Each session has another name for its temporary schema.
        return sha256("\n".join(parts).replace(copies.schema, "pg_temp").encode()).hexdigest()

    def _tables(self) -> Iterator[tuple[str, sql.Identifier]]:
        """The tables, each after those that it refers to, with those of versions."""
        targets = self.copies.targets
        for name in load_order(targets.values()):
            for each in (name,) if targets[name].fact else (name, versions_name(name)):
                yield each, sql.Identifier(self.copies.schema, each)

    def _written(self, folder: str, table: sql.Identifier, condition: sql.Composable) -> Files:
        rows = _printed(self.copies.connection, table, condition)
        return self.bucket.write_rows(folder, _LINES, rows)

    def _fill(self, found: Checkpoint) -> None:
        connection, tables = self.copies.connection, dict(self._tables())
        names = sql.SQL(", ").join(tables.values())
        connection.execute(sql.SQL("TRUNCATE {}").format(names))
        with unchecked(connection, proven=may_skip(connection)):
            for name, table in tables.items():
                self._copy(table, found.tables[name])
        for target in self.copies.targets.values():
            go_on_numbering(connection, tables[target.name], target)
        connection.execute("CREATE TEMP TABLE restored_rejections (LIKE etl.rejected)")
        self._copy(sql.Identifier("pg_temp", "restored_rejections"), found.rejected)
        connection.execute("UPDATE pg_temp.restored_rejections SET schema_name = %s", (self.copies.schema,))
        connection.execute("INSERT INTO etl.rejected SELECT * FROM pg_temp.restored_rejections")
        connection.execute("DROP TABLE pg_temp.restored_rejections")
        self.copies.loaded.update(found.loaded)

    def _copy(self, table: sql.Identifier, files: Files) -> None:
        if not files:
            return
        columns = identifiers(_columns(self.copies.connection, table))
        command = sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)
        with self.copies.connection.cursor() as cursor, cursor.copy(command) as copy:
            for batch in self.bucket.dataset(files).to_batches():
                for lines in batch.column(0):
                    copy.write(lines.as_py())


def place(destination: Destination) -> str:
    """The folder of the checkpoints of a schema of a warehouse."""
    return f"{FOLDER}/{destination.id}/{table_folder(spelled(destination.schema_name))}"


def remove(bucket: Bucket, folder: str, keep: Collection[str] = ()) -> None:
    """Remove checkpoints; without the right to, they stay, and no restate uses them."""
    for path in bucket.sizes(folder):
        if path not in keep:
            with suppress(BucketError, OSError):
                bucket.remove(path)


def _columns(connection: Connection, table: sql.Identifier) -> list[str]:
    """The columns of a table that are not computed by it."""
    query = (
        "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
    )
    return texts(connection, query, (table.as_string(connection),))


def _printed(
    connection: Connection, table: sql.Identifier, condition: sql.Composable
) -> Iterator[pa.RecordBatch]:
    """The rows of a table as COPY prints them, many in one value."""
    listed = identifiers(_columns(connection, table))
    command = sql.SQL("COPY (SELECT {} FROM {} {}) TO STDOUT").format(listed, table, condition)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for lines in joined(copy, _BYTES):
            yield pa.record_batch([pa.array([bytes(lines)], pa.binary())], schema=_LINES)
