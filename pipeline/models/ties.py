"""Find operations whose result depends on the order of ties: rows that an ORDER BY does not distinguish.

``row_number() OVER (ORDER BY day)`` may number two rows of a day either way. It is stable if the columns that
it orders and groups by determine the row, which follows from the keys of the source's tables. The same holds
for anything else that takes rows in an order, or the first of some.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from pipeline.models.comparisons import spells_alike
from pipeline.models.dependencies import Attributes, Rows, is_exact
from pipeline.models.operators import Operators
from pipeline.models.syntax import Node, called, walk, without
from pipeline.models.unstable import ORDERED, TYING, made_for_subqueries

# Windows that give ties the same value, in any frame.
_RANKS = frozenset({"WINDOW_CUME_DIST", "WINDOW_PERCENT_RANK", "WINDOW_RANK", "WINDOW_RANK_DENSE"})
# Windows that depend on a row's position in its partition, and have no frame.
_PLACING = frozenset({"WINDOW_LAG", "WINDOW_LEAD", "WINDOW_NTILE", "WINDOW_ROW_NUMBER"})
_ALL = "all the columns that it reads"
_OF_THE_TEXT = frozenset({"alias", "query_location", "query_location_length"})


def in_plan(plan: Node, keys: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """A message for each operation of a plan that depends on the order of ties; ``keys`` as in Operators."""
    operators = Operators(plan, keys)
    of_subqueries = {*made_for_subqueries(plan), *_made_for_lateral_joins(plan)}
    for node in walk(plan):
        match node.get("type"):
            case "LOGICAL_WINDOW":
                yield from _windows(node, operators.of(node["children"][0]), of_subqueries)
            case "LOGICAL_AGGREGATE_AND_GROUP_BY":
                for aggregate in node["expressions"]:
                    if id(aggregate) not in of_subqueries:
                        yield from _aggregate(aggregate, node, operators.of(node["children"][0]))
            case "LOGICAL_LIMIT" if id(node) not in of_subqueries:
                yield from _limit(node, operators)
            case "LOGICAL_DISTINCT" if node["distinct_type"] == "DISTINCT_ON":
                yield from _distinct_on(node, operators.of(node["children"][0]))
            case "LOGICAL_ASOF_JOIN":
                yield from _asof(node, operators.of(node["children"][1]))


def _made_for_lateral_joins(plan: Node) -> Iterator[int]:
    """The ids of windows by which the planner tells rows apart, to join each with the list that it unnests.

    A window with which it replaces a LIMIT has partitions and is filtered; one of the SQL has no alias.
    """
    filtered = {
        id(below) for node in walk(plan) if node.get("type") == "LOGICAL_FILTER" for below in node["children"]
    }
    for node in walk(plan):
        if node.get("type") == "LOGICAL_WINDOW" and id(node) not in filtered:
            for window in node["expressions"]:
                if window["alias"] == "limit_rownum" and not (window["partitions"] or window["orders"]):
                    yield id(window)


def _windows(node: Node, below: Rows, of_subqueries: Collection[int]) -> Iterator[str]:
    for window in node["expressions"]:
        if id(window) not in of_subqueries:
            yield from _window(window, below)


def _window(window: Node, below: Rows) -> Iterator[str]:
    name = called(window)
    shown = f"{name.removeprefix('WINDOW_').lower()}()"
    within = below.attributes(window["partitions"])
    orders, own = (_expressions(window.get(part)) for part in ("orders", "arg_orders"))
    by_rows = any(str(window.get(end)).endswith("_ROWS") for end in ("start", "end"))
    if name == "WINDOW_ROW_NUMBER" and by_rows:
        shown = "LIMIT"  # of a correlated subquery, which the planner rewrites to row_number()
    if name in _PLACING:
        yield from _tie(shown, own or orders, within, below)
    elif by_rows and (name not in _RANKS or own):
        yield from _tie(f"{shown} over a frame of ROWS", orders, within, below)
    elif name in ORDERED:
        yield from _tie(shown, own or orders, within, below, window["children"])
    elif name in TYING and not spells_alike(window):
        yield from _extreme(shown, window, within, below)


def _aggregate(aggregate: Node, groups: Node, below: Rows) -> Iterator[str]:
    name = called(aggregate)
    sets = groups.get("grouping_sets") or []
    within = below.attributes(groups.get("groups") or []) if len(sets) <= 1 else frozenset()
    if spells_alike(aggregate):
        return
    if name in ORDERED:
        orders = _expressions((aggregate.get("order_bys") or {}).get("orders"))
        if aggregate["aggregate_type"] == "DISTINCT" and not orders:
            yield f"{name}(DISTINCT x) takes its values in any order; write {name}(DISTINCT x ORDER BY x)"
            return
        if _is_ordered_array(orders, aggregate["children"], groups):
            return
        yield from _tie(f"{name}()", orders, within, below, aggregate["children"])
    elif name in TYING:
        yield from _extreme(f"{name}()", aggregate, within, below)


def _extreme(shown: str, call: Node, within: Attributes, below: Rows) -> Iterator[str]:
    """A message for arg_max(x, y), unless y determines the row, or x."""
    value, by = call["children"][:2]
    parts = by["children"] if called(by) in {"row", "struct_pack"} else [by]
    attributes = within | below.attributes(parts)
    if not (below.determined_by(attributes) or below.determines(value, attributes)):
        key = below.missing_from(attributes) or _ALL
        yield f"{shown} takes any of the tied rows; write {shown[:-2]}(x, (y, key)), where key is {key}"


def _limit(node: Node, operators: Operators) -> Iterator[str]:
    (child,) = node["children"]
    orders = _expressions(child["orders"]) if child["type"] == "LOGICAL_ORDER_BY" else []
    yield from _tie("LIMIT", orders, frozenset(), operators.of(child))


def _distinct_on(node: Node, below: Rows) -> Iterator[str]:
    within = below.attributes(node["distinct_targets"])
    orders = node.get("order_by") or []
    orders = orders["orders"] if isinstance(orders, Mapping) else orders
    yield from _tie("DISTINCT ON", _expressions(orders), within, below)


def _asof(node: Node, right: Rows) -> Iterator[str]:
    attributes = right.attributes(each["right"] for each in node["conditions"])
    if not right.determined_by(attributes):
        missing = right.missing_from(attributes) or _ALL
        yield f"ASOF JOIN takes any of the tied rows; group what it joins so that it compares {missing}"


def _tie(
    shown: str, orders: Sequence[Node], within: Attributes, below: Rows, values: Sequence[Node] | None = None
) -> Iterator[str]:
    """A message if tied rows may come in any order, unless the order determines the row.

    If only ``values`` of the rows matter, it is enough that the order determines these.
    """
    attributes = within | below.attributes(orders)
    if below.determined_by(attributes):
        return
    if values is not None:
        ordered = [without(order, _OF_THE_TEXT) for order in orders if is_exact(order)]
        if all(below.determines(value, attributes) or _is_computed(value, ordered) for value in values):
            return
    missing = below.missing_from(attributes) or _ALL
    if not orders:
        yield f"{shown} without ORDER BY depends on the order of rows; order by {missing}"
    else:
        by = ", ".join(map(below.name, orders))
        yield f"{shown} ORDER BY {by}: tied rows come in any order; add {missing} to its ORDER BY"


def _expressions(orders: Iterable[Node] | None) -> list[Node]:
    return [each["expression"] for each in orders or []]


def _is_computed(value: Node, known: Collection[object]) -> bool:
    """Whether a value is computed from known expressions only."""
    if without(value, _OF_THE_TEXT) in known or value["expression_class"] == "BOUND_CONSTANT":
        return True
    operands = value.get("children") or ()
    is_function = value["expression_class"] == "BOUND_FUNCTION" and bool(operands)
    return is_function and all(_is_computed(each, known) for each in operands)


def _is_ordered_array(orders: Sequence[Node], values: Sequence[Node], groups: Node) -> bool:
    """Whether this is `ARRAY(SELECT x … ORDER BY x)`, for which the planner selects x twice."""
    below = groups["children"][0]
    while below["type"] in {"LOGICAL_DISTINCT", "LOGICAL_LIMIT", "LOGICAL_ORDER_BY"}:
        below = below["children"][0]
    if below["type"] != "LOGICAL_PROJECTION":
        return False
    refs = [each for each in [*orders, *values] if each["expression_class"] == "BOUND_REF" and is_exact(each)]
    shown = [without(below["expressions"][each["index"]], _OF_THE_TEXT) for each in refs]
    return len(refs) == len(orders) + len(values) and all(
        shown[-1 - at] in shown[: len(orders)] for at in range(len(values))
    )
