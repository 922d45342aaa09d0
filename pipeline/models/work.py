"""One run of a model on a batch: what it reads, and how it can be computed."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.columns import Column, duckdb_type, identity, unparameterized
from pipeline.duck import quote
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.lake.paths import batch_folder
from pipeline.models import properties
from pipeline.models.analysis import Analysis
from pipeline.models.contract import ContractColumn
from pipeline.models.library import Model
from pipeline.models.output import Loaded, columns_of
from pipeline.models.reference_tables import BATCH
from pipeline.models.target import Target, TargetColumn
from pipeline.source.table_names import spelled


@dataclass(frozen=True)
class Work:
    """One run of a model on a batch. The model is the last of ``models``, after all that it reads.

    ``loaded`` is what its table was last computed with.
    """

    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    manifest: Manifest
    loaded: Loaded | None
    raw: Bucket
    processed: Bucket

    @property
    def model(self) -> Model:
        """The model to run."""
        return list(self.models.values())[-1]

    @property
    def target(self) -> Target:
        """The model's warehouse table."""
        return self.targets[self.model.name]

    @property
    def folder(self) -> str:
        """The folder of its rows in the processed bucket."""
        return batch_folder(spelled(self.model.name), self.manifest.batch_id)

    @property
    def tables(self) -> list[TableBatch]:
        """The source tables that it reads, directly or through other models."""
        names = {name for model in self.models.values() for name in model.reads}
        return [table for name, table in self.manifest.tables.items() if name in names]

    @cached_property
    def analysed(self) -> tuple[Analysis, tuple[ContractColumn, ...]]:
        """The analysis of its plan, and the contract of its columns."""
        return properties.analysed(self.models, self.targets, self.manifest.columns)

    @property
    def is_unchanged(self) -> bool:
        """Whether the table was last computed with this model."""
        return self.loaded is not None and self.loaded.fingerprint == self.model.fingerprint

    @property
    def changes_suffice(self) -> bool:
        """Whether changed rows are enough, because the table has all rows of earlier batches."""
        return self.is_unchanged and not self.manifest.reconcile

    @property
    def row_table(self) -> TableBatch | None:
        """The table whose rows each yield at most one row of the model with the same key, if any."""
        analysis, columns = self.analysed
        table = self.manifest.tables.get(analysis.table or "")
        if table is None or table.state is None:
            return table
        return table if _same_identity(analysis, table, self.target, columns) else None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the warehouse table that it yields."""
        return columns_of(self.target, [column.name for column in self.analysed[1]])


def _same_identity(
    analysis: Analysis, table: TableBatch, target: Target, columns: Sequence[ContractColumn]
) -> bool:
    """Whether the key in the warehouse is the key in the source, unchanged and with the same equality."""
    types = {column.name: column.type for column in table.columns}
    plain = {
        column.name
        for column in columns
        if column.value == quote(column.name)
        or types.get(analysis.carries.get(column.name, "")) == "smallint"
    }
    keys = [analysis.carries.get(name, "") for name in target.key]
    return (
        bool(table.key)
        and sorted(keys) == sorted(table.key)
        and plain.issuperset(target.key)
        and all(
            identity("x", types[key]) == identity("x", column.type)
            and duckdb_type(types[key]) == duckdb_type(column.type)
            and _is_certain(column, types[key])
            for key, name in zip(keys, target.key, strict=True)
            if (column := target.column(name))
        )
    )


def _is_certain(column: TargetColumn, source_type: str) -> bool:
    """Whether DuckDB tells a key's values apart as the warehouse does, as the source prints them."""
    uncertain = column.uncertain("x")
    is_printed = unparameterized(source_type) == unparameterized(column.type)
    return uncertain is None or (uncertain != "true" and is_printed)


def needed(models: Mapping[str, Model], manifest: Manifest, loaded: Loaded | None) -> bool:
    """Whether the last of these models may have a new result; the others are those that it reads."""
    model = list(models.values())[-1]
    reads = {name for each in models.values() for name in each.reads}
    if loaded is None or loaded.fingerprint != model.fingerprint or BATCH in reads:
        return True
    return manifest.reconcile or any(manifest.tables[name].changed for name in reads & manifest.tables.keys())


def splits(work: Work) -> list[Manifest]:
    """The batch as a model can read it on several machines: one file each of a table read in full."""
    table = work.row_table
    if table is None or table.state is None or table.mode != "full" or len(table.files) < 2:  # noqa: PLR2004
        return [work.manifest]
    return [
        work.manifest.model_copy(
            update={
                "tables": work.manifest.tables | {table.table: table.model_copy(update={"files": (file,)})}
            }
        )
        for file in table.files
    ]
