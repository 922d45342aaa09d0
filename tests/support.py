"""Helpers of the engine's tests: databases, made-up batches, and the engine's steps in a row."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import fs

from demo.postgres import Postgres
from pipeline.capture import batch, extract, plan
from pipeline.capture.extract import Readers
from pipeline.columns import Column, schema_of
from pipeline.errors import LakeIncomplete
from pipeline.lake import chains, erasures, manifests, past
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import Destination, Manifest, State, StateDelta, TableBatch, needs_merging
from pipeline.lake.s3 import S3
from pipeline.lake.state import compacted
from pipeline.models import library
from pipeline.models.check import verify
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output, no_output
from pipeline.models.target import Target, TargetColumn
from pipeline.models.transform import transform
from pipeline.models.work import Work, needed
from pipeline.postgres import transaction
from pipeline.recovery import refill, regain
from pipeline.recovery.rebuild import Rebuild, Wanted
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.source.snapshots import Identity
from pipeline.warehouse import catalogue, ledger, load
from pipeline.warehouse.counts import Counts
from pipeline.warehouse.limits import Limits
from pipeline.warehouse.mismatches import examine_tables

Row = dict[str, Any]
KEY = "testing"
# Which test shows a row of the runbook's table of what was lost.
SHOWN: dict[str, str] = {}
Test = TypeVar("Test", bound=Callable[..., None])
SOME_TIME = datetime(2024, 1, 1, tzinfo=UTC)
SOME_SOURCE = Identity(system="1", timeline=1, database="made_up", database_oid=1)


def shows(lost: str) -> Callable[[Test], Test]:
    """Say which row of the runbook's table a test shows."""

    def of(test: Test) -> Test:
        SHOWN[lost] = test.__name__
        return test

    return of


@contextmanager
def database(server: Postgres, purpose: str, options: str | None = None) -> Iterator[str]:
    """A fresh database's URL; the database goes away with the block."""
    name = f"{purpose}_{uuid.uuid4().hex[:12]}"
    if options:
        execute(server.url("postgres"), f"CREATE DATABASE {name} {options}")
    else:
        server.create_database(name)
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def s3_filesystem(endpoint: str) -> fs.PyFileSystem:
    """A connection to the S3 server, which takes any credentials."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
    return fs.PyFileSystem(S3(client))


def execute(url: str, *statements: str) -> None:
    """Run statements, each committed by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        for text in statements:
            connection.execute(text.encode())


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(text.encode()).fetchall()


def value(url: str, text: str) -> Any:
    """The one value of a query."""
    ((only,),) = query(url, text)
    return only


def write_models(folder: Path, files: Mapping[str, str]) -> dict[str, Model]:
    """Write models (and schema.sql) into a folder and load them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return library.load(folder)


def parquet_rows(bucket: Bucket, files: Sequence[File]) -> list[Row]:
    """The rows of Parquet objects."""
    found: list[Row] = bucket.dataset(files).to_table().to_pylist() if files else []
    return found


def made_target(name: str, key: tuple[str, ...], /, **types: str) -> Target:
    """A warehouse table without a database; a type that ends in ! may not be NULL."""
    columns = tuple(
        TargetColumn(
            name=column,
            type=type_.rstrip("!"),
            category="S",
            labels=(),
            required=type_.endswith("!"),
            filled=False,
            generated=False,
        )
        for column, type_ in types.items()
    )
    return Target(
        name=name,
        fact=name.startswith("fact_"),
        bridge=name.startswith("bridge_"),
        key=key,
        columns=columns,
        references=(),
        rules=(),
        rebuildable=(),
    )


@dataclass
class MadeUp:
    """Batches over rows of one's own: what reading a source would have left in the raw bucket.

    ``tables`` are columns with their Postgres types, and the key, by table. All tables
    are carried, as if every one were looked up.
    """

    raw: Bucket
    tables: Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]]
    state: dict[str, State | None] = field(default_factory=dict)
    last: str | None = None
    number: int = 0

    def batch(
        self,
        rows: Mapping[str, Sequence[Row]],
        *,
        gone: Mapping[str, Sequence[Row]] | None = None,
        full: bool = False,
        reconcile: bool = False,
    ) -> Manifest:
        """The next batch: of each table the changed rows and the keys that went, or all rows."""
        self.number += 1
        moment = SOME_TIME + timedelta(minutes=self.number)
        batch_id = f"{moment:%Y%m%dT%H%M%S}-{self.number:04d}"
        whole = full or reconcile or self.last is None
        lost = {} if whole or gone is None else gone
        tables = {
            name: self._table(name, batch_id, rows.get(name, ()), lost.get(name, ()), whole=whole)
            for name in self.tables
        }
        manifest = Manifest(
            batch_id=batch_id,
            previous=self.last,
            snapshot_at=moment,
            source_xmin=1000 + self.number,
            identity=SOME_SOURCE,
            reconcile=reconcile,
            chunks=(),
            tables=tables,
        )
        self.state = {name: table.state for name, table in tables.items()}
        self.last = batch_id
        return manifest

    def _table(
        self, name: str, batch_id: str, rows: Sequence[Row], gone: Sequence[Row], *, whole: bool
    ) -> TableBatch:
        types, key = self.tables[name]
        columns = tuple(Column(name=column, type=type_) for column, type_ in types.items())
        files = self._files(name, batch_id, columns, rows)
        keys = self._files(name, batch_id, [each for each in columns if each.name in key], gone)
        before = self.state.get(name)
        kept = () if whole or before is None else before
        table = TableBatch(
            table=name,
            mode="full" if whole else "changes" if files or keys else "unchanged",
            reason="made up",
            columns=columns,
            key=key,
            heaps="1",
            files=files,
            deleted=keys,
            state=(*kept, StateDelta(files=files, deleted=keys)) if files or keys else kept,
        )
        return compacted(table, batch_id, self.raw) if needs_merging(table) else table

    def _files(
        self, name: str, batch_id: str, columns: Sequence[Column], rows: Sequence[Row]
    ) -> tuple[File, ...]:
        schema = schema_of(columns)
        arrow = pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema)
        file = self.raw.write_rows(f"{name}/batch={batch_id}", schema, arrow.to_batches())
        return (file,) if file else ()


def transform_all(
    known: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifest: Manifest,
    loaded: Mapping[str, Loaded],
    raw: Bucket,
    processed: Bucket,
) -> dict[str, Output]:
    """Run the models that have something to do, as the flow does."""
    outputs: dict[str, Output] = {}
    for name in known:
        below = library.closure(known, name)
        if needed(below, manifest, loaded.get(name)):
            outputs[name] = transform(Work(below, targets, manifest, loaded.get(name), raw, processed))
        else:
            outputs[name] = no_output(targets[name])
    return outputs


@lru_cache(maxsize=64)
def _load(folder: Path, texts: tuple[str, ...]) -> dict[str, Model]:
    """The models of a folder whose files have these texts."""
    return library.load(folder)


@dataclass
class Warehouse:
    """A warehouse with its models; ``bring`` takes a batch all the way in."""

    url: str
    folder: Path
    raw: Bucket
    processed: Bucket
    schema: str = "public"
    prepared: tuple[tuple[str, tuple[str, ...]], dict[str, Target]] | None = None

    @property
    def models(self) -> dict[str, Model]:
        """The models as their files are now, and what their tables take where that is known."""
        known = _load(self.folder, self._texts)
        return catalogue.with_contracts(known, self.prepared[1]) if self.prepared else known

    @property
    def _texts(self) -> tuple[str, ...]:
        return tuple(path.read_text(encoding="utf-8") for path in sorted(self.folder.rglob("*.*")))

    def prepare(self) -> dict[str, Target]:
        """Make what is missing; from then on the models know what their tables take."""
        found = catalogue.prepare(self.url, self.schema, _load(self.folder, self._texts), self.folder)
        self.prepared = (self.url, self._texts), found
        return found

    def targets(self) -> dict[str, Target]:
        """The tables of the models as they are now, prepared where that has not been done."""
        if self.prepared is None or self.prepared[0] != (self.url, self._texts):
            return self.prepare()
        return self.prepared[1]

    def bring(
        self,
        manifest: Manifest,
        max_rejected: int | None = None,
        progress: Callable[[str, int], None] = lambda table, rows: None,
        max_rejected_share: float = 0.2,
        max_deleted_share: float | None = None,
    ) -> dict[str, Counts]:
        """Transform and load a batch; the warehouse is prepared where its models are new."""
        targets = self.targets()
        known = self.models
        loaded = ledger.loaded(self.url, self.schema)
        outputs = transform_all(known, targets, manifest, loaded, self.raw, self.processed)
        counts = load.load(
            self.url,
            self.schema,
            manifest,
            targets,
            outputs.values(),
            self.processed,
            Limits(max_rejected, max_rejected_share, max_deleted_share),
            progress,
        )
        return {count.table: count for count in counts}

    @property
    def home(self) -> Destination:
        """Which warehouse it is."""
        self.targets()
        return ledger.home(self.url, self.schema)

    def last_batch(self) -> str | None:
        """The batch that it is at."""
        return ledger.last_batch(self.url, self.schema)

    def become(self, former: Destination | None) -> None:
        """Go on as the warehouse that was there before, where it is that one's batch."""
        if former and self.home.is_same_warehouse(former):
            with transaction(self.url, "warehouse") as connection:
                ledger.adopt_id(connection, former)

    def rebuild(
        self, *, until: datetime | None = None, named: str = "", source: Identity | None = None
    ) -> int:
        """Load what the raw bucket has, as the flow does; returns how many batches."""
        if self.fill_again():
            raise LakeIncomplete("raw bucket: it lacks batches")
        tables = frozenset(library.tables_read(self.models))
        rebuild = Rebuild(
            self.raw, self.processed, Wanted(self.home, self.last_batch(), tables, source, named), until
        )
        self.become(rebuild.owner)
        return len(list(rebuild.run(self.last_batch, self._bring_again)))

    def _bring_again(self, manifest: Manifest) -> dict[str, Counts]:
        tables = library.tables_read(self.models)
        if tables - manifest.tables.keys():
            manifest = past.with_later_columns(self.raw, manifest, tables)
        return self.bring(manifest)

    def fill_again(self) -> bool:
        """Fill tables that are not as they were loaded; returns whether the source has to be read for it."""
        found = regain.regain(self.url, self.schema, self.raw, self.targets(), self.home)
        if found and found.lacking:
            return True
        mismatches = examine_tables(self.url, self.schema, self.targets())
        lake = refill.Lake(self.models, self.targets(), self.raw, self.processed)
        return bool(mismatches and refill.fill_again(self.url, self.schema, lake, mismatches)[1])

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return query(self.url, text)

    def rejected(self) -> list[tuple[str, dict[str, str], str]]:
        """Table, key and reason of what is set aside and not resolved."""
        return self.query(
            "SELECT table_name, key, reason FROM etl.rejected WHERE NOT resolved ORDER BY 1, 2::text"
        )

    def empty(self) -> None:
        """Forget all rows and batches, and keep the tables."""
        names = [
            name
            for (name,) in self.query(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
                " AND NOT (schemaname = 'etl' AND tablename IN ('version', 'warehouse'))"
            )
        ]
        execute(self.url, f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE")


def plan_batch(
    source_url: str,
    house: Warehouse,
    *,
    reconcile: bool = False,
    full: bool = False,
    pages: int = 32_768,
    key: HashKey | None = None,
) -> tuple[batch.BatchPlan, Manifest | None]:
    """Look at a real source, read what is new and seal it; no manifest where nothing is."""
    targets = house.targets()
    mark = ledger.watermark(house.url, house.schema)
    previous = manifests.last_manifest(house.raw, mark)
    with snapshots.snapshot(source_url, key) as (connection, snapshot):
        planned = plan.plan_batch(
            connection,
            snapshot,
            "public",
            house.models,
            ledger.loaded(house.url, house.schema),
            mark,
            previous,
            reconcile=reconcile,
            full=full,
            key=key,
            forgotten=erasures.in_warehouse(house.url, house.schema).values(),
        )
        if mark and planned.nothing_new:
            ledger.record_up_to_date(house.url, house.schema, mark.batch_id, snapshot)
            return planned, None
        verify(house.models, targets, planned.columns, planned.keys)
        read = extract.extract(connection, planned, "public", readers(source_url, house.raw, key), pages)
    manifest = read.for_destination(house.home)
    manifests.seal(house.raw, manifest)
    chains.record_seal(house.processed, manifest)
    return planned, manifest


def readers(source_url: str, raw: Bucket, key: HashKey | None = None) -> Readers:
    """Readers that do one thing after the other."""
    return Readers(
        read=lambda parts: [extract.read_chunk(source_url, part, how, raw, key=key) for part, how in parts],
        find_deleted=lambda found: [
            extract.find_deleted(source_url, "public", each, raw, key) for each in found
        ],
        compact=lambda tables, batch_id: [compacted(table, batch_id, raw) for table in tables],
        write_seed=lambda seed, batch_id: extract.write_seed(seed, batch_id, raw),
    )
