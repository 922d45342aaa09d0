"""Functional dependencies between columns: which of them determine others, or all of a row.

Whether columns determine a row is asked of the attributes that they are. Each row has an attribute
beside its columns, its identity, which its table's key determines and which determines its columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.models.unstable import Node, walk

Attributes = frozenset[int]
Dependency = tuple[Attributes, Attributes]  # rows that agree on the one agree on the other

_NONE: Attributes = frozenset()
# Types of which equal values are identical, so that they can determine anything.
_INTEGERS = frozenset(
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split()  # noqa: SIM905
)
_EXACT = _INTEGERS | {
    "BLOB", "BOOLEAN", "DATE", "DECIMAL", "ENUM", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID",
    "VARCHAR",
}  # fmt: skip
# Casts that give different values for different ones.
_TO_TEXT = _INTEGERS | {"BOOLEAN", "DATE", "ENUM", "UUID"}
_KEEPING = {("DATE", "TIMESTAMP"), ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), ("VARCHAR", "VARCHAR")}
_OF_ONE_ROW = frozenset(
    "BOUND_CASE BOUND_CAST BOUND_CONSTANT BOUND_FUNCTION BOUND_OPERATOR BOUND_REF".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Rows:
    """What is known of the rows of an operator.

    ``columns`` are the attributes of its columns, none where they are not known; ``identity`` are those that
    together tell its rows apart. ``never_null`` are attributes without NULLs. ``names`` are the names of
    columns and, of an identity, the columns of a key that determines it.
    """

    columns: tuple[int, ...] = ()
    identity: Attributes = _NONE
    dependencies: tuple[Dependency, ...] = ()
    never_null: Attributes = _NONE
    names: Mapping[int, str] = field(default_factory=dict)

    def closure(self, attributes: Attributes) -> Attributes:
        """All attributes that some determine."""
        known, before = attributes, None
        while known != before:
            before = known
            for determinant, determined in self.dependencies:
                if determinant <= known:
                    known |= determined
        return known

    def determined_by(self, attributes: Attributes) -> bool:
        """Whether rows that agree on these attributes are the same row, or look the same."""
        known = self.closure(attributes)
        return self.identity <= known or (bool(self.columns) and known.issuperset(self.columns))

    def name(self, expression: Node) -> str:
        """What a person may call an expression."""
        column = self._column(expression)
        known = None if column is None else self.names.get(column)
        return str(expression.get("alias") or known or "an expression")

    def missing_from(self, attributes: Attributes) -> str:
        """What to add to some attributes so that they tell rows apart, in words."""
        lacking = sorted(self.identity - self.closure(attributes))
        return " and ".join(dict.fromkeys(filter(None, (self.names.get(each) for each in lacking))))

    def attribute(self, expression: Node) -> int | None:
        """The attribute that an expression is, be it by a cast that keeps values apart; else None."""
        if (expression.get("return_type") or {}).get("id") not in _EXACT:
            return None
        if expression["expression_class"] == "BOUND_REF":
            return self._column(expression)
        return self.attribute(expression["children"][0]) if _keeps_apart(expression) else None

    def same(self, expression: Node) -> int | None:
        """The attribute that has an expression's very values, of whatever type."""
        column = self._column(expression)
        return self.attribute(expression) if column is None else column

    def _column(self, expression: Node) -> int | None:
        if expression["expression_class"] != "BOUND_REF" or expression["index"] >= len(self.columns):
            return None
        return self.columns[expression["index"]]

    def attributes(self, expressions: Iterable[Node]) -> Attributes:
        """The attributes that some expressions are."""
        return frozenset(found for each in expressions if (found := self.attribute(each)) is not None)

    def knows(self, expression: Node, attributes: Attributes) -> bool:
        """Whether some attributes determine an expression's value."""
        needed = self.needs(expression)
        return needed is not None and needed <= self.closure(attributes)

    def needs(self, expression: Node) -> Attributes | None:
        """The attributes that an expression is computed from; None where these are not known."""
        nodes = list(_expressions(expression))
        places = {node["index"] for node in nodes if node["expression_class"] == "BOUND_REF"}
        known = all(node["expression_class"] in _OF_ONE_ROW for node in nodes)
        if not known or any(place >= len(self.columns) for place in places):
            return None
        return frozenset(self.columns[place] for place in places)


def _keeps_apart(expression: Node) -> bool:
    """Whether an expression is a cast that gives different values for different ones."""
    if expression["type"] != "OPERATOR_CAST" or expression["function_data"].get("try_cast"):
        return False
    to, of = expression["return_type"], expression["children"][0].get("return_type") or {"id": "BOOLEAN"}
    if to["id"] == of["id"] == "DECIMAL":
        return bool(to["type_info"]["scale"] >= of["type_info"]["scale"])
    return (
        (of["id"] in _INTEGERS and to["id"] in {*_INTEGERS, "DECIMAL"})
        or (of["id"] in _TO_TEXT and to["id"] == "VARCHAR")
        or (of["id"], to["id"]) in _KEEPING
    )


def _expressions(node: object) -> Iterator[Node]:
    """An expression and all that it is made of."""
    return (each for each in walk(node) if "expression_class" in each)
