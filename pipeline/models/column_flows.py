"""Follow the columns of source tables through the operators of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.models.operators import EQUALITY, Operators
from pipeline.models.syntax import Node, walk

Source = tuple[str, str]  # a table and its column
Sources = frozenset[Source]
NONE: Sources = frozenset()

_NULLS_LEFT = frozenset({"RIGHT", "FULL", "OUTER"})
_NULLS_RIGHT = frozenset({"LEFT", "SINGLE", "FULL", "OUTER"})
_JOINS = frozenset({"LOGICAL_COMPARISON_JOIN", "LOGICAL_ANY_JOIN", "LOGICAL_CROSS_PRODUCT"})
_SETS = frozenset({"LOGICAL_UNION", "LOGICAL_EXCEPT", "LOGICAL_INTERSECT"})
# Leaves that read nothing of the source.
_CONSTANTS = frozenset({"LOGICAL_DUMMY_SCAN", "LOGICAL_EMPTY_RESULT"})


@dataclass(frozen=True)
class Flow:
    """What an operator's rows come from.

    ``columns``: by column, the sources of its value; None if even their number is unknown. ``everything``:
    all sources that are read below. ``filters`` and ``links`` decide which rows there are, the latter by
    joining them. ``numbers``: what numbers of rows are computed from. ``order``: what the rows are ordered
    by.
    """

    columns: tuple[Sources, ...] | None
    everything: Sources = NONE
    filters: Sources = NONE
    links: Sources = NONE
    numbers: Sources = NONE
    order: Sources = NONE

    @property
    def choice(self) -> Sources:
        """Whatever decides which rows there are, and in which order."""
        return self.filters | self.links | self.numbers | self.order

    def column(self, place: int) -> Sources:
        """The sources of a column."""
        if self.columns is None or place >= len(self.columns):
            return self.everything
        return self.columns[place]

    def of(self, *expressions: object) -> Sources:
        """The sources of expressions over these rows."""
        return _union(self._referred(expressions))

    def _referred(self, expressions: object) -> Iterator[Sources]:
        if isinstance(expressions, tuple):
            expressions = list(expressions)
        for node in walk(expressions):
            if node.get("expression_class") == "BOUND_REF":
                yield self.column(node["index"])
            elif node.get("expression_class") == "BOUND_COLUMN_REF" or "SUBQUERY" in str(node.get("type")):
                yield self.everything

    def filtered(self, sources: Sources) -> Flow:
        """The same rows, of which these sources decide which are there."""
        return replace(self, filters=self.filters | sources)

    def picked(self, places: Sequence[int] | None) -> Flow:
        """The columns at these places; all columns without places."""
        if not places:
            return self
        return replace(self, columns=tuple(self.column(place) for place in places))

    def with_each(self, sources: Sources) -> Flow:
        """The same rows with sources that feed every column."""
        columns = None if self.columns is None else tuple(each | sources for each in self.columns)
        return replace(self, columns=columns)


class Flows:
    """The flow of a plan; ``names`` are the source tables by the names that they have in DuckDB."""

    def __init__(self, plan: Node, names: Mapping[str, str], operators: Operators) -> None:
        self._names = names
        self._operators = operators
        self._ctes: dict[int, Flow] = {}
        self._all = _union(self._read_by(node) for node in walk(plan) if node.get("type") == "LOGICAL_GET")
        self.result = self._flow(plan)

    def _flow(self, node: Node) -> Flow:
        kind = node["type"]
        if kind == "LOGICAL_RECURSIVE_CTE":
            # What refers to it reads what it reads itself.
            self._ctes[node["table_index"]] = Flow(None)
        children = []
        for child in node.get("children", []):
            children.append(self._flow(child))
            if kind == "LOGICAL_MATERIALIZED_CTE":
                self._ctes[node["table_index"]] = children[0]
        if not children:
            return self._leaf(node)
        known: dict[str, Callable[..., Flow]] = {
            **dict.fromkeys(_JOINS, self._joined),
            **dict.fromkeys(_SETS, _set),
            "LOGICAL_MATERIALIZED_CTE": lambda _, __, query: query,
            "LOGICAL_PROJECTION": _projection,
            "LOGICAL_FILTER": _filter,
            "LOGICAL_ORDER_BY": _order,
            "LOGICAL_LIMIT": _limit,
            "LOGICAL_WINDOW": _window,
            "LOGICAL_UNNEST": _unnest,
            "LOGICAL_DISTINCT": _distinct,
            "LOGICAL_AGGREGATE_AND_GROUP_BY": _aggregate,
            "LOGICAL_EXPRESSION_GET": _values,
        }
        if kind not in known:
            return _unknown(_union(each.everything for each in children))
        flow = known[kind](node, *children)
        return replace(flow, everything=_union(each.everything for each in children))

    def _leaf(self, node: Node) -> Flow:
        match node["type"]:
            case "LOGICAL_GET":
                return self._scan(node)
            case "LOGICAL_CTE_REF" if node["cte_index"] in self._ctes:
                return self._ctes[node["cte_index"]]
            case kind if kind in _CONSTANTS:
                return Flow((NONE,))
        return _unknown(self._all)

    def _scan(self, node: Node) -> Flow:
        everything = self._read_by(node)
        if node["qname"]["path"][-1] != "seq_scan" or node.get("projection_ids"):
            return _unknown(everything)
        table = self._names.get(node["function_data"]["table"])
        names, places = node["names"], [each["index"] for each in node["column_indexes"]]
        return Flow(
            tuple(
                frozenset({(table, names[place])}) if table is not None and place < len(names) else NONE
                for place in places
            ),
            everything,
        )

    def _read_by(self, scan: Node) -> Sources:
        """The columns that a scan reads of a source table."""
        table = self._names.get((scan.get("function_data") or {}).get("table", ""))
        if table is None:
            return NONE
        places, names = (each["index"] for each in scan["column_indexes"]), scan["names"]
        return frozenset((table, names[place]) for place in places if place < len(names))

    def _joined(self, node: Node, left: Flow, right: Flow) -> Flow:
        kind = node.get("join_type", "INNER")
        condition = _of_condition(node, left, right)
        met = condition | right.choice
        if kind == "MARK":
            return replace(left, columns=None if left.columns is None else (*left.columns, met))
        if kind in {"SEMI", "ANTI"}:
            return left.filtered(met).picked(node.get("left_projection_map"))
        if kind not in _NULLS_LEFT | _NULLS_RIGHT | {"INNER"}:
            return _unknown(left.everything | right.everything)
        one = left.picked(node.get("left_projection_map"))
        two = right.picked(node.get("right_projection_map"))
        if kind in _NULLS_LEFT:
            one = one.with_each(condition | left.choice)
        if kind in _NULLS_RIGHT:
            two = two.with_each(met)
        columns = None if one.columns is None or two.columns is None else (*one.columns, *two.columns)
        numbers = left.numbers | right.numbers
        if kind == "SINGLE" or (kind == "LEFT" and self._operators.matches_one(node)):
            return Flow(columns, NONE, left.filters, left.links, numbers)
        links = left.links | right.links | condition
        return Flow(columns, NONE, left.filters | right.filters, links, numbers)


def _of_condition(node: Node, left: Flow, right: Flow) -> Sources:
    """The sources of a join's condition."""
    conditions = node.get("conditions") or []
    sides = [each for each in conditions if "left" in each and "right" in each]
    found = left.of(*(each["left"] for each in sides)) | right.of(*(each["right"] for each in sides))
    rest = [node.get("condition"), *(each for each in conditions if each not in sides)]
    both = None
    if left.columns is not None and right.columns is not None:
        both = (*left.columns, *right.columns)
    return found | Flow(both, left.everything | right.everything).of(*rest)


def _projection(node: Node, below: Flow) -> Flow:
    return replace(below, columns=tuple(below.of(each) for each in node["expressions"]))


def _filter(node: Node, below: Flow) -> Flow:
    conditions = node["expressions"]
    linking = [each for each in conditions if any(str(part.get("type")) in EQUALITY for part in walk(each))]
    rows = replace(below.filtered(below.of(*conditions)), links=below.links | below.of(*linking))
    return rows.picked(node.get("projection_map"))


def _order(node: Node, below: Flow) -> Flow:
    return replace(below, order=below.of(node["orders"])).picked(node.get("projections"))


def _limit(node: Node, below: Flow) -> Flow:
    """The first rows: values of other rows decide which these are."""
    return below.filtered(below.order | below.of(node.get("limit_val"), node.get("offset_val")))


def _window(node: Node, below: Flow) -> Flow:
    """The rows with values that are computed from other rows, too."""
    values = tuple(below.of(each) | below.choice for each in node["expressions"])
    columns = None if below.columns is None else (*below.columns, *values)
    return replace(below, columns=columns, numbers=below.numbers.union(*values))


def _unnest(node: Node, below: Flow) -> Flow:
    values = tuple(below.of(each) for each in node["expressions"])
    columns = None if below.columns is None else (*below.columns, *values)
    return replace(below, columns=columns).filtered(_union(values))


def _distinct(node: Node, below: Flow) -> Flow:
    """One row per value of the targets; with DISTINCT ON, the order decides which."""
    targets = below.of(node["distinct_targets"])
    if node["distinct_type"] == "DISTINCT":
        return below.filtered(targets)
    chosen = targets | below.of(node.get("order_by")) | below.choice
    return below.filtered(chosen).with_each(chosen)


def _aggregate(node: Node, below: Flow) -> Flow:
    """One row per group, with values that are computed from all of its rows; without groups one row."""
    groups = node.get("groups") or []
    grouped = below.of(groups)
    results = [*node["expressions"], *(node.get("grouping_functions") or [])]
    values = tuple(below.of(each) | below.choice | grouped for each in results)
    columns = (*(below.of(each) for each in groups), *values)
    if not groups:
        return Flow(columns)
    return Flow(columns, NONE, below.filters | grouped, below.links, below.numbers)


def _set(node: Node, *sides: Flow) -> Flow:
    if any(each.columns is None for each in sides):
        return _unknown(_union(each.everything for each in sides))
    by_place = [list(place) for place in zip(*(each.columns or () for each in sides), strict=True)]
    if node["type"] == "LOGICAL_UNION":
        columns, compared = [_union(place) for place in by_place], NONE
    else:
        columns = [place[0] for place in by_place]
        compared = _union(sources for place in by_place for sources in place)
    return Flow(
        tuple(columns),
        filters=compared.union(*(each.filters for each in sides)),
        links=_union(each.links for each in sides),
        numbers=_union(each.numbers for each in sides),
    )


def _values(node: Node, below: Flow) -> Flow:
    """Rows of expressions."""
    rows: Iterable[Sequence[Any]] = zip(*node["expressions"], strict=True)
    return replace(below, columns=tuple(below.of(*column) for column in rows))


def _unknown(everything: Sources) -> Flow:
    """Rows of an operator that is not known: whatever it reads feeds all."""
    return Flow(None, everything, everything, everything)


def _union(sources: Iterable[Sources]) -> Sources:
    return NONE.union(*sources)
