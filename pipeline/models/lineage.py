"""Which columns of the source feed which columns of a model, and which of them decide what rows it has.

This is read from DuckDB's plan, in which macros, views, models below, subqueries and ``*`` are resolved.
Where the plan does not tell, everything that an operator reads counts: a column that has an effect is never
missing, one that is named may have none.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

import duckdb

from pipeline.columns import Column, Frozen
from pipeline.duck import relation_name, session
from pipeline.lake.manifest import Manifest
from pipeline.models import inputs, reference_tables
from pipeline.models.analysis import plan_of
from pipeline.models.column_flows import NONE, Flow, Flows, Sources
from pipeline.models.inputs import RESULT
from pipeline.models.library import Model, closure
from pipeline.models.operators import Operators
from pipeline.models.personal import personal_columns
from pipeline.models.syntax import Node
from pipeline.models.target import Target
from pipeline.source.table_names import of_column, table_of


class Lineage(Frozen):
    """The source columns of a model, as ``table.column``.

    ``columns`` has, by column of the model, those that its value is computed from. ``rows`` are those that
    decide which rows there are: by WHERE, JOIN, GROUP BY, DISTINCT, LIMIT. What feeds a column of the key
    decides which row another column's value is in.
    """

    columns: dict[str, tuple[str, ...]]
    rows: tuple[str, ...]


class Fed(Frozen):
    """What a source column feeds: columns of models as ``model.column``, and the rows of models."""

    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


def of_models(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]],
) -> dict[str, Lineage]:
    """The lineage of each model, over source tables with these columns and primary keys.

    Raises ModelError for a model that does not fit them.
    """
    found = {}
    for name in models:
        needed = closure(models, name)
        with session() as connection:
            inputs.bind_empty(connection, needed, targets, tables)
            columns = list(inputs.types_of(connection, models[name], RESULT))
            key = targets[name].key if name in targets else models[name].key
            found[name] = lineage(connection, columns, key, tables, keys)
    return found


def lineage(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
    key: Sequence[str],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]],
) -> Lineage:
    """The lineage of the bound view ``result``, which has these columns and this business key."""
    names = {relation_name(name): name for name in tables}
    top = plan_of(connection, f"FROM {RESULT}")
    if top is None:
        everything = frozenset((name, column.name) for name, listed in tables.items() for column in listed)
        flow = Flow(None, everything, filters=everything)
        return _named(columns, [everything for _ in columns], flow)
    by_relation = {relation_name(name): each for name, each in _with_references(keys).items()}
    flow = Flows(top, names, Operators(top, by_relation)).result
    fed = [flow.column(place) for place in range(len(columns))]
    places = [columns.index(name) for name in key if name in columns]
    for place, doubts in enumerate(_doubts(top, by_relation, places, len(columns), flow)):
        fed[place] |= doubts
    return _named(columns, fed, flow)


def _with_references(keys: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {**reference_tables.KEYS, **{name: key for name, key in keys.items() if key}}


def _doubts(
    top: Node, keys: Mapping[str, tuple[str, ...]], places: Sequence[int], number: int, flow: Flow
) -> list[Sources]:
    """By column, the sources that may give a row of the same key another value.

    None if the key determines the value whatever is joined; the conditions of joins if it does so because of
    these; else whatever decides which rows there are.
    """
    chosen = flow.links | flow.numbers
    found = [flow.filters | chosen] * number
    if top["type"] != "LOGICAL_PROJECTION" or not places:
        return found
    expressions = top["expressions"]
    for strict, doubts in ((False, chosen), (True, NONE)):
        below = Operators(top, keys, strict=strict).of(top["children"][0])
        within = below.attributes(expressions[place] for place in places)
        is_whole = len(within) == len({json.dumps(expressions[place], sort_keys=True) for place in places})
        for place, expression in enumerate(expressions):
            if place in places:
                found[place] = NONE
            elif is_whole and below.determines(expression, within):
                found[place] = doubts
    return found


def _named(columns: Sequence[str], fed: Sequence[Sources], flow: Flow) -> Lineage:
    by_column = zip(columns, fed, strict=True)
    return Lineage(
        columns={column: _spelled(sources) for column, sources in by_column},
        rows=_spelled(flow.filters | flow.links),
    )


def _spelled(sources: Sources) -> tuple[str, ...]:
    return tuple(sorted(of_column(table, column) for table, column in sources))


def fed(lineages: Mapping[str, Lineage], table: str | None = None) -> dict[str, Fed]:
    """The other direction: what each source column feeds, only those of one ``table`` if it is named."""
    sources = sorted({source for each in lineages.values() for source in _sources(each)})
    return {
        source: Fed(
            columns=tuple(
                f"{model}.{column}"
                for model, each in lineages.items()
                for column, feeding in each.columns.items()
                if source in feeding
            ),
            rows=tuple(model for model, each in lineages.items() if source in each.rows),
        )
        for source in sources
        if table is None or table_of(source) == table
    }


def _sources(each: Lineage) -> Iterable[str]:
    return {*each.rows, *(source for sources in each.columns.values() for source in sources)}


def personal_outputs(
    lineages: Mapping[str, Lineage], personal: Mapping[str, Collection[str]]
) -> dict[str, frozenset[str]]:
    """By model, the columns that are fed by personal columns of the source, which are given by table."""
    sources = {of_column(table, column) for table, columns in personal.items() for column in columns}
    return {
        name: frozenset(column for column, feeding in each.columns.items() if sources & set(feeding))
        for name, each in lineages.items()
    }


def personal_of(
    models: Mapping[str, Model], targets: Mapping[str, Target], batch: Manifest
) -> dict[str, frozenset[str]]:
    """By model, the columns that personal columns of a batch's tables feed."""
    names = {name: [column.name for column in columns] for name, columns in batch.columns.items()}
    declared = personal_columns(models, names)
    if not declared:
        return {}
    return personal_outputs(of_models(models, targets, batch.columns, batch.primary_keys), declared)
