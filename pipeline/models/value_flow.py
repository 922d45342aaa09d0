"""Follow a property of values through a plan: through operators, subqueries, CTEs and sets."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from pipeline.models.syntax import Node

_SAME_ROWS = frozenset({"LOGICAL_DISTINCT", "LOGICAL_FILTER", "LOGICAL_LIMIT", "LOGICAL_ORDER_BY"})
JOINS = frozenset(
    {"LOGICAL_ANY_JOIN", "LOGICAL_ASOF_JOIN", "LOGICAL_COMPARISON_JOIN", "LOGICAL_CROSS_PRODUCT"}
)
_COMPUTING = frozenset(
    {"LOGICAL_AGGREGATE_AND_GROUP_BY", "LOGICAL_PROJECTION", "LOGICAL_UNNEST", "LOGICAL_WINDOW"}
)
_SETS = frozenset({"LOGICAL_EXCEPT", "LOGICAL_INTERSECT", "LOGICAL_UNION"})
Value = TypeVar("Value")
# By place; None if they are not known.
_Columns = tuple[Value | None, ...] | None


class Flow(Generic[Value]):
    """The property of each expression of a plan.

    ``columns`` are those of the plan's rows.
    """

    def __init__(self, plan: Node) -> None:
        self.found: dict[int, Value | None] = {}
        self._ctes: dict[int, _Columns[Value]] = {}
        self.columns = self._read(plan)

    def value(self, expression: Node, columns: _Columns[Value]) -> Value | None:
        """The property of an expression's value over these columns."""
        raise NotImplementedError

    def merged(self, values: Sequence[Value | None]) -> Value | None:
        """The property of a value that comes from any of several."""
        raise NotImplementedError

    def _read(self, node: Node) -> _Columns[Value]:
        """The properties of an operator's columns."""
        kind, children = node["type"], node.get("children", [])
        if kind == "LOGICAL_RECURSIVE_CTE":
            return self._recursive(node, *children)
        below: list[_Columns[Value]] = []
        for child in children:
            below.append(self._read(child))
            if kind == "LOGICAL_MATERIALIZED_CTE":
                self._ctes[node["table_index"]] = below[0]
        if kind in JOINS:
            return self._joined(node, *below)
        self._mark(node, below[-1] if below else None)
        if kind in _SETS:
            return self._merged(below)
        return self._columns(node, below[-1]) if below else self._leaf(node)

    def _leaf(self, node: Node) -> _Columns[Value]:
        if node["type"] == "LOGICAL_CTE_REF":
            return self._ctes.get(node["cte_index"])
        if node["type"] == "LOGICAL_GET" and not node.get("projection_ids"):
            return (None,) * len(node["column_indexes"])
        return None

    def _columns(self, node: Node, below: _Columns[Value]) -> _Columns[Value]:
        """The columns of an operator that reads another one."""
        kind = node["type"]
        if kind == "LOGICAL_MATERIALIZED_CTE":
            return below
        if kind in _SAME_ROWS:
            return _picked(below, node.get("projection_map") or node.get("projections"))
        if kind == "LOGICAL_GET" and name_of(node) == "unnest":
            return below  # the element of the first column, and the others
        if kind == "LOGICAL_EXPRESSION_GET":
            rows = [tuple(self.value(each, below) for each in row) for row in node["expressions"]]
            return self._merged(rows)
        if kind not in _COMPUTING:
            return None
        computed = tuple(self.value(each, below) for each in node["expressions"])
        if kind == "LOGICAL_PROJECTION":
            return computed
        if kind == "LOGICAL_AGGREGATE_AND_GROUP_BY":
            functions = (None,) * len(node.get("grouping_functions") or [])
            return (*(self.value(each, below) for each in node.get("groups") or []), *computed, *functions)
        return None if below is None else (*below, *computed)

    def _joined(self, node: Node, left: _Columns[Value], right: _Columns[Value]) -> _Columns[Value]:
        both = None if left is None or right is None else (*left, *right)
        self._mark(node, both)
        for condition in node.get("conditions") or []:
            if "left" in condition and "right" in condition:
                self._mark({"left": condition["left"]}, left)
                self._mark({"right": condition["right"]}, right)
        kept = _picked(left, node.get("left_projection_map"))
        joined = _picked(right, node.get("right_projection_map"))
        match node.get("join_type", "INNER"):
            case "MARK":
                return None if left is None else (*left, None)
            case "SEMI" | "ANTI":
                return kept
            case "INNER" | "LEFT" | "RIGHT" | "FULL" | "OUTER" | "SINGLE":
                return None if kept is None or joined is None else (*kept, *joined)
        return None

    def _recursive(self, node: Node, first: Node, step: Node) -> _Columns[Value]:
        columns = self._read(first)
        while True:
            self._ctes[node["table_index"]] = columns
            more = self._merged([columns, self._read(step)])
            if more == columns:
                self._mark(node, None)
                return columns
            columns = more

    def _mark(self, operator: Node, below: _Columns[Value]) -> None:
        """Note the properties of all expressions of an operator over these columns."""
        for part, value in operator.items():
            if part != "children":
                for node in expressions_of(value):
                    self.found[id(node)] = self.value(node, below)

    def _merged(self, sides: Sequence[_Columns[Value]]) -> _Columns[Value]:
        """The columns of rows that come from any of several operators."""
        known = [side for side in sides if side is not None]
        if len(known) < len(sides) or len({len(side) for side in known}) != 1:
            return None
        return tuple(self.merged(place) for place in zip(*known, strict=True))


def _picked(columns: _Columns[Value], places: Sequence[int] | None) -> _Columns[Value]:
    if columns is None or not places:
        return columns
    return tuple(columns[place] if place < len(columns) else None for place in places)


def expressions_of(value: object) -> Iterator[Node]:
    """All expressions in a part of an operator."""
    for child in value if isinstance(value, list) else [value]:
        if isinstance(child, dict):
            if "expression_class" in child:
                yield child
            for part in child.values():
                yield from expressions_of(part)


def name_of(node: Node) -> str:
    """The name of the function that a node calls; empty for other nodes."""
    return str(node["qname"]["path"][-1]) if node.get("qname") else ""
