"""Functional dependencies between columns: which of them determine others, or the whole row.

An attribute is a number that stands for a column's value, however many operators pass it on. Each row also
has an attribute without a column, its identity: the key of its table determines it, and it determines the
columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.models.syntax import Node, walk

Attributes = frozenset[int]
Dependency = tuple[Attributes, Attributes]  # the first determines the second

_NONE: Attributes = frozenset()
# Types whose equal values are identical, so that they can determine anything.
_INTEGERS = frozenset(
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split()  # noqa: SIM905
)
_EXACT = _INTEGERS | {
    "BLOB", "BOOLEAN", "DATE", "DECIMAL", "ENUM", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "UUID",
    "VARCHAR",
}  # fmt: skip
# Types that can be cast to text, and pairs of types, without making different values equal.
_TO_TEXT = _INTEGERS | {"BOOLEAN", "DATE", "ENUM", "UUID"}
_KEEPING = {("DATE", "TIMESTAMP"), ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), ("VARCHAR", "VARCHAR")}
_OF_ONE_ROW = frozenset(
    "BOUND_CASE BOUND_CAST BOUND_CONSTANT BOUND_FUNCTION BOUND_OPERATOR BOUND_REF".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Rows:
    """The dependencies of an operator's rows.

    ``columns`` are the attributes of its columns, empty if unknown. ``identity`` are the attributes that
    together identify a row. ``never_null`` are attributes without NULLs. ``names`` are the names of columns,
    and of an identity the columns of a key that determines it.
    """

    columns: tuple[int, ...] = ()
    identity: Attributes = _NONE
    dependencies: tuple[Dependency, ...] = ()
    never_null: Attributes = _NONE
    names: Mapping[int, str] = field(default_factory=dict)

    def closure(self, attributes: Attributes) -> Attributes:
        """All attributes that these determine, themselves included."""
        closure, before = attributes, None
        while closure != before:
            before = closure
            for determinant, determined in self.dependencies:
                if determinant <= closure:
                    closure |= determined
        return closure

    def determined_by(self, attributes: Attributes) -> bool:
        """Whether rows with the same values of these attributes are one row, or equal in all columns."""
        closure = self.closure(attributes)
        return self.identity <= closure or (bool(self.columns) and closure.issuperset(self.columns))

    def name(self, expression: Node) -> str:
        """The name of an expression for messages."""
        column = self._column(expression)
        name = None if column is None else self.names.get(column)
        return str(expression.get("alias") or name or "an expression")

    def missing_from(self, attributes: Attributes) -> str:
        """The names of the columns that these attributes need beside them to determine a row."""
        missing = sorted(self.identity - self.closure(attributes))
        return " and ".join(dict.fromkeys(filter(None, (self.names.get(each) for each in missing))))

    def attribute(self, expression: Node) -> int | None:
        """The attribute that an expression is, even through an injective cast; None if it is none."""
        if not is_exact(expression):
            return None
        if expression["expression_class"] == "BOUND_REF":
            return self._column(expression)
        return self.attribute(expression["children"][0]) if _is_injective_cast(expression) else None

    def same(self, expression: Node) -> int | None:
        """The attribute with exactly an expression's values, of any type."""
        column = self._column(expression)
        return self.attribute(expression) if column is None else column

    def _column(self, expression: Node) -> int | None:
        if expression["expression_class"] != "BOUND_REF" or expression["index"] >= len(self.columns):
            return None
        return self.columns[expression["index"]]

    def attributes(self, expressions: Iterable[Node]) -> Attributes:
        """The attributes of those expressions that are one."""
        attributes = map(self.attribute, expressions)
        return frozenset(attribute for attribute in attributes if attribute is not None)

    def determines(self, expression: Node, attributes: Attributes) -> bool:
        """Whether these attributes determine an expression's value."""
        needed = self.needs(expression)
        return needed is not None and needed <= self.closure(attributes)

    def needs(self, expression: Node) -> Attributes | None:
        """The attributes that an expression is computed from; None if they are unknown."""
        nodes = list(_expressions(expression))
        places = {node["index"] for node in nodes if node["expression_class"] == "BOUND_REF"}
        is_of_one_row = all(node["expression_class"] in _OF_ONE_ROW for node in nodes)
        if not is_of_one_row or any(place >= len(self.columns) for place in places):
            return None
        return frozenset(self.columns[place] for place in places)


def is_exact(expression: Node) -> bool:
    """Whether values of an expression that are equal are identical."""
    return (expression.get("return_type") or {}).get("id") in _EXACT


def _is_injective_cast(expression: Node) -> bool:
    """Whether an expression is a cast that keeps different values different."""
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
    """An expression and all expressions in it."""
    return (each for each in walk(node) if "expression_class" in each)
