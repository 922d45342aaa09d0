"""Run one model on the last batch's state, and compare its result with the warehouse; nothing is changed."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.capture.source_tables import refuse_main_schema
from pipeline.columns import Frozen, duckdb_type
from pipeline.duck import literal, quote, session
from pipeline.errors import ModelError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models import inputs, library, lineage, properties
from pipeline.models.contract import ContractColumn, left_out
from pipeline.models.failing_rows import leave_out_failing_rows
from pipeline.models.inputs import RESULT, naming_model
from pipeline.models.library import Model, closure
from pipeline.models.reference_tables import NAMES
from pipeline.models.rejects import REJECTED, accepts, keep_repeated_keys
from pipeline.models.target import Target
from pipeline.models.work import Work
from pipeline.postgres import Connection, transaction
from pipeline.review import fitting, live, sources, violations
from pipeline.review.live import Difference, Row
from pipeline.review.violations import Rejected
from pipeline.warehouse import catalogue

# The table of all rows that the model returns.
_TRIED = "tried"
# The rows for which the model fails.
_FAILING = "failing"


class TriedColumn(Frozen):
    """A column of the model: its DuckDB type, and that of the warehouse if it has the column."""

    name: str
    yields: str
    type: str | None
    personal: bool = False


class Trial(Frozen):
    """What a model returns for the last batch's state.

    ``remarks`` are sentences on the contract; ``create_table`` is a statement if the warehouse has no such
    table. ``rejected`` are rows that would be rejected, ``difference`` is None without a table.
    """

    model: str
    batch_id: str
    snapshot_at: datetime
    columns: tuple[TriedColumn, ...]
    rows: int
    first: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    create_table: str | None = None
    rejected: tuple[Rejected, ...] = ()
    difference: Difference | None = None


def run(url: str, schema: str, folder: Path, path: Path, raw: Bucket, *, first: int = 5) -> Trial:
    """Run the model of a file, which need not be in the models' folder, on the last batch's state.

    Shows the ``first`` rows of each kind. Raises ModelError with file and line.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; write MODEL=transforms/<table>.sql")
    models = library.load(folder, instead=path)
    needed = closure(models, path.stem)
    with transaction(url, "warehouse", reading=True) as warehouse:
        manifest = sources.last_manifest(warehouse, schema, raw)
        refuse_main_schema(manifest.source_schema, needed)
        if lacking := library.tables_read(needed) - manifest.tables.keys() - NAMES:
            raise ModelError(
                f"{path}: reads {', '.join(sorted(lacking))}, which the last batch does not hold; the next"
                " run with this model reads it"
            )
        read = library.tables_read(needed) & manifest.tables.keys()
        if unknown := sorted(name for name in read if manifest.tables[name].state is None):
            raise ModelError(
                f"{path}: reads {', '.join(unknown)}, of which the last batch holds only the changed rows"
            )
        targets = catalogue.existing_targets(warehouse, schema, needed)
        return _Trying(warehouse, schema, needed, targets, manifest, raw, first).run()


@dataclass
class _Trying:
    """A trial in progress; ``targets`` are the tables that exist, and then those that would fit, too."""

    warehouse: Connection
    schema: str
    models: Mapping[str, Model]
    targets: dict[str, Target]
    manifest: Manifest
    raw: Bucket
    first: int

    @property
    def model(self) -> Model:
        return list(self.models.values())[-1]

    def run(self) -> Trial:
        """Run the model; returns what it would do."""
        existing = self.targets.get(self.model.name)
        tables, keys = self.manifest.columns, self.manifest.primary_keys
        self.targets = fitting.with_missing(self.models, self.targets, tables, keys)
        types = fitting.types_of(self.models, self.targets, tables, self.model.name)
        personal = lineage.personal_of(self.models, self.targets, self.manifest).get(self.model.name, ())
        remarks = list(self._extend_target(types))
        analysis, contract = properties.analysed(self.models, self.targets, tables, keys)
        if analysis.unknown_labels:
            raise ModelError(f"{self.model.path}: {analysis.unknown_labels[0]}")
        target, names = self.targets[self.model.name], [column.name for column in contract]
        with session() as connection:
            inputs.bind(connection, self.models, self.targets, self.manifest, self.raw, changes=False)
            failing = self._compute(connection)
            connection.register(_FAILING, failing)
            rejected = violations.by_reason(failing.to_batches())
            with naming_model(self.model):
                fits = _accept(connection, target, contract)
            rejected += violations.of_contract(connection, target, contract, _TRIED, repeated=fits)
            difference = None
            if existing:
                live.normalize(connection, self.warehouse, existing, names)
                unfit, more = violations.of_references(connection, self.warehouse, existing, names)
                rejected, remarks = [*rejected, *unfit], [*remarks, *more]
                difference = self._difference(connection, existing, contract)
            else:
                remarks.insert(0, f"the warehouse has no table {target.name} yet")
            return Trial(
                model=self.model.name,
                batch_id=self.manifest.batch_id,
                snapshot_at=self.manifest.snapshot_at,
                columns=tuple(self._columns(types, existing, personal)),
                rows=live.count(connection, f"FROM {_TRIED}"),
                first=tuple(
                    live.rows(connection, f"FROM {_TRIED}", _TRIED, list(types), target.key, self.first)
                ),
                remarks=tuple(remarks),
                create_table=None if existing else fitting.create_table(target),
                rejected=tuple(rejected),
                difference=difference,
            )

    def _compute(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """Create the table of the result; returns the rows for which the model fails, as rejected ones."""
        create = f"CREATE TEMP TABLE {_TRIED} AS SELECT * FROM {RESULT}"  # noqa: S608
        try:
            with naming_model(self.model):
                connection.execute(create)
        except ModelError as error:
            work = Work(self.models, self.targets, self.manifest, None, self.raw, self.raw)
            if work.row_table is None:
                raise
            failing = leave_out_failing_rows(connection, work, work.row_table, error, complete=True)
            connection.execute(create)
            return pa.Table.from_batches([failing])
        return REJECTED.empty_table()

    def _extend_target(self, types: Mapping[str, str]) -> list[str]:
        """Add the columns that the table lacks, so that the model runs; returns what to do about them."""
        target = self.targets[self.model.name]
        dropped = left_out(self.model, target, types)
        lacking = [name for name in types if target.column(name) is None and name not in dropped]
        columns = [fitting.column_of(name, fitting.type_for(types[name])) for name in lacking]
        extended = target.model_copy(update={"columns": (*target.columns, *columns)})
        self.targets[self.model.name] = extended
        return [
            *(f"{name} comes by * and is left out until the table has it" for name in dropped),
            *(
                f"{column.name} is not in the warehouse table {target.name};"
                f" add `{column.name} {column.type}` to it in schema.sql"
                for column in columns
            ),
        ]

    def _difference(
        self, connection: duckdb.DuckDBPyConnection, target: Target, contract: Sequence[ContractColumn]
    ) -> Difference:
        names = [column.name for column in contract if target.column(column.name)]
        live.bind_live(connection, self.warehouse, self.schema, target, names)
        values = {column.name: column.value for column in contract}
        keys = ", ".join(f"{values[name]} AS {quote(name)}" for name in target.key)
        stored = [column for column in map(target.column, target.key) if column]
        failing = ", ".join(
            f"CAST(json_extract_string(key, {literal(_path(column.name))}) AS {duckdb_type(column.type)})"
            for column in stored
        )
        return live.difference(
            connection,
            target,
            names,
            f"SELECT {keys} FROM {_TRIED} UNION ALL SELECT {failing} FROM {_FAILING}",  # noqa: S608
            keeps_rows=self.model.keeps_rows,
            first=self.first,
        )

    def _columns(
        self, types: Mapping[str, str], target: Target | None, personal: Collection[str]
    ) -> Iterator[TriedColumn]:
        for name, yields in types.items():
            column = target.column(name) if target else None
            type_ = column.type if column else None
            yield TriedColumn(name=name, yields=yields, type=type_, personal=name in personal)


def _path(name: str) -> str:
    """The JSON path of a column in a rejected row's key."""
    return f'$."{name}"'


def _accept(
    connection: duckdb.DuckDBPyConnection, target: Target, contract: Sequence[ContractColumn]
) -> bool:
    """Create the table of the rows that fit the contract; returns whether a key has several rows."""
    repeated = keep_repeated_keys(connection, target, contract, _TRIED)
    values = ", ".join(f"{column.value} AS {quote(column.name)}" for column in contract)
    fits = accepts(target, contract, repeated=repeated)
    connection.execute(
        f"CREATE TEMP TABLE {live.RESULT} AS SELECT {values} FROM {_TRIED} WHERE {fits}"  # noqa: S608
    )
    return repeated
