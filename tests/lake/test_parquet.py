"""Parquet files are read a few row groups ahead of their reader."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.duck import session
from pipeline.lake.parquet import streamed_dataset

FILES = 16
ROWS = 100_000


def read_by_arrow(dataset: ds.Dataset) -> Iterator[pa.RecordBatch]:
    return dataset.to_batches()


def read_by_duckdb(dataset: ds.Dataset) -> Iterator[pa.RecordBatch]:
    with session() as connection:
        connection.register("rows", dataset)
        yield from connection.sql("SELECT id FROM rows").to_arrow_reader(1_000)


@pytest.mark.parametrize("read", [read_by_arrow, read_by_duckdb])
def test_few_row_groups_are_read_ahead(
    tmp_path: Path, read: Callable[[ds.Dataset], Iterator[pa.RecordBatch]]
) -> None:
    """It fails where pyarrow or DuckDB no longer call ``scanner``, which StreamedDataset overrides."""
    started: list[str] = []

    @contextmanager
    def naming(path: str) -> Iterator[None]:
        started.append(path)
        yield

    paths = [str(tmp_path / f"{number}.parquet") for number in range(FILES)]
    pq.write_table(pa.table({"id": range(ROWS)}), paths[0])
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    dataset = streamed_dataset(dict.fromkeys(paths, ROWS), fs.LocalFileSystem(), None, naming, in_folder=True)
    batches = read(dataset)
    total = next(batches).num_rows
    assert 0 < len(started) < FILES / 2
    total += sum(batch.num_rows for batch in batches)
    assert total == FILES * ROWS
    assert started == paths
