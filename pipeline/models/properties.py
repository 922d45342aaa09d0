"""The properties of a model: what the analysis of its plan says, and the contract of its columns."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import duckdb

from pipeline.columns import Column
from pipeline.duck import relation_name, session
from pipeline.errors import ModelError
from pipeline.models import dialect, reference_tables
from pipeline.models.analysis import Analysis, Misread, analyse, plan_of
from pipeline.models.comparisons import ROWS, is_special
from pipeline.models.contract import ContractColumn, contract_of, left_out
from pipeline.models.exact_quotients import with_exact_epochs
from pipeline.models.inputs import RESULT, TableColumns, as_key, as_tables, bind_empty, read_names, types_of
from pipeline.models.library import Model
from pipeline.models.literals import misspelled, unknown_labels
from pipeline.models.mistakes import mistakes_in
from pipeline.models.number_literals import with_decimals
from pipeline.models.rounding import with_exact_numbers
from pipeline.models.target import Target
from pipeline.models.typed_views import columns_of

Keys = tuple[tuple[str, tuple[str, ...]], ...]


def analysed(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Analysis, tuple[ContractColumn, ...]]:
    """The analysis of the last of the models, and the contract of its columns.

    If the tables' primary ``keys`` are given, a result that depends on the order of ties counts as unstable.
    Raises ModelError with file, line and DuckDB's message, also if the model is unstable without permission.
    """
    read = read_names(models)
    of_read = None if keys is None else tuple((name, key) for name, key in keys.items() if name in read)
    return _analysed(*as_key(models, targets, tables), of_read)


@lru_cache(maxsize=512)  # a rebuild asks for the same models at every batch; analysing one takes some 20 ms
def _analysed(
    chain: tuple[Model, ...], their_targets: tuple[Target, ...], their_tables: TableColumns, keys: Keys | None
) -> tuple[Analysis, tuple[ContractColumn, ...]]:
    models = {model.name: model for model in chain}
    targets = {target.name: target for target in their_targets}
    tables = dict(their_tables)
    model = chain[-1]
    with session() as connection:
        text = bind_empty(connection, models, targets, tables)[model.name]
        yields = types_of(connection, model, RESULT)
        unknown = tuple(unknown_labels(connection, text))
        declared = {
            each.name.lower(): each.type for name in model.reads & tables.keys() for each in tables[name]
        }
        reads_bytes = any(each.is_escaped for columns in tables.values() for each in columns)
        contract = contract_of(model, targets[model.name], yields, declared, reads_bytes=reads_bytes)
        different = [] if keys is None else _different(connection, models, targets, tables)
        try:
            analysis = analyse(connection, f"FROM {RESULT}", list(yields), _relation_keys(keys))
        except ValueError as error:
            raise ModelError(f"{model.path}: {error}") from None
        except Misread as misread:
            name, remedy = misread.args
            columns = name if name == ROWS else _special(models, tables, name) or name
            raise ModelError(
                f"{model.path}: compares {columns} differently from Postgres; {remedy}"
            ) from None
    unstable = (*analysis.unstable, *(words for each in chain for words in each.changing))
    if unstable and not model.unstable:
        raise ModelError(f"{model.path}: {unstable[0]}; or write `-- unstable: allowed` at its head")
    if different:
        raise ModelError("\n".join(f"{model.path}{line}: {words}" for line, words in different))
    by_relation = {relation_name(name): name for name in tables}
    return replace(
        analysis,
        table=by_relation.get(analysis.table or ""),
        unstable=unstable,
        unknown_labels=unknown,
        left_out=tuple(left_out(model, targets[model.name], yields)),
    ), tuple(contract)


def _different(
    connection: duckdb.DuckDBPyConnection,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
) -> list[tuple[str, str]]:
    """What the last of the models computes differently from Postgres: the line, if known, and the message."""
    model = list(models.values())[-1]
    columns = [each for name in model.reads & tables.keys() for each in tables[name]]
    columns += [each for name in model.reads & models.keys() for each in columns_of(targets[name])]
    with as_tables(connection, models, targets, tables) as other:
        sql = with_exact_epochs(other, with_decimals(other, model.bound_sql))
        exact = with_exact_numbers(other, sql)
        plan, exact_plan = plan_of(other, sql), plan_of(other, exact)
        if plan is None or exact_plan is None:
            return mistakes_in(other, sql, sorted(model.reads))  # such as arrays that are used as texts
        with_lines = [
            *dialect.differing(plan, sql),
            *dialect.inexact(exact_plan, exact),
            *dialect.unread(other, plan, sql),
            *misspelled(plan, sql, columns),
        ]
        found = [("" if line is None else f":{line}", words) for line, words in with_lines]
    return list(dict.fromkeys(found))


def _relation_keys(keys: Keys | None) -> dict[str, tuple[str, ...]] | None:
    """The keys of source and reference tables, by the names that these have in DuckDB."""
    if keys is None:
        return None
    read = dict(keys)
    # A reference table without a key has a single row; a source table without one may have any.
    others = {name: key for name, key in reference_tables.KEYS.items() if name not in read}
    known = others | {name: key for name, key in read.items() if key}
    return {relation_name(name): key for name, key in known.items()}


def _special(models: Mapping[str, Model], tables: Mapping[str, Sequence[Column]], name: str) -> str:
    """The columns that DuckDB compares differently, with their types: those of this name, or else all."""
    special = [
        (column.name, f"{table}.{column.name} ({column.type})")
        for table in sorted(read_names(models) & tables.keys())
        for column in tables[table]
        if is_special(column)
    ]
    return " or ".join(
        [shown for column, shown in special if column == name] or [each for _, each in special]
    )
