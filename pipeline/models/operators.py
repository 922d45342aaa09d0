"""Derive the functional dependencies of each operator of a plan from those of its children.

Joins, groups and filters add dependencies or remove some. A dependency that is not certain is left out, so
each one that is returned holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, permutations

from pipeline.models.dependencies import Attributes, Dependency, Rows
from pipeline.models.syntax import Node

EQUALITY = frozenset({"COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"})
# Operators whose rows are those of their last child, or some of them.
_PASSING = frozenset({"LOGICAL_FILTER", "LOGICAL_LIMIT", "LOGICAL_MATERIALIZED_CTE", "LOGICAL_ORDER_BY"})
_JOINS = frozenset({"LOGICAL_ANY_JOIN", "LOGICAL_COMPARISON_JOIN", "LOGICAL_CROSS_PRODUCT"})
_SETS = frozenset({"LOGICAL_EXCEPT", "LOGICAL_INTERSECT", "LOGICAL_UNION"})


class Operators:
    """The dependencies of every operator of a plan.

    ``keys`` are the primary keys of tables; a table with an empty key has one row. With ``strict`` those
    that follow from the conditions of joins and filters or from numbers of rows are left out.
    """

    def __init__(self, plan: Node, keys: Mapping[str, tuple[str, ...]], *, strict: bool = False) -> None:
        self._keys = keys
        self._strict = strict
        self._next = count()
        self._rows: dict[int, Rows] = {}
        self._ctes: dict[int, Rows] = {}
        self._read(plan)

    def of(self, operator: Node) -> Rows:
        """The dependencies of an operator's rows."""
        return self._rows[id(operator)]

    def matches_one(self, join: Node) -> bool:
        """Whether a row of a join's left side has at most one of its right side."""
        return _matches_one(join, *map(self.of, join["children"]))

    def _read(self, node: Node) -> Rows:
        children = []
        for child in node.get("children", []):
            children.append(self._read(child))
            if node["type"] == "LOGICAL_MATERIALIZED_CTE":
                self._ctes[node["table_index"]] = children[0]
        self._rows[id(node)] = rows = self._derived(node, children)
        return rows

    def _derived(self, node: Node, children: Sequence[Rows]) -> Rows:
        """An operator's rows, derived from its children; those of an operator not named here are unknown."""
        kind = node["type"]
        if not children:
            return self._leaf(node)
        if kind in _PASSING:
            return _passed(node, children[-1], strict=self._strict)
        if kind in _JOINS:
            return self._joined(node, *children)
        if kind in _SETS:
            is_set = kind != "LOGICAL_UNION" and not node["setop_all"]
            return self._unique(children[0]) if is_set else self._unknown(len(children[0].columns))
        methods = {
            "LOGICAL_PROJECTION": self._projection,
            "LOGICAL_WINDOW": self._windows,
            "LOGICAL_AGGREGATE_AND_GROUP_BY": self._groups,
            "LOGICAL_DISTINCT": self._distinct,
            "LOGICAL_UNNEST": self._unnested,
        }
        return methods[kind](node, children[0]) if kind in methods else self._unknown()

    def _leaf(self, node: Node) -> Rows:
        match node["type"]:
            case "LOGICAL_DUMMY_SCAN":
                return Rows((next(self._next),))
            case "LOGICAL_CTE_REF" if node["cte_index"] in self._ctes:
                return self._renamed(self._ctes[node["cte_index"]])
            case "LOGICAL_GET" if node["qname"]["path"] == ["seq_scan"] and not node.get("projection_ids"):
                return self._scan(node)
        return self._unknown()

    def _scan(self, node: Node) -> Rows:
        names = node["names"]
        table = node["function_data"]["table"]
        identity, *attributes = (next(self._next) for _ in range(len(names) + 1))
        row = frozenset({identity})
        by_name = dict(zip(names, attributes, strict=True))
        by_attribute = dict(zip(attributes, names, strict=True))
        shown = table.partition(":")[2] or table
        key = self._keys.get(table)
        key_attributes = frozenset(by_name[name] for name in key or ())
        places = [each["index"] for each in node["column_indexes"]]
        return Rows(
            tuple(attributes[place] if place < len(names) else next(self._next) for place in places),
            row,
            ((row, frozenset(attributes)), *([] if key is None else [(key_attributes, row)])),
            key_attributes | row,
            by_attribute | {identity: ", ".join(f"{shown}.{name}" for name in key or ())},
        )

    def _renamed(self, rows: Rows) -> Rows:
        """The rows of a CTE with new attributes, as another reference to it reads other rows."""
        names: dict[int, int] = {}

        def new(attributes: Iterable[int]) -> list[int]:
            return [names.setdefault(each, next(self._next)) for each in attributes]

        return Rows(
            tuple(new(rows.columns)),
            frozenset(new(rows.identity)),
            tuple((frozenset(new(left)), frozenset(new(right))) for left, right in rows.dependencies),
            frozenset(new(rows.never_null)),
            {new([each])[0]: name for each, name in rows.names.items()},
        )

    def _computed(self, expressions: Iterable[Node], below: Rows) -> Rows:
        """The rows with computed columns instead of their own."""
        columns, dependencies = [], list(below.dependencies)
        for expression in expressions:
            attribute = below.same(expression)
            if attribute is None:
                attribute = next(self._next)
                needed = below.needs(expression)
                if needed is not None:
                    dependencies += [(each, frozenset({attribute})) for each in (needed, below.identity)]
            columns.append(attribute)
        return replace(below, columns=tuple(columns), dependencies=tuple(dependencies))

    def _projection(self, node: Node, below: Rows) -> Rows:
        return self._computed(node["expressions"], below)

    def _windows(self, node: Node, below: Rows) -> Rows:
        """The rows with the values of windows; row_number() and its partition determine the row."""
        windows = node["expressions"]
        values = tuple(next(self._next) for _ in windows)
        dependencies = [(below.identity, frozenset(values))]
        for window, value in () if self._strict else zip(windows, values, strict=True):
            within = below.attributes(window["partitions"])
            if window["type"] == "WINDOW_ROW_NUMBER" and len(within) == len(window["partitions"]):
                dependencies.append((within | {value}, below.identity))
        columns = (*below.columns, *values) if below.columns else ()
        return replace(below, columns=columns, dependencies=(*below.dependencies, *dependencies))

    def _unnested(self, node: Node, below: Rows) -> Rows:
        """Each row with each element of its list."""
        element, *values = (next(self._next) for _ in ["", *node["expressions"]])
        identity = below.identity | {element}
        columns = (*below.columns, *values) if below.columns else ()
        dependencies = (*below.dependencies, (identity, frozenset(values)))
        return replace(below, columns=columns, identity=identity, dependencies=dependencies)

    def _groups(self, node: Node, below: Rows) -> Rows:
        """One row per group."""
        groups = node.get("groups") or []
        with_groups = self._computed(groups, below)
        identity = frozenset({next(self._next)})
        results = [next(self._next) for _ in [*node["expressions"], *node.get("grouping_functions", [])]]
        if len(node.get("grouping_sets") or []) > 1:
            columns = tuple(next(self._next) for _ in groups) + tuple(results)
            return Rows(columns, identity, ((identity, frozenset(columns)),), identity)
        columns = (*with_groups.columns, *results)
        key = frozenset(with_groups.columns)
        more = ((key, identity), (identity, frozenset(columns)))
        named = ", ".join(filter(None, (each.get("alias") for each in groups)))
        return Rows(
            columns,
            identity,
            (*with_groups.dependencies, *more),
            with_groups.never_null | identity,
            {**below.names, **dict.fromkeys(identity, named)},
        )

    def _distinct(self, node: Node, below: Rows) -> Rows:
        targets = below.attributes(node["distinct_targets"])
        if node["distinct_type"] == "DISTINCT":
            return self._unique(below)
        if len(targets) < len(node["distinct_targets"]):
            return below
        return replace(below, dependencies=(*below.dependencies, (targets, below.identity)))

    def _unique(self, below: Rows) -> Rows:
        """Rows that are distinct in their columns."""
        identity, columns = frozenset({next(self._next)}), frozenset(below.columns)
        more = ((columns, identity), (identity, columns)) if columns else ()
        return replace(
            below,
            identity=identity,
            dependencies=(*below.dependencies, *more),
            never_null=below.never_null | identity,
        )

    def _joined(self, node: Node, left: Rows, right: Rows) -> Rows:
        kind = node.get("join_type", "INNER")
        if kind in {"SEMI", "ANTI"}:
            return _projected(left, node.get("left_projection_map"))
        if kind == "MARK":
            return replace(left, columns=(*left.columns, next(self._next)) if left.columns else ())
        if not (left.columns and right.columns and kind in {"INNER", "LEFT", "SINGLE", "FULL", "OUTER"}):
            return self._unknown()
        pairs = _equated(node.get("conditions") or [], left, right)
        more = [pair for one, two in pairs for pair in ((one, two), (two, one))] if kind == "INNER" else []
        if kind == "SINGLE" or (kind == "LEFT" and _matches_one(node, left, right)):
            more.append((left.identity, right.identity))
        if self._strict:
            more = []
        kept = left if kind in {"INNER", "LEFT", "SINGLE"} else _with_nulls(left)
        joined = right if kind == "INNER" else _with_nulls(right)
        columns = (
            *_projected(left, node.get("left_projection_map")).columns,
            *_projected(right, node.get("right_projection_map")).columns,
        )
        return Rows(
            columns,
            left.identity | right.identity,
            (*kept.dependencies, *joined.dependencies, *more),
            kept.never_null | joined.never_null,
            {**left.names, **right.names},
        )

    def _unknown(self, columns: int = 0) -> Rows:
        """Rows without dependencies, with this many columns; 0 if even that is unknown."""
        return Rows(tuple(next(self._next) for _ in range(columns)), frozenset({next(self._next)}))


def _projected(rows: Rows, places: Sequence[int] | None) -> Rows:
    """The rows with the columns at these places, or all columns without places."""
    if not places or not rows.columns:
        return rows
    return replace(rows, columns=tuple(rows.columns[place] for place in places))


def _passed(node: Node, rows: Rows, *, strict: bool) -> Rows:
    """Some of the rows. Operands that their conditions equate determine each other, unless ``strict``."""
    more: list[Dependency] = []
    for condition in () if strict else _conjuncts(node.get("expressions") or []):
        if condition["type"] not in EQUALITY:
            continue
        for one, two in permutations(condition["children"]):
            attribute = rows.attribute(one)
            needed = rows.attributes([two]) or (frozenset() if rows.needs(two) == frozenset() else None)
            if attribute is not None and needed is not None:
                more.append((needed, frozenset({attribute})))
    filtered = replace(rows, dependencies=(*rows.dependencies, *more))
    return _projected(filtered, node.get("projection_map"))


def _conjuncts(conditions: Iterable[Node]) -> Iterator[Node]:
    for condition in conditions:
        if condition["type"] == "CONJUNCTION_AND":
            yield from _conjuncts(condition["children"])
        else:
            yield condition


def _equated(conditions: Iterable[Node], left: Rows, right: Rows) -> list[tuple[Attributes, Attributes]]:
    """The pairs of attributes, one of each side, that a join equates."""
    sides = [
        (left.attributes([each["left"]]), right.attributes([each["right"]]))
        for each in conditions
        if each.get("comparison") in EQUALITY
    ]
    return [(one, two) for one, two in sides if one and two]


def _matches_one(join: Node, left: Rows, right: Rows) -> bool:
    pairs = _equated(join.get("conditions") or [], left, right)
    return right.identity <= right.closure(frozenset[int]().union(*(two for _, two in pairs)))


def _with_nulls(rows: Rows) -> Rows:
    """The rows and one of NULLs, as an outer join adds it; it may share NULLs with another row."""
    kept = tuple(each for each in rows.dependencies if each[0] & rows.never_null)
    return replace(rows, dependencies=kept, never_null=frozenset())
