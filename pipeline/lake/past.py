"""Sealed batches of the past as today's models read them, and as ones that stand by themselves."""

from collections.abc import Collection

from pipeline.lake import chains
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifests import Manifest, TableBatch, readable


def as_read_today(bucket: Bucket, manifest: Manifest, tables: Collection[str]) -> Manifest:
    """The batch with what only later ones have of these tables: columns, all NULL, and empty tables."""
    later: dict[str, TableBatch] = {}
    for each in readable(bucket, reversed(_following(bucket, manifest.batch_id))):
        later = {name: table for name, table in each.tables.items() if name in tables} | later
        if set(tables) <= later.keys():
            break
    fitted = {name: _with_columns(manifest.tables.get(name), table) for name, table in later.items()}
    return manifest.model_copy(update={"tables": manifest.tables | fitted})


def is_complete(manifest: Manifest, tables: Collection[str] | None = None) -> bool:
    """Whether a batch holds all rows of all its tables, or of these, so that it needs no earlier one."""
    return all(
        _is_complete(table) for name, table in manifest.tables.items() if tables is None or name in tables
    )


def as_whole(manifest: Manifest, previous: str | None) -> Manifest:
    """A complete batch as one that follows another than it did: everything is computed and compared."""
    return manifest.model_copy(
        update={"previous": previous, "reconcile": True, "resumed": True, "quiet": (), "landed": ()}
    )


def _is_complete(table: TableBatch) -> bool:
    return table.mode == "full" or table.state is not None


def _following(bucket: Bucket, batch_id: str) -> list[str]:
    """Paths of the manifests of the batches that follow one, oldest first, in the newest chain."""
    found = [chain for chain in chains.find(bucket) if chain.holds(batch_id)]
    return [each.path for each in found[-1].batches if each.batch_id > batch_id] if found else []


def _with_columns(table: TableBatch | None, later: TableBatch) -> TableBatch:
    """A table with the columns that it has later, too; without rows where it was not read yet."""
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
    known = {column.name for column in table.columns}
    missing = tuple(column for column in later.columns if column.name not in known)
    return table.model_copy(update={"columns": (*table.columns, *missing)})
