"""One model over one batch: what it reads, and how it may be computed."""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.columns import Column, duckdb_type, identity
from pipeline.duck import quote
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.lake.paths import batch_folder
from pipeline.models import inputs
from pipeline.models.analysis import Analysis
from pipeline.models.contract import Check
from pipeline.models.library import Model
from pipeline.models.output import Loaded, columns_of
from pipeline.models.reference import BATCH
from pipeline.models.target import Target


@dataclass(frozen=True)
class Work:
    """One model over one batch: the last of ``models``, which holds those below it too."""

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
        """Its table."""
        return self.targets[self.model.name]

    @property
    def folder(self) -> str:
        """Where its rows go."""
        return batch_folder(self.model.name, self.manifest.batch_id)

    @property
    def tables(self) -> list[TableBatch]:
        """The source tables that it reads, by whatever way."""
        names = {name for model in self.models.values() for name in model.reads}
        return [table for name, table in self.manifest.tables.items() if name in names]

    @cached_property
    def analysed(self) -> tuple[Analysis, list[Check]]:
        """What the planner tells of it, and how its columns are checked."""
        tables = {name: table.columns for name, table in self.manifest.tables.items()}
        return inputs.analysed(self.models, self.targets, tables)

    @property
    def is_known(self) -> bool:
        """Whether the warehouse was computed with this very model."""
        return self.loaded is not None and self.loaded.fingerprint == self.model.fingerprint

    @property
    def sees_changes(self) -> bool:
        """Whether the warehouse has all that earlier batches brought, so that what changed is enough."""
        return self.is_known and not self.manifest.reconcile

    @property
    def row_table(self) -> TableBatch | None:
        """The table whose rows the model's rows each come from, under the same key, if there is one."""
        analysis, found = self.analysed
        table = self.manifest.tables.get(analysis.table or "")
        if table is None or table.state is None:
            return table
        return table if _same_identity(analysis, table, self.target, found) else None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The warehouse's columns that it yields."""
        return columns_of(self.target, [check.column for check in self.analysed[1]])


def _same_identity(analysis: Analysis, table: TableBatch, target: Target, found: Sequence[Check]) -> bool:
    """Whether a warehouse key is the source's own, told apart by the same equality."""
    types = {column.name: column.type for column in table.columns}
    plain = {check.column for check in found if check.value == quote(check.column)}
    keys = [analysis.carries.get(name) for name in target.key]
    return (
        bool(table.key)
        and sorted(filter(None, keys)) == sorted(table.key)
        and plain.issuperset(target.key)
        and all(
            identity("x", types[str(key)]) == identity("x", column.type)
            and duckdb_type(types[str(key)]) == duckdb_type(column.type)
            for key, name in zip(keys, target.key, strict=True)
            if (column := target.column(name))
        )
    )


def needed(models: Mapping[str, Model], manifest: Manifest, loaded: Loaded | None) -> bool:
    """Whether the last of these models, the others being below it, may have another result than before."""
    model = list(models.values())[-1]
    reads = {name for each in models.values() for name in each.reads}
    if loaded is None or loaded.fingerprint != model.fingerprint or BATCH in reads:
        return True
    return manifest.reconcile or any(manifest.tables[name].changed for name in reads & manifest.tables.keys())


def pieces(work: Work) -> list[Manifest]:
    """The batch as a model may read it on many machines: file by file where a table was read whole."""
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
