"""The column references of a model's syntax tree, and what each is used for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal

from pipeline.models.syntax import Node

# What is written after a column that needs no more than its text.
_OF_TEXT = frozenset({"CAST", "COLLATE"})
_TEXTS = frozenset({"VARCHAR", "TEXT", "STRING"})
_OF_NULLS = frozenset({"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"})
Use = Literal["passed", "kept", "printed", "collated", "used"]


@dataclass(frozen=True)
class _Scope:
    """A SELECT: its number if it has groups, and the names of columns that it groups by."""

    grouped: int | None
    groups: frozenset[str]


@dataclass(frozen=True)
class Reference:
    """A reference to a column: its range of bytes in the SQL, and the parts of its name.

    ``use``: it is ``passed`` on as a whole, ``kept`` as it is stored (cast, or only counted), ``printed``
    (cast to text), ``collated``, or ``used`` by an expression. ``place``: its place in a SELECT list, if it
    is a whole item of one; ``alias`` is the name that this item has, and ``is_named`` says that the SQL gives
    it. ``union``: the number of the UNION ALL that the list belongs to, and the number of its queries.
    ``grouped``: the number of the SELECT if it has groups, in which the same columns have to be written in
    the same way.
    """

    start: int
    end: int
    path: tuple[str, ...]
    use: Use
    grouped: int | None = None
    place: int | None = None
    alias: str = ""
    is_named: bool = False
    union: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The column's name in lower case."""
        return self.path[-1].lower()


def references(tree: Node) -> list[Reference]:
    """All references to columns in a parsed SELECT, once for each place.

    For `SELECT a AS b FROM t WHERE c ORDER BY b` they are a, c and b.
    """
    found = _query(tree["statements"][0]["node"], True, count())
    return list({reference.start: reference for reference in found}.values())


def _query(node: Node, passes: bool, numbers: Iterator[int]) -> Iterator[Reference]:
    """The references of a query, whose result is passed on or used."""
    for entry in node["cte_map"]["map"]:
        yield from _without_place(_query(entry["value"]["query_node"], True, numbers))
    if node["type"] == "SELECT_NODE":
        yield from _select(node, passes, numbers)
    elif node["type"] == "SET_OPERATION_NODE":
        branches = list(_branches(node))
        keeps, union = passes and _keeps_all(node), (next(numbers), len(branches))
        for branch in branches:
            for each in _query(branch, keeps, numbers):
                yield replace(each, union=union) if each.place is not None else each
    else:
        for part in ("left", "right"):
            if node.get(part):
                yield from _query(node[part], False, numbers)


def _keeps_all(node: Node) -> bool:
    return node["setop_type"] == "UNION" and bool(node["setop_all"])


def _branches(node: Node) -> Iterator[Node]:
    """The queries that UNION ALL joins; those of another set operation are its children."""
    for child in node["children"]:
        if _keeps_all(node) and child["type"] == "SET_OPERATION_NODE" and _keeps_all(child):
            yield from _branches(child)
        else:
            yield child


def _select(node: Node, passes: bool, numbers: Iterator[int]) -> Iterator[Reference]:
    grouped = bool(node["group_expressions"]) or node["aggregate_handling"] != "STANDARD_HANDLING"
    distinct = any(each["type"] == "DISTINCT_MODIFIER" for each in node["modifiers"])
    groups = frozenset(
        each["column_names"][-1].lower()
        for each in node["group_expressions"]
        if each["class"] == "COLUMN_REF"
    )
    use: Use = "passed" if passes and not (grouped or distinct) else "used"
    scope = _Scope(next(numbers) if grouped else None, groups)
    for place, item in enumerate(node["select_list"]):
        if item["class"] == "COLUMN_REF":
            reference = _reference(item, use, scope)
            name = item["alias"] or reference.path[-1]
            yield replace(reference, place=place, alias=name, is_named=bool(item["alias"]))
        else:
            yield from _without_place(_expression(item, scope, numbers))
    for part in ("from_table", "where_clause", "group_expressions", "having", "qualify", "modifiers"):
        yield from _without_place(_expression(node[part], scope, numbers))


def _without_place(found: Iterator[Reference]) -> Iterator[Reference]:
    return (replace(each, place=None) for each in found)


def _reference(node: Node, use: Use, scope: _Scope) -> Reference:
    start = int(node["query_location"])
    end = start + int(node["query_location_length"])
    return Reference(start, end, tuple(node["column_names"]), use, scope.grouped)


def _expression(node: Any, scope: _Scope, numbers: Iterator[int]) -> Iterator[Reference]:  # noqa: ANN401
    """The references of an expression or relation in a SELECT."""
    if isinstance(node, list):
        for child in node:
            yield from _expression(child, scope, numbers)
    if not isinstance(node, dict):
        return
    class_ = node.get("class")
    if class_ == "COLUMN_REF":
        yield _reference(node, "used", scope)
        return
    if "subquery" in node:
        exists = str(node.get("subquery_type", "")).endswith("EXISTS")
        passes = class_ is None or exists
        yield from _without_place(_query(node["subquery"]["node"], passes, numbers))
    for part, child in node.items():
        operand = _kept_operand(node, child)
        if operand is not None and operand["column_names"][-1].lower() not in scope.groups:
            yield _reference(operand, _use(node), scope)
        elif part != "subquery" and not (class_ == "LAMBDA" and part == "lhs"):
            yield from _expression(child, scope, numbers)


def _use(node: Node) -> Use:
    """What an expression uses a column for of which it does not need the value."""
    if node.get("class") == "COLLATE":
        return "collated"
    type_ = (node.get("type_expr") or {}).get("type_name", "")
    return "printed" if str(type_).upper() in _TEXTS else "kept"


def _kept_operand(node: Node, child: Any) -> Node | None:  # noqa: ANN401
    """The column of which an expression needs only the text, or whether it is NULL."""
    if node.get("class") in _OF_TEXT:
        operand = child
    elif str(node.get("type")) in _OF_NULLS and isinstance(child, list) and child:
        operand = child[0]
    elif node.get("function_name") == "count" and not node["distinct"] and isinstance(child, list) and child:
        operand = child[0].get("expression")
    else:
        return None
    return operand if isinstance(operand, dict) and operand.get("class") == "COLUMN_REF" else None
