"""Let numbers with an exponent, such as 1e2, be decimals, as in Postgres.

DuckDB reads them as floating point. Beside floating point they become that in Postgres, too.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from decimal import Decimal

import duckdb

from pipeline.models.analysis import plan_of
from pipeline.models.edits import Edit, applied
from pipeline.models.quotients import FLOATS
from pipeline.models.syntax import Node, parsed, type_name, uncast, walk, with_parents

_WITH_EXPONENT = re.compile(r"-?(\d[\d_]*\.?\d*|\.\d+)e[+-]?\d{1,2}", re.IGNORECASE)
_MOST_DIGITS = 38


def may_have_exponents(sql: str) -> bool:
    """Whether a query may have numbers with an exponent."""
    return bool(_WITH_EXPONENT.search(sql))


def with_decimals(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with decimals instead of such numbers, if 38 digits do."""
    plan = plan_of(connection, sql) if may_have_exponents(sql) else None
    if plan is None:
        return sql
    text = sql.encode()
    kept = {_written(node, text) for node, parent in with_parents(plan, {}) if _is_beside_float(node, parent)}
    literals = {
        (node["query_location"], written)
        for node in walk(parsed(connection, sql))
        if node.get("class") == "CONSTANT" and (written := _written(node, text)) not in kept
    }
    edits = [
        Edit(place, place + len(written), decimal.encode())
        for place, written in literals
        if _WITH_EXPONENT.fullmatch(written) and len(decimal := _decimal(written)) <= _MOST_DIGITS
    ]
    return applied(text, edits).decode()


def _written(node: Node, text: bytes) -> str:
    start = int(node.get("query_location", len(text)))
    return text[start : start + int(node.get("query_location_length", 0))].decode(errors="replace")


def _is_beside_float(node: Node, parent: Node) -> bool:
    """Whether a literal is an operand of an operation on floating point."""
    operands = [each for each in parent.get("children") or () if each is not node]
    types = {type_name(uncast(each)) for each in operands if each["expression_class"] != "BOUND_CONSTANT"}
    return node["expression_class"] == "BOUND_CONSTANT" and bool(types & FLOATS)


def _decimal(written: str) -> str:
    decimal = f"{Decimal(written):f}"
    return decimal if "." in decimal else f"{decimal}."
