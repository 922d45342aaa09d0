"""Adapt earlier batches: to models that read later tables and columns, and to a new previous batch."""

from collections.abc import Collection

from pipeline.lake import chains
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.lake.manifests import readable


def with_later_columns(bucket: Bucket, manifest: Manifest, tables: Collection[str]) -> Manifest:
    """The batch with the tables (empty) and columns (NULL) that only later batches have, of these tables."""
    later: dict[str, TableBatch] = {}
    for each in readable(bucket, reversed(_following(bucket, manifest.batch_id))):
        later = {name: table for name, table in each.tables.items() if name in tables} | later
        if set(tables) <= later.keys():
            break
    fitted = {name: _with_columns(manifest.tables.get(name), table) for name, table in later.items()}
    return manifest.model_copy(update={"tables": manifest.tables | fitted})


def is_complete(manifest: Manifest, tables: Collection[str] | None = None) -> bool:
    """Whether a batch has all rows of its tables, or of these, so that it needs no earlier batch."""
    return all(
        _is_complete(table) for name, table in manifest.tables.items() if tables is None or name in tables
    )


def rebased(manifest: Manifest, previous: str | None) -> Manifest:
    """A complete batch with another previous batch; everything is computed and compared."""
    return manifest.model_copy(
        update={"previous": previous, "reconcile": True, "resumed": True, "unchanged": (), "chunks": ()}
    )


def _is_complete(table: TableBatch) -> bool:
    return table.mode == "full" or table.state is not None


def _following(bucket: Bucket, batch_id: str) -> list[str]:
    """The manifest paths of the later batches in the newest chain of a batch, oldest first."""
    with_batch = [chain for chain in chains.find(bucket) if chain.holds(batch_id)]
    return [each.path for each in with_batch[-1].batches if each.batch_id > batch_id] if with_batch else []


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
