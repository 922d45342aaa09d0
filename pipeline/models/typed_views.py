"""The view that other models read of a model: its rows with the types of its table."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Mapping, Sequence

import duckdb

from pipeline.columns import Column
from pipeline.duck import quote, relation_name
from pipeline.models.analysis import carried
from pipeline.models.comparisons import as_model_type
from pipeline.models.contract import ContractColumn, contract_of
from pipeline.models.library import Model
from pipeline.models.target import Target


def create(
    connection: duckdb.DuckDBPyConnection,
    model: Model,
    target: Target,
    yields: Mapping[str, str],
    empty: Mapping[str, Sequence[Column]] | None,
) -> list[Column]:
    """Create the view that other models read, with the types of the model's table; returns its columns."""
    contract = contract_of(model, target, yields)
    types = {column.name: column for column in columns_of(target)}
    fitting = _fitting(connection, model, list(yields), types, empty) if empty else ()
    values = {each.name: each.value if each.name in fitting else _value(each) for each in contract}
    listed = ", ".join(
        f"{as_model_type(types[name], value, marked=empty is not None)} AS {quote(name)}"
        for name, value in values.items()
    )
    connection.execute(
        f"CREATE TEMP VIEW {quote(relation_name(model.name))} AS"  # noqa: S608
        f" SELECT {listed} FROM {quote(inner_name(model))}"
    )
    return [types[column.name] for column in contract]


def _fitting(
    connection: duckdb.DuckDBPyConnection,
    model: Model,
    yields: Sequence[str],
    types: Mapping[str, Column],
    tables: Mapping[str, Sequence[Column]],
) -> set[str]:
    """Columns whose values all fit, as a source's column of the same type has them, so none becomes NULL."""
    known = {(relation_name(table), each.name): each.type for table in tables for each in tables[table]}
    passed_on = carried(connection, f"FROM {quote(inner_name(model))}", yields)
    return {name for name in passed_on if name in types and known.get(passed_on[name]) == types[name].type}


def columns_of(target: Target) -> list[Column]:
    """A warehouse table's columns, as other models read them."""
    return [
        Column(
            name=each.name,
            type=each.type,
            labels=each.labels if not each.type.endswith("[]") else (),
            equality="case-insensitive" if each.type == "citext" else "exact",
        )
        for each in target.columns
    ]


def _value(column: ContractColumn) -> str:
    """The value that the table stores; NULL if the value does not fit."""
    return f"(CASE WHEN {column.misfit} THEN NULL ELSE {column.value} END)" if column.misfit else column.value


def inner_name(model: Model) -> str:
    """The name of the view of a model's SQL."""
    return f"sql:{model.name}"
