"""Read Parquet files as a dataset with little read-ahead, and cut rows into row groups."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from pipeline.streams import ahead
from pipeline.words import counted

_GROUP_BYTES = 4 << 20
# Row groups per read; S3 has a higher latency.
_GROUPS_IN_FOLDER, _GROUPS_IN_S3 = 1, 2


def row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Join record batches into row groups of some megabytes, to keep the metadata of a file small."""
    pending: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        pending.append(batch)
        size += batch.nbytes
        if size >= _GROUP_BYTES:
            yield pa.Table.from_batches(pending, schema)
            pending, size = [], 0
    if pending:
        yield pa.Table.from_batches(pending, schema)


def streamed_dataset(
    rows: Mapping[str, int],
    filesystem: fs.FileSystem,
    schema: pa.Schema | None,
    naming: "Naming",
    *,
    in_folder: bool,
) -> "StreamedDataset":
    """The files as one dataset; columns of the schema that a file lacks are NULL.

    ``rows`` has the row count of each file, by path. The context manager ``naming(path)`` is entered while a
    file is read, so that errors can name it.
    """
    plain = ds.dataset(list(rows), schema=schema, format="parquet", filesystem=filesystem)
    dataset = StreamedDataset(plain.schema, [plain])  # type: ignore[call-arg]  # the stubs lack it
    dataset.rows, dataset.naming = rows, naming
    dataset.groups_per_read = _GROUPS_IN_FOLDER if in_folder else _GROUPS_IN_S3
    return dataset


Naming = Callable[[str], AbstractContextManager[None]]


class StreamedDataset(ds.UnionDataset):
    """A dataset of Parquet files that reads few row groups ahead.

    Arrow's own scanner reads ahead up to a gigabyte and has no setting for that (seen in pyarrow 26). DuckDB
    and ``to_batches`` call ``scanner``, so overriding it bounds memory for both.
    """

    rows: Mapping[str, int]
    naming: Naming
    groups_per_read: int

    def scanner(  # type: ignore[override]
        self,
        columns: Sequence[str] | None = None,
        filter: ds.Expression | None = None,  # noqa: A002  the name in pyarrow
        **_: object,
    ) -> "Scan":
        """A scan of these columns, by default all, and of the rows that the filter selects."""
        return Scan(self, tuple(self.schema.names if columns is None else columns), filter)


@dataclass(frozen=True)
class Scan:
    """A scan of a dataset, with the methods of ``pyarrow.dataset.Scanner`` that are in use."""

    dataset: StreamedDataset
    columns: tuple[str, ...]
    filter: ds.Expression | None

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Stream the rows; the next row groups are read while the caller uses the present ones."""
        with closing(ahead(self._tables())) as tables:
            for table in tables:
                yield from table.to_batches()

    def to_table(self) -> pa.Table:
        """All rows."""
        return self.to_reader().read_all()

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as a stream with a schema."""
        schema = pa.schema([self.dataset.schema.field(name) for name in self.columns])
        return pa.RecordBatchReader.from_batches(schema, self.to_batches())

    def _tables(self) -> Iterator[pa.Table]:
        schema, columns = self.dataset.schema, list(self.columns)
        for fragment in self.dataset.get_fragments():
            with self.dataset.naming(fragment.path):
                actual, expected = fragment.metadata.num_rows, self.dataset.rows[fragment.path]
                if actual != expected:
                    raise pa.ArrowInvalid(f"it has {counted(actual, 'row')} instead of {expected:,}")
                numbers = range(fragment.num_row_groups)
                groups_per_read = self.dataset.groups_per_read
                for first in numbers[::groups_per_read]:
                    groups = fragment.subset(row_group_ids=list(numbers[first : first + groups_per_read]))
                    yield groups.to_table(schema=schema, columns=columns, filter=self.filter)
