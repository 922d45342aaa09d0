"""A rebuild without effects: into temporary tables, in a transaction that is rolled back.

It runs the code that loads batches, so its result is that of a rebuild. The role only needs the right
TEMPORARY, which loads need too. Outputs of models go to a temporary folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql

from pipeline.lake import chains
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifest import Destination, Manifest, State
from pipeline.models.library import Model, tables_read
from pipeline.postgres import Connection, count_in, exists, identifiers, statement, texts, transaction
from pipeline.recovery import table_copies
from pipeline.recovery.rebuild import Selection, Steps
from pipeline.recovery.rebuilt_tables import columns_of_both, rebuilt_tables
from pipeline.recovery.table_copies import TableCopies
from pipeline.warehouse import ledger, upgrades

# The columns of rejected rows that are compared; reasons contain messages of the Postgres release.
_REJECTED = ("table_name", "key", "row", "waits", "resolved", "first_batch")
# Those of a schema, as a rebuild has them that begins with the base batch.
_REJECTED_OF = sql.SQL(
    "(SELECT table_name, key, row, waits, resolved, GREATEST(first_batch, {base}) AS first_batch"
    " FROM etl.rejected WHERE schema_name = {schema} AND table_name = ANY({tables})"
    " AND NOT (resolved AND last_batch < {base})) AS rejected"
)


@dataclass(frozen=True)
class Gap:
    """A gap in a rebuild: after which batch, why, and the batch ``at`` which it continues, if any."""

    after: str | None
    why: str
    at: str | None


@dataclass(frozen=True)
class Difference:
    """A table that differs: the number of rows only in the warehouse, and only in the rebuild."""

    table: str
    in_warehouse: int
    in_rebuild: int


@dataclass
class Rehearsal:
    """The result of a rebuild so far, and its differences from the warehouse.

    ``last`` is the warehouse's last batch, None before its first. ``base`` is when the first batch of the
    rebuild was taken. ``unenforced`` are references that schema.sql declares and the warehouse lacks.
    """

    last: str | None
    base: datetime | None = None
    batches: list[str] = field(default_factory=list)
    manifest: Manifest | None = None
    gaps: list[Gap] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    unenforced: tuple[str, ...] = ()

    @property
    def at(self) -> str | None:
        """The last batch that the rebuild has loaded."""
        return self.batches[-1] if self.batches else None

    @property
    def is_at_end(self) -> bool:
        """Whether the rebuild has loaded the warehouse's last batch."""
        return self.last is not None and self.at == self.last


def results(url: str, schema: str) -> list[State]:
    """The results in the processed bucket that the next batch is compared with."""
    with transaction(url, "warehouse", reading=True) as connection:
        if not exists(connection, "etl.model"):
            return []
    return [each.result for each in ledger.fetch_loaded_models(url, schema).values() if each.result]


def rehearse(
    url: str, schema: str, models: Mapping[str, Model], transforms: Path, raw: Bucket
) -> Iterator[Rehearsal]:
    """Rebuild up to the warehouse's last batch, and compare; yields the state after each batch.

    If the warehouse has no batch, all batches are loaded and nothing is compared. Other runs may load in the
    meantime: the warehouse is compared as it was at the start.
    """
    with TemporaryDirectory() as outputs, _rolled_back(url) as connection:
        state = Rehearsal(last=_last(connection, schema))
        processed = dict.fromkeys(models, folder(outputs))
        table_copies.take_memory(connection)
        copies = table_copies.create(connection, schema, models, transforms, raw, processed)
        for _ in _load(copies, state, _steps(copies, state, ledger.destination(url, schema))):
            yield state
        if state.last is not None:
            _compare(copies, schema, state)
            state.unenforced = _unenforced(copies, schema)
        yield state


@contextmanager
def _rolled_back(url: str) -> Iterator[Connection]:
    """A transaction on one snapshot that is rolled back."""
    with transaction(url, "warehouse", one_moment=True) as connection:
        yield connection
        raise psycopg.Rollback


def _last(connection: Connection, schema: str) -> str | None:
    """The warehouse's last batch."""
    upgrades.check(connection)
    if not exists(connection, "etl.watermark"):
        return None
    return ledger.last_batch(connection, schema)


def _load(copies: TableCopies, state: Rehearsal, steps: Steps) -> Iterator[None]:
    """Load the batches up to the warehouse's last one, as a rebuild does."""
    why: str | None = None
    while not state.is_at_end and (manifest := steps.after(state.at)):
        if state.last and manifest.batch_id > state.last:
            break
        after = state.at
        try:
            copies.load(manifest)
        except table_copies.PERMANENT as error:
            why = str(error)
            continue
        state.batches.append(manifest.batch_id)
        state.manifest = manifest
        state.base = state.base or manifest.snapshot_at
        if manifest.resumed:
            state.gaps.append(Gap(after, why or _none_follows(after, steps), manifest.batch_id))
        why = None
        yield
    if not state.is_at_end and (why or state.last):
        state.gaps.append(Gap(state.at, why or _none_follows(state.at, steps), None))


def _steps(copies: TableCopies, state: Rehearsal, destination: Destination) -> Steps:
    """The batches that a rebuild would load."""
    tables = frozenset(tables_read(copies.models))
    chain = Selection(destination, state.last, tables).choose(chains.find(copies.raw))
    return Steps(copies.raw, chain, tables)


def _none_follows(batch_id: str | None, steps: Steps) -> str:
    return str(steps.lost or f"no batch follows {batch_id or 'nothing'}")


def _compare(copies: TableCopies, schema: str, state: Rehearsal) -> None:
    """Compare all tables, versions of dimensions and rejected rows with the warehouse's.

    Versions from before the base batch are only in the warehouse, and no difference.
    """
    if state.base is None or state.manifest is None:
        return
    for target in copies.as_filled(state.manifest).values():
        for table in rebuilt_tables(copies.connection, schema, copies.schema, target, state.base):
            columns = columns_of_both(copies.connection, table.rebuilt, table.table, target)
            _note(copies.connection, state, table.name, columns, table.rebuilt, table.since_base(columns))
    base = sql.Literal(state.batches[0])
    names = {"base": base, "tables": sql.Literal(list(copies.targets))}
    rejected = [_REJECTED_OF.format(schema=sql.Literal(each), **names) for each in (copies.schema, schema)]
    _note(copies.connection, state, "etl.rejected", _REJECTED, *rejected)


def _unenforced(copies: TableCopies, schema: str) -> tuple[str, ...]:
    """The references that a rebuild would have and the warehouse lacks, each as table, columns and table."""
    query = statement("warehouse/unenforced.sql")
    names = {"declared": copies.schema, "schema": schema, "tables": list(copies.targets)}
    return tuple(texts(copies.connection, query, names))


def _note(
    connection: Connection,
    state: Rehearsal,
    name: str,
    columns: Sequence[str],
    ours: sql.Composable,
    theirs: sql.Composable,
) -> None:
    """Compare a table with the warehouse's by a digest, and count the rows that differ."""
    state.compared.append(name)
    if not columns:  # the warehouse has no such table
        lacking = _count(connection, "warehouse/table_digest.sql", columns=sql.SQL(""), table=ours)
        state.differences.append(Difference(name, 0, lacking))
        return
    listed = identifiers(columns)
    digest = statement("warehouse/table_digest.sql")
    digests = {
        connection.execute(digest.format(columns=listed, table=table)).fetchone() for table in (ours, theirs)
    }
    if len(digests) > 1:
        only = [
            _count(connection, "warehouse/count_unmatched_rows.sql", columns=listed, table=table, other=other)
            for table, other in ((theirs, ours), (ours, theirs))
        ]
        state.differences.append(Difference(name, *only))


def _count(connection: Connection, file: str, **parts: sql.Composable) -> int:
    return count_in(connection.execute(statement(file).format(**parts)))
