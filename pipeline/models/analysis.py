"""Analyse a model by DuckDB's own plan: whether each row comes from one source row, and what is unstable.

The plan is read before it is optimized, with macros, views and subqueries resolved, so the way in which a
model is written does not matter. Whatever is not known to be safe counts as unsafe.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import duckdb

from pipeline.models import ties
from pipeline.models.comparisons import misread
from pipeline.models.syntax import Node, planned, walk
from pipeline.models.unstable import in_plan

# Expressions that compute one value from one row.
_OF_ONE_ROW = frozenset(
    "BOUND_BETWEEN BOUND_CASE BOUND_CAST BOUND_COMPARISON BOUND_CONJUNCTION BOUND_CONSTANT"  # noqa: SIM905
    " BOUND_FUNCTION BOUND_LAMBDA BOUND_LAMBDA_REF BOUND_OPERATOR BOUND_REF".split()
)
# Table functions that read only their arguments.
_FUNCTIONS = frozenset(
    ["seq_scan", "range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"]
)
_UNREADABLE = "DuckDB does not show its plan, so it may depend on the order of rows"


@dataclass(frozen=True)
class Analysis:
    """The properties of a model.

    ``table``: the source table of which each row of the model comes from one row, if there is one.
    ``carries``: the column of that table that a column of the model carries, by the latter.
    ``filtered``: whether rows of that table may be left out.
    ``unstable``: why the model may yield different rows for the same data, as messages.
    ``left_out``: columns that come by a ``*`` and that its warehouse table does not have.
    ``unknown_labels``: comparisons of an enum with a text that is none of its labels, as messages.
    """

    table: str | None
    carries: Mapping[str, str]
    filtered: bool
    unstable: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    unknown_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Rows:
    """Rows that each come from one row of a relation; ``columns`` name the relation's, if it is one."""

    relation: str
    columns: tuple[str | None, ...]
    filtered: bool


class Misread(Exception):
    """A query compares a column differently from Postgres: its name, if known, and the remedy."""


def analyse(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    names: Sequence[str],
    keys: Mapping[str, tuple[str, ...]] | None,
) -> Analysis:
    """Analyse a query with the columns ``names``, whose relations are bound as tables of DuckDB.

    If the tables' ``keys`` are given, ties are analysed too, see pipeline.models.ties. Raises ValueError with
    the reason if the query reads something that it must not, and Misread.
    """
    top = plan_of(connection, sql)
    if top is None:
        return Analysis(None, {}, filtered=True, unstable=(_UNREADABLE,))
    for name, remedy in misread(top):
        raise Misread(name, remedy)
    for function in _table_functions(top):
        if function not in _FUNCTIONS:
            raise ValueError(f"reads {function}(), which is neither a table of the source nor a model")
    unstable = (*in_plan(top), *(ties.in_plan(top, keys) if keys is not None else ()))
    rows = _rows(top, {})
    if rows is None:
        return Analysis(None, {}, filtered=True, unstable=unstable)
    carries = {name: column for name, column in zip(names, rows.columns, strict=True) if column is not None}
    return Analysis(rows.relation, carries, rows.filtered, unstable)


def carried(
    connection: duckdb.DuckDBPyConnection, sql: str, names: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """The relation and column that each column of a query only passes on, if each row comes from one row."""
    plan = plan_of(connection, sql)
    rows = _rows(plan, {}) if plan else None
    if rows is None:
        return {}
    return {
        name: (rows.relation, column)
        for name, column in zip(names, rows.columns, strict=True)
        if column is not None
    }


def plan_of(connection: duckdb.DuckDBPyConnection, sql: str) -> Node | None:
    """DuckDB's plan of a query, before it is optimized; None if DuckDB does not show it."""
    plan = planned(connection, sql)
    return None if plan["error"] else cast("Node", plan["plans"][0])


def _rows(node: Node, ctes: Mapping[int, _Rows | None]) -> _Rows | None:
    """The relation whose rows each yield at most one row of a plan; None if there is no such relation."""
    match node["type"]:
        case "LOGICAL_GET":
            return _scanned(node)
        case "LOGICAL_CTE_REF":
            return ctes.get(node["cte_index"])
        case "LOGICAL_MATERIALIZED_CTE":
            defined, query = node["children"]
            return _rows(query, {**ctes, node["table_index"]: _rows(defined, ctes)})
        case "LOGICAL_FILTER" | "LOGICAL_PROJECTION":
            child = _rows(node["children"][0], ctes)
            if child is None or not all(map(_of_one_row, node["expressions"])):
                return None
            if node["type"] == "LOGICAL_PROJECTION":
                columns = tuple(_carried(expression, child.columns) for expression in node["expressions"])
                return _Rows(child.relation, columns, child.filtered)
            return None if node.get("projection_map") else _Rows(child.relation, child.columns, filtered=True)
    return None


def _scanned(node: Node) -> _Rows | None:
    if node["qname"]["path"] != ["seq_scan"] or node.get("projection_ids"):
        return None
    names, columns = node["names"], [each["index"] for each in node["column_indexes"]]
    named = tuple(names[column] if column < len(names) else None for column in columns)
    return _Rows(node["function_data"]["table"], named, filtered=False)


def _of_one_row(expression: Node) -> bool:
    return all(
        node["expression_class"] in _OF_ONE_ROW for node in walk(expression) if "expression_class" in node
    )


def _carried(expression: Node, columns: Sequence[str | None]) -> str | None:
    if expression.get("type") == "OPERATOR_CAST" and expression["return_type"]["id"] == "VARCHAR":
        inner = expression["children"][0]
        if (inner.get("return_type") or {}).get("id") == "ENUM":
            return _carried(inner, columns)  # the cast to text keeps the label
    return columns[expression["index"]] if expression["expression_class"] == "BOUND_REF" else None


def _table_functions(plan: Node) -> Iterator[str]:
    for node in walk(plan):
        if node.get("type") == "LOGICAL_GET":
            yield node["qname"]["path"][-1]
