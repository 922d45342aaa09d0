"""Literals beside an enum: of its type, as in Postgres, where DuckDB would compare both by their letters."""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from pipeline.duck import literal

Node = Mapping[str, Any]
# Operands of these are of one type.
_COMBINING = frozenset({"greatest", "least"})


def with_labels(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """A query whose relations are bound as tables, with each label beside an enum as a value of that enum."""
    row = connection.execute("SELECT json_serialize_plan(?::VARCHAR, optimize := false)", [sql]).fetchone()
    plan = json.loads(str(row[0])) if row else {"error": True}
    if plan["error"]:
        return sql
    text = sql.encode()
    for (start, end), labels in sorted(_labels(plan, text).items(), reverse=True):
        enum = f"ENUM({', '.join(map(literal, labels))})".encode()
        text = text[:start] + b"CAST(" + text[start:end] + b" AS " + enum + b")" + text[end:]
    return text.decode()


def _labels(plan: Node, text: bytes) -> dict[tuple[int, int], tuple[str, ...]]:
    """Where labels stand beside an enum, with all labels that it has."""
    found = {}
    for operands in _operands(plan):
        labels = next(filter(None, map(_enum, operands)), ())
        for constant in filter(None, map(_text, operands)):
            start = constant["query_location"]
            end = start + constant["query_location_length"]
            value = str(constant["value"]["value"])
            if value in labels and text[start:end].decode(errors="replace") == literal(value):
                found[start, end] = labels
    return found


def _operands(node: object) -> Iterator[list[Node]]:
    """Expressions that DuckDB brings to one type, together."""
    if isinstance(node, list):
        for child in node:
            yield from _operands(child)
    if isinstance(node, dict):
        kind, path = str(node.get("type")), (node.get("qname") or {}).get("path", [""])
        if kind == "CASE_EXPR":
            yield [*(check["then_expr"] for check in node["case_checks"]), node["else_expr"]]
        elif kind.startswith("COMPARE_") or kind == "OPERATOR_COALESCE" or path[-1] in _COMBINING:
            yield node.get("children", [])
        for child in node.values():
            yield from _operands(child)


def _enum(node: Node) -> tuple[str, ...]:
    """The labels of an enum that is taken for text; none of another expression."""
    of = node.get("return_type") or {}
    if of.get("id") == "ENUM":
        return tuple(of["type_info"]["values"])
    return _enum(node["children"][0]) if node.get("type") == "OPERATOR_CAST" else ()


def _text(node: Node) -> Node | None:
    """The constant text that an expression is, if it is one."""
    if node.get("type") == "OPERATOR_CAST":
        return _text(node["children"][0])
    value = node.get("value")
    if not isinstance(value, dict) or value.get("is_null"):
        return None
    return node if isinstance(value.get("value"), str) and value["type"]["id"] == "VARCHAR" else None
