"""Parquet files as a dataset whose reading keeps step with whoever reads."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from pipeline.streams import ahead
from pipeline.words import counted

_GROUP_BYTES = 4 << 20
# In S3 every scan waits for answers.
_AT_ONCE_IN_FOLDERS, _AT_ONCE = 1, 2


def row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows as they are written, some megabytes at a time: what a file says of each group takes room."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting, schema)
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def opened(
    rows: Mapping[str, int],
    filesystem: fs.FileSystem,
    schema: pa.Schema | None,
    reading: "Reading",
    *,
    in_folder: bool,
) -> "Files":
    """The files as one dataset; columns of the schema that a file lacks are NULL.

    ``rows`` is how many each has, by its path. ``reading`` is entered with a path while that file is read, to
    name it where that fails.
    """
    found = ds.dataset(list(rows), schema=schema, format="parquet", filesystem=filesystem)
    files = Files(found.schema, [found])  # type: ignore[call-arg]  # the stubs lack it
    files.rows, files.reading = rows, reading
    files.at_once = _AT_ONCE_IN_FOLDERS if in_folder else _AT_ONCE
    return files


Reading = Callable[[str], AbstractContextManager[None]]


class Files(ds.UnionDataset):
    """A dataset of Parquet files that reads few row groups ahead.

    Arrow's own scanner goes on reading until a gigabyte waits for its reader, and offers no other
    limit. DuckDB and ``to_batches`` both ask for this one instead.
    """

    rows: Mapping[str, int]
    reading: Reading
    at_once: int

    def scanner(  # type: ignore[override]
        self,
        columns: Sequence[str] | None = None,
        filter: ds.Expression | None = None,  # noqa: A002  so is it called
        **_: object,
    ) -> "Scan":
        """Columns and rows to read, all of them where nothing is said; of Arrow's limits none is needed."""
        return Scan(self, tuple(self.schema.names if columns is None else columns), filter)


@dataclass(frozen=True)
class Scan:
    """Some columns and rows of a dataset; the part of a ``pyarrow.dataset.Scanner`` that is used."""

    files: Files
    columns: tuple[str, ...]
    filter: ds.Expression | None

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Read them, some row groups at a time, while those before are put to use."""
        with closing(ahead(self._tables())) as tables:
            for table in tables:
                yield from table.to_batches()

    def to_table(self) -> pa.Table:
        """All of them at once."""
        return self.to_reader().read_all()

    def to_reader(self) -> pa.RecordBatchReader:
        """The same as a stream."""
        schema = pa.schema([self.files.schema.field(name) for name in self.columns])
        return pa.RecordBatchReader.from_batches(schema, self.to_batches())

    def _tables(self) -> Iterator[pa.Table]:
        schema, columns = self.files.schema, list(self.columns)
        for fragment in self.files.get_fragments():
            with self.files.reading(fragment.path):
                found, expected = fragment.metadata.num_rows, self.files.rows[fragment.path]
                if found != expected:
                    raise pa.ArrowInvalid(f"it has {counted(found, 'row')} instead of {expected:,}")
                numbers = range(fragment.num_row_groups)
                for first in numbers[:: self.files.at_once]:
                    some = fragment.subset(row_group_ids=list(numbers[first : first + self.files.at_once]))
                    yield some.to_table(schema=schema, columns=columns, filter=self.filter)
