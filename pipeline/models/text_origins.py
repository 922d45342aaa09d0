"""Follow texts through a plan: whether a value is a column's text as it is stored, or a function has made it.

A column's collation says how its text compares (pipeline.models.comparisons). DuckDB passes a collation on to
whatever is computed from the column, and through subqueries, so `doc ->> 'a'` looks like the column doc.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pipeline.models.syntax import Node, walk
from pipeline.models.value_flow import JOINS, Flow, name_of

# ``without case``: the result of lower() or upper(). ``constant``: a literal, which compares as what it is
# compared with. ``mixed``: the column's text in some rows, and another one in others.
Origin = Literal["stored", "text", "without case", "constant", "mixed"]
Columns = tuple[Origin | None, ...]

_MARKS = frozenset({"nfc", "noaccent", "nocase"})
_WITHOUT_CASE = frozenset({"lower", "upper"})
# Functions that return one of their arguments. Those that make or take apart lists are found by their types.
_PASSING = frozenset({"constant_or_null", "greatest", "least"})
_TEXT_AGGREGATES = frozenset({"group_concat", "listagg", "string_agg"})


class Origins(Flow[Origin]):
    """Where the texts in a plan come from."""

    def of(self, expression: Node) -> Origin:
        """Where a value comes from; ``stored`` if that is not known."""
        origin = self.found.get(id(expression)) or "stored"
        refers = expression.get("expression_class") == "BOUND_REF"
        return "text" if refers and origin == "constant" else origin  # a column of constants

    def value(self, expression: Node, columns: Columns | None) -> Origin:
        """The origin of an expression's value over these columns."""
        return _origin(expression, columns)

    def merged(self, values: Sequence[Origin | None]) -> Origin:
        """The origin of a value that comes from any of several."""
        return _merge(each or "stored" for each in values)


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
            if str(join.get("type")) in JOINS and join["children"][0].get("cte_index") == rows:
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


def _merge(origins: Iterable[Origin]) -> Origin:
    """The origin of a value that comes from any of several."""
    found = set(origins) - {"constant"}
    if len(found) <= 1:
        return found.pop() if found else "constant"
    return "mixed" if found & {"stored", "mixed"} else "text"
