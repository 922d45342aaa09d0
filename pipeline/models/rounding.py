"""Let models round and cast floating point as Postgres does, which has numeric for most of such numbers.

DuckDB divides numbers in floating point, where 1.005 is a little less, so that round(1.005, 2) is 1.00. Of 15
digits nothing is lost, so the number is rounded as the decimal that these digits are; Postgres does the same
when it casts floating point to numeric. A division by a number such as 100 is written as the product with its
reciprocal, which is exact. A part of a text from a computed place on is counted from its beginning.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import duckdb

from pipeline.duck import quote
from pipeline.models import exact_quotients
from pipeline.models.analysis import plan_of
from pipeline.models.edits import Edit, applied, code_between, spans, top_tokens
from pipeline.models.exact import is_written_cast
from pipeline.models.exact_quotients import with_exact_epochs, with_exact_quotients
from pipeline.models.number_literals import may_have_exponents, with_decimals
from pipeline.models.products import may_multiply, with_wide_products
from pipeline.models.quotients import FLOATS, INTEGERS, ROUNDING, Quotients, is_exact_quotient, is_integer
from pipeline.models.syntax import Node, known_type, parsed, type_name, type_of, uncast, walk
from pipeline.models.value_flow import name_of

_DIGITS, _FEW_DIGITS, _WHOLE = "15 digits (pipeline)", "6 digits (pipeline)", "whole (pipeline)"
_EVEN, _SUBSTRING = "round to even (pipeline)", "substring (pipeline)"
_NUMBER_DIGITS = "digits of a quotient (pipeline)"
# A larger number is whole, although it has more digits.
_AS_NUMBER = "CASE WHEN abs(value) < 1e15 THEN format('{:.15g}', value) ELSE format('{:.0f}', value) END"
_OF_DIGITS = f"CAST({_AS_NUMBER} AS DOUBLE)"
# Larger numbers have no decimals among their 15 digits.
_TO_DIGITS = """CASE
    WHEN abs(value) < 1e15
        THEN CAST({0}(CAST(format('{{:.15g}}', value) AS DECIMAL(38, 15)), digits) AS DOUBLE)
    ELSE {0}(value, digits)
END"""
_FROM_FIRST = "CASE WHEN place < 1 THEN 1 ELSE place END"
_NUMBER_FROM_FIRST = (
    "CASE WHEN place < 1 AND place + number < 1 THEN 0 WHEN place < 1 THEN place + number - 1 ELSE number END"
)
MACROS = (
    f"{quote(_DIGITS)}(value) AS format('{{:.15g}}', value)",
    f"{quote(_NUMBER_DIGITS)}(value) AS {_AS_NUMBER}",
    f"{quote(_FEW_DIGITS)}(value) AS format('{{:.6g}}', CAST(value AS DOUBLE))",
    f"{quote(_WHOLE)}(value) AS round({_OF_DIGITS})",
    # A list contains no NULL in Postgres, not even if it has one.
    """"@>"(list, other) AS CASE
        WHEN list IS NOT NULL AND list_count(other) < len(other) THEN false ELSE list_has_all(list, other)
    END""",
    '"<@"(list, other) AS other @> list',
    f"{quote(_EVEN)}(value) AS round_even(value, 0)",
    f"""{quote(_SUBSTRING)}(value, place) AS substring(value, {_FROM_FIRST}),
        (value, place, number) AS substring(value, {_FROM_FIRST}, {_NUMBER_FROM_FIRST})""",
    *(
        f"{quote(f'{name} (pipeline)')}(value) AS {name}({_OF_DIGITS})"
        for name in ("ceil", "ceiling", "floor")
    ),
    *(
        f"{quote(f'{name} (pipeline)')}(value) AS {name}({_OF_DIGITS}),"
        f" (value, digits) AS {_TO_DIGITS.format(name)}"
        for name in ("round", "trunc")
    ),
)
_MAY_ROUND = re.compile(
    r"\b(extract|substr|substring|round|floor|ceil|ceiling|trunc|cast)\s*\(|::|/|@>|<@", re.IGNORECASE
)
_NUMBER = re.compile(rb"-?(\d[\d_]*\.?\d*|\.\d+)")
_AS_DOUBLE = b"::double precision"
# The digits of reciprocals, so that their products have a type.
_MOST_DECIMALS = 9
_EPOCHS = frozenset({"epoch", "julian"})
_EditsOf = Callable[[Node, Quotients, bytes], tuple[int, list[Edit]] | None]


def may_compute(sql: str) -> bool:
    """Whether a query may round, cast, divide or multiply."""
    return bool(_MAY_ROUND.search(sql)) or may_multiply(sql) or may_have_exponents(sql)


def redefines_operators(sql: str) -> bool:
    """Whether a query has operators that the macros replace."""
    return "@>" in sql or "<@" in sql


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the functions that round."""
    for macro in (*MACROS, *exact_quotients.MACROS):
        connection.execute(f"CREATE OR REPLACE TEMP MACRO {macro}")


def as_in_postgres(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with other calls where it rounds, casts or divides numbers."""
    if not may_compute(sql):
        return sql
    sql = with_exact_numbers(connection, with_decimals(connection, sql))
    sql = with_exact_quotients(connection, sql)
    return _rewritten(connection, sql, _rounded)


def with_exact_numbers(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with exact quotients and products where it can have them."""
    # A product has to be as wide as it needs before its quotient is judged by its digits.
    sql = with_wide_products(connection, with_exact_epochs(connection, sql))
    divided = _with_exact_division(connection, sql)
    return sql if divided == sql else with_wide_products(connection, divided)


def _with_exact_division(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with a product instead of a division by a number such as 100."""
    # Again, as a quotient may be divided, too.
    while "/" in sql and (divided := _rewritten(connection, sql, _divided)) != sql:
        sql = divided
    return sql


def _rewritten(connection: duckdb.DuckDBPyConnection, sql: str, edits_of: _EditsOf) -> str:
    """The query, whose relations are bound, with the edits of the expressions of its plan."""
    plan = plan_of(connection, sql)
    if plan is None:
        return sql
    text = sql.encode()
    numbers = Quotients(plan, text)
    found = dict(filter(None, (edits_of(node, numbers, text) for node in walk(plan))))
    edits = {place: listed for place, listed in found.items() if listed}
    return _edited(connection, plan, text, edits) if edits else sql


def _rounded(node: Node, numbers: Quotients, text: bytes) -> tuple[int, list[Edit]] | None:
    """The edits of a cast, or of a call that rounds or takes a part of a text, and its place."""
    if "expression_class" not in node or node["query_location"] >= len(text):
        return None
    place = node["query_location"]
    if node["type"] == "OPERATOR_CAST" and is_written_cast(node, text):
        return place, list(_cast(node, numbers, text))
    if name_of(node) in ROUNDING:
        return place, list(_call(node, numbers, text))
    return (place, list(_part(node, text))) if name_of(node) in {"substr", "substring"} else None


def _divided(node: Node, numbers: Quotients, text: bytes) -> tuple[int, list[Edit]] | None:
    """The edits of a division of numbers that are exact in Postgres, and the place of its divisor."""
    if name_of(node) != "/" or any(map(numbers.is_float, node["children"])):
        return None
    return node["children"][1]["query_location"], list(_product(node["children"], text))


def _product(operands: list[Node], text: bytes) -> Iterator[Edit]:
    """The multiplication that a division by a constant is, unless it is one of integers."""
    left, right = operands
    place, length = right["query_location"], right["query_location_length"]
    written = text[place : place + length]
    type_ = known_type(uncast(left))
    is_exact = type_.get("id") in INTEGERS | {"DECIMAL"}
    if not (is_exact and _NUMBER.fullmatch(written)) or all(is_integer(each, text) for each in operands):
        return
    *_, slash = code_between(text, left["query_location"] if left["query_location"] < place else 0, place)
    if slash[0] != b"/":
        return
    divisor = Fraction(written.decode())
    for decimals in range(_MOST_DECIMALS + 1) if divisor else ():
        scaled = 10**decimals / divisor
        if scaled.denominator == 1 and is_exact_quotient(type_, Decimal(written.decode()), decimals):
            digits = f"{abs(scaled.numerator):0{decimals + 1}d}"
            sign = "-" if divisor < 0 else ""
            number = f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}.0"
            yield Edit(slash.start(), slash.end(), b"*")
            yield Edit(place, place + length, f"{number}/*/{written.decode()}*/".encode())
            return


def _cast(node: Node, numbers: Quotients, text: bytes) -> Iterator[Edit]:
    """A cast of floating point to numeric or an integer."""
    (operand,) = node["children"]
    to, of, number = type_of(node).get("id"), type_of(operand).get("id"), numbers.found.get(id(operand))
    if of not in FLOATS:
        return
    is_exact = number is not None and name_of(number.made_by) in _EPOCHS
    if to == "DECIMAL" and not is_exact:
        of_double = _NUMBER_DIGITS if number else _DIGITS
        function = quote(of_double if of == "DOUBLE" else _FEW_DIGITS)
    elif to in INTEGERS and number is not None:
        function = "round" if is_exact else quote(_WHOLE)
    else:
        return
    start = node["query_location"]
    if text[start : start + 2] == b"::":
        inner = operand["query_location"]
        if text[inner : inner + 2] == b"::" and of == "DOUBLE":  # x::float8.f() would be a type
            yield Edit(inner, inner + operand["query_location_length"], _AS_DOUBLE)
        yield Edit(start, start, f".{function}()".encode())
        return
    opening = next(each.end() for each in top_tokens(text, start) if each[0] == b"(")
    yield Edit(opening, opening, f"{function}(".encode())
    yield from (
        Edit(token.start(), token.start(), b") ")
        for token in top_tokens(text, opening)
        if token[0].lower() == b"as"
    )


def _call(node: Node, numbers: Quotients, text: bytes) -> Iterator[Edit]:
    """A call of a function that rounds floating point."""
    value, *digits = node["children"]
    name = name_of(node)
    start = node["query_location"]
    if type_name(value) not in FLOATS or text[start : start + len(name)].lower() != name.encode():
        return
    is_constant = all(each.get("expression_class") == "BOUND_CONSTANT" for each in digits)
    if numbers.found.get(id(value)) or (digits and is_constant):
        yield Edit(start, start + len(name), quote(f"{name} (pipeline)").encode())
    elif name == "round":
        yield Edit(start, start + len(name), quote(_EVEN).encode())


def _part(node: Node, text: bytes) -> Iterator[Edit]:
    """A part of a text from a computed place on, which DuckDB counts from the end if it is negative."""
    start = node["query_location"]
    name = name_of(node)
    opening = start + len(name)
    if text[start : opening + 1].lower() != name.encode() + b"(" or len(node["children"]) == 1:
        return
    place = uncast(node["children"][1])
    words = {token[0].lower() for token in top_tokens(text, opening + 1)}
    if place["expression_class"] != "BOUND_CONSTANT" and not words & {b"from", b"for"}:
        yield Edit(start, opening, quote(_SUBSTRING).encode())


def _edited(
    connection: duckdb.DuckDBPyConnection, plan: Node, text: bytes, edits: Mapping[int, Sequence[Edit]]
) -> str:
    """The text with these edits, by the place of an expression, and with those of its copies.

    Of equal expressions in SELECT and GROUP BY the planner shows one.
    """
    tree = parsed(connection, text.decode())
    # A call and the operation that begins with it have one place.
    shown = {
        (node["query_location"], node["query_location_length"])
        for node in walk(plan)
        if "expression_class" in node
    }
    bytes_of = {
        place: span for node in walk(tree) for place, *span in [_span(node, text)] if place is not None
    }
    copies: dict[bytes, list[int]] = {}
    for place, (start, end, length) in bytes_of.items():
        if (place, length) not in shown:
            copies.setdefault(text[start:end], []).append(start)
    found = {each for listed in edits.values() for each in listed}
    for place in edits.keys() & bytes_of.keys():
        start, end, _ = bytes_of[place]
        for other in copies.get(text[start:end], ()):
            shift = other - start
            found |= {replace(each, start=each.start + shift, end=each.end + shift) for each in edits[place]}
    return applied(text, found).decode()


def _span(node: Node, text: bytes) -> tuple[int | None, int, int, int]:
    """The place in the plan of a call, cast or division of a syntax tree, its bytes, and the length there."""
    if node.get("class") not in {"CAST", "FUNCTION"}:
        return None, 0, 0, 0
    places = [*spans(node, text)]
    placed = node["arguments"][-1]["expression"] if node.get("is_operator") else node
    start, end = min(places)[0], max(end for _, end in places)
    return placed["query_location"], start, end, placed["query_location_length"]
