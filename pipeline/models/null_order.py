"""Find orders that put NULL last where Postgres puts it first: DESC without NULLS FIRST or NULLS LAST.

DuckDB's plan names the place of NULL either way. So the SQL is planned twice, with both defaults, and the
orders that differ have none of their own.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator, Mapping

import duckdb

from pipeline.models.analysis import plan_of
from pipeline.models.comparisons import column_of
from pipeline.models.dependencies import Rows
from pipeline.models.operators import Operators
from pipeline.models.unstable import Node, called, walk

_ORDER_OF_POSTGRES = "nulls_last_on_asc_first_on_desc"
_NEVER_NULL = frozenset({"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"})
_OF_ALL = frozenset("+ - * || OPERATOR_CAST".split())  # noqa: SIM905


def in_sql(
    connection: duckdb.DuckDBPyConnection, sql: str, plan: Node, keys: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """A message for each such order of a query that decides something and may meet a NULL.

    ``plan`` is the query's, with DuckDB's default; ``keys`` as in Operators.
    """
    if not any(order.get("type") == "DESCENDING" for order in walk(plan)):
        return
    connection.execute(f"SET SESSION default_null_order = '{_ORDER_OF_POSTGRES}'")
    try:
        other = plan_of(connection, sql) or plan
    finally:
        connection.execute("RESET SESSION default_null_order")
    for (order, below), (of_postgres, _) in zip(_deciding(plan, keys), _deciding(other, keys), strict=True):
        expression = order["expression"]
        if order["null_order"] != of_postgres["null_order"] and not _is_never_null(expression, below):
            by = column_of(expression) or below.name(expression)
            yield (
                f"ORDER BY {by} DESC puts NULL last in DuckDB, and first in Postgres; write DESC NULLS LAST"
                " or DESC NULLS FIRST"
            )


def _deciding(plan: Node, keys: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[Node, Rows]]:
    """The orders of a plan that decide which rows or values there are, with the rows that they order."""
    operators = Operators(plan, keys)
    for node in walk(plan):
        orders: list[Node] = []
        kind = str(node.get("type"))
        if kind in {"LOGICAL_WINDOW", "LOGICAL_AGGREGATE_AND_GROUP_BY"}:
            for each in node["expressions"]:
                orders += [*(each.get("orders") or ()), *(each.get("arg_orders") or ())]
                orders += (each.get("order_bys") or {}).get("orders") or ()
        elif kind == "LOGICAL_DISTINCT":
            by = node.get("order_by") or []
            orders += by["orders"] if isinstance(by, Mapping) else by
        elif kind == "LOGICAL_LIMIT":
            (child,) = node["children"]
            if child["type"] == "LOGICAL_ORDER_BY":
                yield from ((order, operators.of(child)) for order in child["orders"])
        yield from ((order, operators.of(node["children"][0])) for order in orders)


def _is_never_null(expression: Node, below: Rows) -> bool:
    """Whether no row has NULL for an expression."""
    kind = expression["type"]
    if below.same(expression) in below.never_null or kind in _NEVER_NULL:
        return True
    if kind == "VALUE_CONSTANT":
        return not expression["value"]["is_null"]
    operands = expression.get("children") or []
    if kind == "OPERATOR_COALESCE":
        return any(_is_never_null(each, below) for each in operands)
    if kind == "CASE_EXPR":
        results = [*(each["then_expr"] for each in expression["case_checks"]), expression["else_expr"]]
        return all(_is_never_null(each, below) for each in results)
    name = kind if kind == "OPERATOR_CAST" else called(expression)
    return name in _OF_ALL and bool(operands) and all(_is_never_null(each, below) for each in operands)
