"""Follow texts through a plan: whether a value is a column's text as it is stored, or a function has made it.

A column's collation says how its text compares (pipeline.models.comparisons). DuckDB passes a collation on to
whatever is computed from the column, and through subqueries, so `doc ->> 'a'` looks like the column doc.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pipeline.models.unstable import Node, walk

# ``without case``: the result of lower() or upper(). ``constant``: a literal, which compares as what it is
# compared with. ``mixed``: the column's text in some rows, and another one in others.
Origin = Literal["stored", "text", "without case", "constant", "mixed"]
Columns = tuple[Origin | None, ...]

_MARKS = frozenset({"nfc", "noaccent", "nocase"})
_WITHOUT_CASE = frozenset({"lower", "upper"})
# Functions that return one of their arguments. Those that make or take apart lists are found by their types.
_PASSING = frozenset({"constant_or_null", "greatest", "least"})
_TEXT_AGGREGATES = frozenset({"group_concat", "listagg", "string_agg"})
_SAME_ROWS = frozenset({"LOGICAL_DISTINCT", "LOGICAL_FILTER", "LOGICAL_LIMIT", "LOGICAL_ORDER_BY"})
_JOINS = frozenset(
    {"LOGICAL_ANY_JOIN", "LOGICAL_ASOF_JOIN", "LOGICAL_COMPARISON_JOIN", "LOGICAL_CROSS_PRODUCT"}
)
_COMPUTING = frozenset(
    {"LOGICAL_AGGREGATE_AND_GROUP_BY", "LOGICAL_PROJECTION", "LOGICAL_UNNEST", "LOGICAL_WINDOW"}
)
_SETS = frozenset({"LOGICAL_EXCEPT", "LOGICAL_INTERSECT", "LOGICAL_UNION"})


class Origins:
    """Where the texts in a plan come from."""

    def __init__(self, plan: Node) -> None:
        self._ctes: dict[int, Columns | None] = {}
        self._found: dict[int, Origin] = {}
        self._read(plan)

    def of(self, expression: Node) -> Origin:
        """Where a value comes from; ``stored`` if that is not known."""
        return self._found.get(id(expression), "stored")

    def _read(self, node: Node) -> Columns | None:
        """The origins of an operator's columns, by place; None if they are not known, then types tell."""
        kind, children = node["type"], node.get("children", [])
        if kind == "LOGICAL_RECURSIVE_CTE":
            return self._recursive(node, *children)
        below = []
        for child in children:
            below.append(self._read(child))
            if kind == "LOGICAL_MATERIALIZED_CTE":
                self._ctes[node["table_index"]] = below[0]
        if kind in _JOINS:
            return self._joined(node, *below)
        self._mark(node, below[-1] if below else None)
        if kind in _SETS:
            return _merged(below)
        return self._columns(node, below[-1]) if below else self._leaf(node)

    def _leaf(self, node: Node) -> Columns | None:
        if node["type"] == "LOGICAL_CTE_REF":
            return self._ctes.get(node["cte_index"])
        if node["type"] == "LOGICAL_GET" and not node.get("projection_ids"):
            return (None,) * len(node["column_indexes"])
        return None

    def _columns(self, node: Node, below: Columns | None) -> Columns | None:
        """The columns of an operator that reads another one."""
        kind = node["type"]
        if kind == "LOGICAL_MATERIALIZED_CTE":
            return below
        if kind in _SAME_ROWS:
            return _picked(below, node.get("projection_map") or node.get("projections"))
        if kind == "LOGICAL_GET" and name_of(node) == "unnest":
            return below  # the element of the first column, and the others
        if kind == "LOGICAL_EXPRESSION_GET":
            rows = [tuple(_origin(each, below) for each in row) for row in node["expressions"]]
            return _merged(rows)
        if kind not in _COMPUTING:
            return None
        computed = tuple(_origin(each, below) for each in node["expressions"])
        if kind == "LOGICAL_PROJECTION":
            return computed
        if kind == "LOGICAL_AGGREGATE_AND_GROUP_BY":
            functions = (None,) * len(node.get("grouping_functions") or [])
            return (*(_origin(each, below) for each in node.get("groups") or []), *computed, *functions)
        return None if below is None else (*below, *computed)

    def _joined(self, node: Node, left: Columns | None, right: Columns | None) -> Columns | None:
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

    def _recursive(self, node: Node, first: Node, step: Node) -> Columns | None:
        columns = self._read(first)
        while True:
            self._ctes[node["table_index"]] = columns
            more = _merged([columns, self._read(step)])
            if more == columns:
                self._mark(node, None)
                return columns
            columns = more

    def _mark(self, operator: Node, below: Columns | None) -> None:
        """Note the origins of all expressions of an operator over these columns."""
        for part, value in operator.items():
            if part != "children":
                for node in _expressions(value):
                    origin = _origin(node, below)
                    refers = node["expression_class"] == "BOUND_REF"
                    self._found[id(node)] = "text" if refers and origin == "constant" else origin


def made_for_laterals(plan: Node) -> Iterator[int]:
    """The ids of expressions by which the planner joins what a subquery reads of each row with that row.

    It groups the rows by these columns as they are stored, and joins by them; more cannot be equal.
    """
    for node in walk(plan):
        if node.get("type") != "LOGICAL_MATERIALIZED_CTE":
            continue
        values, query = node["children"]
        groups = values.get("groups") or []
        if values.get("expressions") or not groups or not all(each["alias"][:2] == "#[" for each in groups):
            continue
        yield from map(id, groups)
        rows = values["children"][0].get("cte_index")
        for join in walk(query):
            if str(join.get("type")) in _JOINS and join["children"][0].get("cte_index") == rows:
                yield from _of_rows(join.get("conditions") or [], [each["index"] for each in groups])


def _of_rows(conditions: Sequence[Node], places: Sequence[int]) -> Iterator[int]:
    """The sides of the conditions that the planner makes; not of a column that others compare likewise."""
    kept = [each for each in conditions if each.get("comparison") == "COMPARE_NOT_DISTINCT_FROM"]
    for place in places:
        made = [each for each in kept if each["left"].get("index") == place]
        if len(made) == 1:
            yield from (id(made[0]["left"]), id(made[0]["right"]))


def holds_mark(type_: Node | None) -> bool:
    """Whether a list or record holds values with a mark."""
    return (type_ or {}).get("id") != "VARCHAR" and _is_marked(type_)


def is_json(type_: Node | None) -> bool:
    """Whether a type is JSON, whose values DuckDB compares by their text."""
    return bool(((type_ or {}).get("type_info") or {}).get("alias") == "JSON")


def _is_marked(type_: Node | None) -> bool:
    """Whether a type has a collation that marks columns, or is json, also within a list or record."""
    info = (type_ or {}).get("type_info") or {}
    if str(info.get("collation", "")).lower() in _MARKS or is_json(type_):
        return True
    parts = [info.get("child_type"), *(each["second"] for each in info.get("child_types") or [])]
    return any(map(_is_marked, filter(None, parts)))


def _origin(node: Node, columns: Columns | None) -> Origin:
    """The origin of an expression's value over these columns."""
    type_ = node.get("return_type")
    operands = node.get("children") or ([node["child"]] if node.get("child") else [])
    class_ = node["expression_class"]
    if is_json(type_):
        return "stored"
    if class_ == "BOUND_CONSTANT":
        return "constant"
    if class_ == "BOUND_REF":
        known = columns[node["index"]] if columns and node["index"] < len(columns) else None
        return known or ("stored" if _is_marked(type_) else "text")
    if class_ == "BOUND_CASE":
        operands = [*(each["then_expr"] for each in node["case_checks"]), node["else_expr"]]
    elif class_ == "BOUND_FUNCTION":
        return _of_function(node, operands, columns)
    elif not _is_marked(type_) or name_of(node) in _TEXT_AGGREGATES:
        return "text"
    if not operands:
        return "stored"
    return _merge(_origin(each, columns) for each in operands if _can_hold_text(each))


def _of_function(node: Node, operands: Sequence[Node], columns: Columns | None) -> Origin:
    name, type_ = name_of(node), node.get("return_type")
    if is_made_by_planner(node) and operands:
        return _origin(operands[0], columns)
    if name in _WITHOUT_CASE:
        return "without case"
    of_parts = any(holds_mark(each.get("return_type")) for each in [node, *operands])
    if not _is_marked(type_) or not (of_parts or name in _PASSING or name == "__cast"):
        return "text"
    return _merge(_origin(each, columns) for each in operands if _can_hold_text(each))


def _can_hold_text(node: Node) -> bool:
    type_ = (node.get("return_type") or {}).get("id")
    return type_ in {"VARCHAR", "LIST", "ARRAY", "STRUCT", "MAP", "TUPLE", "UNION"} or _is_marked(
        node.get("return_type")
    )


def is_made_by_planner(node: Node) -> bool:
    """Whether the planner has added a node, such as a call of a collation's function."""
    return bool(node.get("query_location") == 2**64 - 1)


def name_of(node: Node) -> str:
    """The name of the function that a node calls; empty for other nodes."""
    return str(node["qname"]["path"][-1]) if node.get("qname") else ""


def _merge(origins: Iterable[Origin]) -> Origin:
    """The origin of a value that comes from any of several."""
    found = set(origins) - {"constant"}
    if len(found) <= 1:
        return found.pop() if found else "constant"
    return "mixed" if found & {"stored", "mixed"} else "text"


def _merged(sides: Sequence[Columns | None]) -> Columns | None:
    """The columns of rows that come from any of several operators."""
    known = [side for side in sides if side is not None]
    if len(known) < len(sides) or len({len(side) for side in known}) != 1:
        return None
    return tuple(_merge(each or "stored" for each in place) for place in zip(*known, strict=True))


def _picked(columns: Columns | None, places: Sequence[int] | None) -> Columns | None:
    if columns is None or not places:
        return columns
    return tuple(columns[place] if place < len(columns) else None for place in places)


def _expressions(value: object) -> Iterator[Node]:
    """All expressions in a part of an operator."""
    for child in value if isinstance(value, list) else [value]:
        if isinstance(child, dict):
            if "expression_class" in child:
                yield child
            for part in child.values():
                yield from _expressions(part)
