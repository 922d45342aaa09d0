"""Find numbers that DuckDB computes in floating point and Postgres as numeric: quotients, averages, roots.

Some 15 of their digits are those of Postgres. So they are rounded, by pipeline.models.rounding, where a model
rounds them or casts them to a number with fewer digits; any other use is refused.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import inf

from pipeline.models.exact import MARK, is_written_cast
from pipeline.models.syntax import Node, type_name, type_of, uncast, walk
from pipeline.models.value_flow import Flow, name_of

FLOATS = frozenset({"FLOAT", "DOUBLE"})
INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT INTEGER_LITERAL".split())  # noqa: SIM905
# Parts of moments, which are numeric in Postgres and integers in DuckDB.
_PARTS = frozenset(
    "century day dayofmonth dayofweek dayofyear decade hour isodow isoyear microsecond millennium"  # noqa: SIM905
    " millisecond minute month quarter second week year".split()
)
# Functions whose argument pipeline.models.rounding rounds to 15 digits.
ROUNDING = frozenset({"ceil", "ceiling", "floor", "round", "trunc"})
_ARITHMETIC = frozenset("+ - * / %".split())  # noqa: SIM905
_KEEPING_WHOLE = frozenset("+ - * %".split())  # noqa: SIM905
# Of numeric they are numeric in Postgres, of integers floating point.
_ROOTS = frozenset("^ ** exp ln log log10 pow power sqrt".split())  # noqa: SIM905
_AVERAGES = frozenset({"avg", "mean"})
# Numeric in Postgres, and exact here.
_EXACT = frozenset({"epoch", "julian"})
# Functions that return one of their arguments, or change its sign.
_PASSING = frozenset(
    "- abs any_value arbitrary arg_max arg_min constant_or_null first greatest last least max max_by"  # noqa: SIM905
    " min min_by WINDOW_FIRST_VALUE WINDOW_LAG WINDOW_LAST_VALUE WINDOW_LEAD WINDOW_NTH_VALUE".split()
)
# What does not depend on the last digits.
_INSENSITIVE = frozenset({"count", "isfinite", "isinf", "isnan", "sign"})
_OF_NULLS = frozenset({"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"})
_LITERAL = re.compile(rb"-?[\d._]+(e[+-]?\d+)?", re.IGNORECASE)
_WORDS = (
    "{shown} is computed in floating point, in Postgres exactly, so its last digits differ; write round(…, 6)"
    " around it, or cast what it is computed from to DOUBLE PRECISION"
)

_OF_PERCENTILES = (
    "{shown} differs from Postgres in its last digits; write CAST(… AS numeric(18, 6)) around it"
)


# Literals that are divided, after what is no operand of a product.
_OF_LITERALS = re.compile(rb"(?:^|[(,+=<>|[-]|\b[a-z_]+\s)\s*(\d[\d.]*)\s*/\s*(\d[\d.]*)", re.IGNORECASE)
# Digits before the point of a number that is divided, and decimals of a quotient.
_MOST_DIGITS, _MOST_DECIMALS = 12, 28
# Decimals up to which a quotient is rounded.
MOST_DECIMALS = 10


@dataclass(frozen=True)
class Number:
    """A numeric of Postgres that is floating point here: the expression that computes it.

    ``exact``: all its digits are right. ``whole``: it has no decimals.
    """

    made_by: Node
    exact: bool
    whole: bool = False


class Quotients(Flow[Number]):
    """Which expressions of a plan of this SQL are such numbers."""

    def __init__(self, plan: Node, text: bytes) -> None:
        self._text = text
        super().__init__(plan)

    def merged(self, values: Sequence[Number | None]) -> Number | None:
        """One of several numbers, rather one that is not exact."""
        found = [each for each in values if each]
        return min(found, key=lambda each: (each.exact, each.whole)) if found else None

    def value(self, expression: Node, columns: tuple[Number | None, ...] | None) -> Number | None:
        """What an expression over these columns is, if it is such a number."""
        if type_of(expression).get("id") not in FLOATS:
            return Number(expression, exact=False) if folded(expression, self._text) else None
        if expression["expression_class"] == "BOUND_REF":
            place = expression["index"]
            return columns[place] if columns and place < len(columns) else None
        operands = [*self._operands(expression)]
        known = tuple(self.value(each, columns) for each in operands)
        name = name_of(expression) or expression["type"]
        if name in _EXACT:
            return Number(expression, exact=True)
        if name == "quantile_cont":
            return None if _is_median_of_integers(operands) else Number(expression, exact=False)
        if expression["type"] == "OPERATOR_CAST":
            return None if is_written_cast(expression, self._text) else known[0]
        if name in ROUNDING:
            return Number(expression, exact=True, whole=len(operands) == 1) if known[0] else None
        if name in _PASSING and (name != "-" or len(operands) == 1):
            return self.merged(known)
        if name in _ARITHMETIC:
            return self._of_arithmetic(expression, operands, known)
        of_numbers = any(map(_is_decimal, operands)) or any(known)
        if (name in _ROOTS and of_numbers) or (name in _AVERAGES and not self._averages_floats(operands)):
            return Number(expression, exact=False)
        return (
            self.merged(known) if expression["expression_class"] in {"BOUND_CASE", "BOUND_OPERATOR"} else None
        )

    def _of_arithmetic(
        self, expression: Node, operands: Sequence[Node], known: Sequence[Number | None]
    ) -> Number | None:
        """The result of an operator, unless it has an operand that is floating point in Postgres, too."""
        if not any(known) and any(map(self._is_float, operands, known)):
            return None
        whole = name_of(expression) in _KEEPING_WHOLE and all(map(self._is_whole, operands, known))
        return Number(expression, exact=whole, whole=whole)

    def problems(self, plan: Node) -> Iterator[tuple[Node, Node, str]]:
        """A number whose last digits matter, the expression that takes it, and what is wrong."""
        orders = {id(each) for each in _orders(plan)}
        for operator in walk(plan):
            if not str(operator.get("type")).startswith("LOGICAL_") or id(operator) in orders:
                continue
            for part, value in operator.items():
                if part != "children":
                    yield from self._misused(value, {}, part)
        for column in self.columns or ():
            if column and not column.exact:
                yield column.made_by, {}, _words(column)

    def _misused(self, value: object, parent: Node, part: str) -> Iterator[tuple[Node, Node, str]]:
        if isinstance(value, list):
            for each in value:
                yield from self._misused(each, parent, part)
        elif isinstance(value, dict):
            is_expression = "expression_class" in value
            number = self.found.get(id(value)) if is_expression else None
            if number and not number.exact and not self._is_right(parent, part):
                yield number.made_by, parent, _words(number)
            for below, child in value.items():
                yield from self._misused(child, value if is_expression else parent, below)

    def _is_right(self, parent: Node, part: str) -> bool:
        """Whether the last digits of a number make no difference to what takes it."""
        if not parent:
            return part == "expressions"
        name, kind = name_of(parent) or parent["type"], parent["type"]
        if part not in {"children", "child", "then_expr", "else_expr"}:
            return False
        if kind == "OPERATOR_CAST" and type_of(parent).get("id") not in FLOATS:
            return decimals_of(parent) <= MOST_DECIMALS
        if kind.startswith("COMPARE_"):
            return any(_is_zero(each) for each in parent["children"])
        if name in ROUNDING:
            return decimals_of(parent) <= MOST_DECIMALS
        return bool(self.found.get(id(parent))) or name in _INSENSITIVE or kind in _OF_NULLS

    def _operands(self, node: Node) -> Iterator[Node]:
        """The expressions of which a value is computed."""
        for check in node.get("case_checks") or ():
            yield check["then_expr"]
        if node.get("else_expr"):
            yield node["else_expr"]
        yield from node.get("children") or ()

    def is_float(self, node: Node) -> bool:
        """Whether an operand of an expression of the plan is floating point in Postgres, too."""
        return self._is_float(node, self.found.get(id(node)))

    def _is_float(self, node: Node, number: Number | None) -> bool:
        """Whether an operand is floating point in Postgres, too."""
        if number or type_of(node).get("id") not in FLOATS | {None}:
            return False
        if node["expression_class"] == "BOUND_CONSTANT":
            place, length = node["query_location"], node["query_location_length"]
            is_number = node["value"]["type"]["id"] in FLOATS
            return is_number and not _LITERAL.fullmatch(self._text[place : place + length])
        if node.get("type") == "OPERATOR_CAST" and not is_written_cast(node, self._text):
            return self._is_float(node["children"][0], None)
        return type_of(node).get("id") in FLOATS

    def _is_whole(self, node: Node, number: Number | None) -> bool:
        return number.whole if number else is_integer(node, self._text)

    def _averages_floats(self, operands: list[Node]) -> bool:
        return any(type_of(each).get("id") in FLOATS for each in operands)


def _orders(plan: Node) -> Iterator[Node]:
    """The operators that order the rows of the result, which makes no difference to a table."""
    while plan["type"] in {"LOGICAL_ORDER_BY", "LOGICAL_PROJECTION"}:
        if plan["type"] == "LOGICAL_ORDER_BY":
            yield plan
        plan = plan["children"][0]


def folded(node: Node, text: bytes) -> list[tuple[bytes, bytes]]:
    """The quotients of literals that the planner may have replaced by this constant: their two sides."""
    if node["expression_class"] != "BOUND_CONSTANT" or type_name(node) != "DOUBLE":
        return []
    place, length = node["query_location"], node["query_location_length"]
    return _OF_LITERALS.findall(text[place : place + length] if place < len(text) and length else text)


def is_exact_quotient(of: Node, divisor: Decimal, decimals: int) -> bool:
    """Whether Postgres and a product in DuckDB keep so many more decimals of a quotient of this type.

    Postgres keeps some 16 digits, see its select_div_scale(). A number is taken to be below a trillion.
    """
    info = of.get("type_info") or {}
    width, scale = int(info.get("width", 0)), int(info.get("scale", 0))
    most = Decimal(10) ** min(width - scale, _MOST_DIGITS) - Decimal(10) ** -scale
    (weight, first), (of_divisor, first_of_divisor) = map(_group, (most, abs(divisor)))
    weight -= of_divisor + (first <= first_of_divisor)
    kept = max(16 - 4 * weight, scale, -int(divisor.as_tuple().exponent))
    return scale + decimals <= (
        _MOST_DECIMALS if width >= MARK[0] or not width else min(kept, _MOST_DECIMALS)
    )


def _group(number: Decimal) -> tuple[int, int]:
    """The place of the first of the groups of four digits that Postgres computes with, and its value."""
    weight = number.adjusted() // 4
    return weight, int(number.scaleb(-4 * weight))


def decimals_of(node: Node) -> float:
    """The decimals that a cast or a call rounds to; infinite if they are not constant."""
    if node.get("type") == "OPERATOR_CAST":
        return int((type_of(node).get("type_info") or {}).get("scale", 0))
    digits = [uncast(each).get("value") for each in node["children"][1:]]
    return next((float(each["value"]) if each else inf for each in digits), 0)


def _words(number: Number) -> str:
    return _OF_PERCENTILES if name_of(number.made_by) == "quantile_cont" else _WORDS


def _is_median_of_integers(operands: Sequence[Node]) -> bool:
    """Whether a percentile needs no more than a division by 2."""
    of, fraction = operands
    while fraction.get("type") == "OPERATOR_CAST":
        fraction = fraction["children"][0]
    value = fraction.get("value") or {}
    is_half = value.get("value") == 0.5 or (value.get("value"), value["type"]["type_info"]["scale"]) == (5, 1)  # noqa: PLR2004
    return is_half and type_of(of).get("id") in INTEGERS


def _is_decimal(node: Node) -> bool:
    """Whether the planner converts a numeric of Postgres for an operation in floating point."""
    return type_name(uncast(node)) == "DECIMAL"


def _is_zero(node: Node) -> bool:
    value = uncast(node).get("value")
    return isinstance(value, dict) and bool(value.get("value") == 0)


def is_integer(node: Node, text: bytes) -> bool:
    """Whether an operand is an integer in Postgres, too; the planner converts it to floating point."""
    is_made = node.get("type") == "OPERATOR_CAST" and not is_written_cast(node, text)
    of = node["children"][0] if is_made else node
    return type_name(of) in INTEGERS and not any(name_of(each) in _PARTS for each in walk(of))
