"""Adapt batches: to models that read tables and columns which others have, and to a new previous batch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeline.lake import chains
from pipeline.lake.buckets import Bucket
from pipeline.lake.chains import SealedBatch
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.lake.manifests import readable


@dataclass
class UnreadTables:
    """Adds to batches the tables that models read and that no model read when the batch was read.

    Such a table is as the last batch before that read it left it, so that nothing of it changes until a batch
    reads it again. It is missing if no earlier batch has read it. Batches that are asked for in order need no
    manifest but their own.
    """

    raw: Bucket
    tables: Collection[str]
    _last: str | None = field(init=False, default=None)
    _known: Mapping[str, TableBatch] = field(init=False, default_factory=dict)

    def added_to(self, manifest: Manifest) -> Manifest:
        """The batch with these tables."""
        unread = set(self.tables) - manifest.tables.keys()
        known = self._before(manifest.previous, unread) if unread else {}
        self._last, self._known = manifest.batch_id, {**known, **manifest.tables}
        added = {name: _unread(known[name]) for name in sorted(unread & known.keys())}
        return manifest.model_copy(update={"tables": manifest.tables | added}) if added else manifest

    def _before(self, previous: str | None, names: Collection[str]) -> Mapping[str, TableBatch]:
        """Tables as a batch left them, at least those of these names that it or an earlier one has read."""
        if previous is None:
            return {}
        if previous == self._last:
            return self._known
        known: dict[str, TableBatch] = {}
        chain = reversed(_chain_of(self.raw, previous))
        for each in readable(self.raw, (each.path for each in chain if each.batch_id <= previous)):
            known = each.tables | known
            if known.keys() >= set(names):
                break
        return known


def with_later_columns(bucket: Bucket, manifest: Manifest, tables: Collection[str]) -> Manifest:
    """The batch with the tables (empty) and columns (NULL) that only later batches have, of these tables."""
    later: dict[str, TableBatch] = {}
    chain = reversed(_chain_of(bucket, manifest.batch_id))
    for each in readable(bucket, (each.path for each in chain if each.batch_id > manifest.batch_id)):
        later = {name: table for name, table in each.tables.items() if name in tables} | later
        if set(tables) <= later.keys():
            break
    fitted = {name: _with_columns(manifest.tables.get(name), table) for name, table in later.items()}
    return manifest.model_copy(update={"tables": manifest.tables | fitted})


def is_complete(manifest: Manifest, tables: Collection[str] | None = None) -> bool:
    """Whether a batch has all rows of its tables, or of these, so that it needs no earlier batch."""
    needed = [table for name, table in manifest.tables.items() if tables is None or name in tables]
    return all(table.mode == "full" or table.state is not None for table in needed)


def rebased(manifest: Manifest, previous: str | None) -> Manifest:
    """A complete batch with another previous batch; everything is computed and compared."""
    return manifest.model_copy(
        update={"previous": previous, "reconcile": True, "resumed": True, "unchanged": (), "chunks": ()}
    )


def _chain_of(bucket: Bucket, batch_id: str) -> tuple[SealedBatch, ...]:
    """The batches of the newest chain that has a batch, oldest first; none without such a chain."""
    with_batch = [chain for chain in chains.find(bucket) if chain.holds(batch_id)]
    return with_batch[-1].batches if with_batch else ()


def _unread(table: TableBatch) -> TableBatch:
    """A table in a batch that did not read it."""
    return table.model_copy(
        update={"mode": "unchanged", "reason": "no model read it", "files": (), "deleted": ()}
    )


def _with_columns(table: TableBatch | None, later: TableBatch) -> TableBatch:
    """A table with the columns that it has later; without rows where it was not read yet."""
    if table is None:
        return TableBatch(
            table=later.table,
            mode="unchanged",
            reason="not read yet",
            columns=later.columns,
            key=later.key,
            heaps="",
            state=(),
        )
    present = {column.name for column in table.columns}
    missing = tuple(column for column in later.columns if column.name not in present)
    return table.model_copy(update={"columns": (*table.columns, *missing)})
