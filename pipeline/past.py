"""Sealed batches of the past as today's models read them, and where a rebuild can go on without some."""

from collections.abc import Collection, Iterator

from pipeline.batches import MANIFESTS, Manifest, TableBatch, readable
from pipeline.buckets import Bucket


def as_read_today(bucket: Bucket, manifest: Manifest, tables: Collection[str]) -> Manifest:
    """The batch with what only later ones have of these tables: columns, all NULL, and empty tables."""
    later: dict[str, TableBatch] = {}
    for each in readable(bucket, reversed(_sealed(bucket, manifest.batch_id))):
        later = {name: table for name, table in each.tables.items() if name in tables} | later
        if set(tables) <= later.keys():
            break
    fitted = {name: _with_columns(manifest.tables.get(name), table) for name, table in later.items()}
    return manifest.model_copy(update={"tables": manifest.tables | fitted})


def next_complete(
    bucket: Bucket, last: str | None, tables: Collection[str], tried: Collection[str]
) -> Manifest | None:
    """The next batch after ``last`` that holds all rows of these tables, so that it needs no earlier one."""
    for manifest in readable(bucket, _sealed(bucket, last)):
        if manifest.batch_id not in tried and all(map(_is_complete, _among(manifest, tables))):
            return manifest
    return None


def is_complete(manifest: Manifest) -> bool:
    """Whether a batch holds all rows of all its tables, so that it needs no earlier one."""
    return all(map(_is_complete, manifest.tables.values()))


def as_whole(manifest: Manifest, previous: str | None) -> Manifest:
    """A complete batch as one that follows another than it did: everything is computed and compared."""
    return manifest.model_copy(
        update={"previous": previous, "reconcile": True, "resumed": True, "quiet": (), "landed": ()}
    )


def _sealed(bucket: Bucket, after: str | None) -> list[str]:
    """Paths of the manifests of batches later than one, oldest first."""
    paths = [path for path in bucket.list(MANIFESTS, deep=True) if path.endswith(".json")]
    return sorted((path for path in paths if after is None or _id(path) > after), key=_id)


def _id(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".json")


def _among(manifest: Manifest, tables: Collection[str]) -> Iterator[TableBatch]:
    return (table for name, table in manifest.tables.items() if name in tables)


def _is_complete(table: TableBatch) -> bool:
    return table.mode == "full" or table.state is not None


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
