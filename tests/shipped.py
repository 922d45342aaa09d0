"""What tests of the shipped models and marts share: the columns of their sources, and rows of YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from demo.home import PROJECT
from pipeline.columns import Column, schema_of
from pipeline.models import library
from pipeline.models.library import Model
from pipeline.source import snapshots
from pipeline.source.catalogue import describe
from tests.support import execute

TRANSFORMS = PROJECT / "transforms"
_SOURCE = PROJECT / "demo" / "source.sql"
SourceColumns = dict[str, tuple[dict[str, str], tuple[str, ...]]]


def source_columns(url: str, all_models: Mapping[str, Model]) -> SourceColumns:
    """Create the source's tables; returns columns and key of each one that the models read, and of seeds."""
    execute(url, _SOURCE.read_text(encoding="utf-8"))
    with snapshots.snapshot(url) as (connection, _):
        tables = describe(connection, "public", sorted(library.source_tables(all_models)))
    seeds = library.read_seeds(all_models)
    columns = {name: (table.columns, tuple(table.key)) for name, table in tables.items()}
    columns |= {name: (seed.columns, ()) for name, seed in seeds.items()}
    return {
        name: ({column.name: column.type for column in each}, key) for name, (each, key) in columns.items()
    }


def as_arrow(rows: list[dict[str, Any]], types: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of YAML with the source's types."""
    given = {name: [None if row.get(name) is None else as_text(row[name]) for row in rows] for name in types}
    unknown = {name for row in rows for name in row} - types.keys()
    assert not unknown, f"the source has no columns {unknown}"
    schema = schema_of([Column(name=name, type=type_) for name, type_ in types.items()])
    arrays = {field.name: pa.array(given[field.name], pa.string()).cast(field.type) for field in schema}
    actual: list[dict[str, Any]] = pa.table(arrays).to_pylist()
    return actual


def as_text(value: object) -> str:
    """A value as Postgres prints it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
