"""Let models round and cast quotients of decimals exactly, as Postgres computes them.

DuckDB divides in floating point. A quotient that is rounded at once, as in round(price / units, 2), is
computed from whole numbers of 128 bits instead. Seconds since 1970 are a decimal, to the microsecond.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator, Sequence

import duckdb

from pipeline.duck import quote
from pipeline.models.analysis import plan_of
from pipeline.models.edits import Edit, applied, code_between, operator_place, top_tokens
from pipeline.models.exact import is_written_cast
from pipeline.models.quotients import INTEGERS, MOST_DECIMALS, ROUNDING, decimals_of, is_integer
from pipeline.models.syntax import Node, known_type, parsed, shape, type_of, uncast, walk, with_selects
from pipeline.models.value_flow import name_of

_EPOCH = re.compile(rb"extract\s*\(\s*'?epoch'?\s+from\b", re.IGNORECASE)
_SECONDS = "seconds (pipeline)"
# A year of an interval has 365.25 days, and for epoch_us() 360.
_SECONDS_OF = """CAST(epoch_us(value) AS DECIMAL(20, 0)) * 0.000001 + CASE
    WHEN typeof(value) <> 'INTERVAL' THEN 0
    ELSE CAST(round((date_part('epoch', value) - epoch_us(value) / 1000000) / 453600) AS BIGINT) * 453600
END"""
_PREFIX = "quotient (pipeline)"
# Both sides as whole numbers; all but the values themselves is constant. A column that is stored as text
# would stay one if it were only printed, so it is multiplied.
_WIDEST, _MOST_DIGITS = 38, 12
_SCALE = r"COALESCE(TRY_CAST(regexp_extract(typeof({0}), ',(\d+)', 1) AS INTEGER), 0)"
_WHOLE = (
    "CAST(replace(CAST({0} * 1 AS VARCHAR), '.', '') AS HUGEINT)"
    f" * CAST(rpad('1', 1 + greatest({_SCALE.replace('{0}', '{1}')} - {_SCALE}, 0), '0') AS HUGEINT)"
)
_SIDES = f"{_WHOLE.format('a', 'b')}, {_WHOLE.format('b', 'a')}"
_SIGN = "CASE WHEN (above < 0) = (below < 0) THEN 1 ELSE -1 END"
# Of the remainder, as the whole part may have all digits that there are.
_REST = "abs(above) % abs(below) * power"
_CUT = f"{_SIGN} * (abs(above) // abs(below) * power + {_REST} // abs(below))"
_IS_CUT = f"{_REST} % abs(below) <> 0 AND (above < 0) {{}} (below < 0)"
_COMPUTED = {
    "round": f"{_SIGN} * (abs(above) // abs(below) * power + ({_REST} * 2 + abs(below)) // (abs(below) * 2))",
    "trunc": _CUT,
    "floor": f"{_CUT} - CASE WHEN {_IS_CUT.format('<>')} THEN 1 ELSE 0 END",
    "ceil": f"{_CUT} + CASE WHEN {_IS_CUT.format('=')} THEN 1 ELSE 0 END",
}
_COMPUTED["ceiling"] = _COMPUTED["ceil"]


def _macros() -> Iterator[str]:
    yield f"{quote(_SECONDS)}(value) AS {_SECONDS_OF}"
    for name, computed in _COMPUTED.items():
        whole, result = quote(f"whole {name} {_PREFIX}"), quote(f"{name} {_PREFIX}")
        value = f"CAST({whole}({_SIDES}, power) AS DECIMAL(28, 0)) * unit"
        yield f"{whole}(above, below, power) AS {computed}"
        yield f"{result}(power, unit, a, b) AS {value}, (power, unit, a, b, digits) AS {value}"
    value = f"CAST({quote(f'whole round {_PREFIX}')}({_SIDES}, power) AS DECIMAL(38, 0)) * unit"
    yield f"{quote(f'cast {_PREFIX}')}(power, unit, a, b) AS {value}"


MACROS = tuple(_macros())


def with_exact_quotients(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with exact calls where it rounds or casts a quotient."""
    plan = plan_of(connection, sql) if "/" in sql else None
    if plan is None:
        return sql
    text = sql.encode()
    tree = parsed(connection, sql)
    calls = {node["query_location"]: (node, select) for node, select in with_selects(tree) if _quotient(node)}
    # Of equal expressions in SELECT and GROUP BY the planner shows one.
    decimals: dict[tuple[str, int], int] = {}
    for node in walk(plan):
        call, select = calls.get(node.get("query_location", -1), (None, 0))
        if call and (digits := _decimals(node, text)) is not None:
            decimals[shape(call), select] = digits
    edits = [
        _edits(call, decimals[key], text)
        for call, select in calls.values()
        if (key := (shape(call), select)) in decimals
    ]
    return applied(text, {edit for listed in edits for edit in listed}).decode()


def with_exact_epochs(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query with decimals instead of floating point where it extracts seconds since 1970."""
    text = sql.encode()
    if not _EPOCH.search(text):
        return sql
    calls = [node for node in walk(parsed(connection, sql)) if node.get("function_name") == "date_part"]
    starts = filter(None, (_EPOCH.match(text, node["query_location"]) for node in calls))
    call = f"{quote(_SECONDS)}(".encode()
    return applied(text, {Edit(each.start(), each.end(), call) for each in starts}).decode()


def _quotient(node: Node) -> Node | None:
    """The quotient that a node of a syntax tree casts or rounds, if it does."""
    of: Node = {}
    if node.get("class") == "CAST":
        of = node["child"]
    elif node.get("function_name") in ROUNDING:
        of = node["arguments"][0]["expression"]
    return of if of.get("function_name") == "/" else None


def _decimals(node: Node, text: bytes) -> int | None:
    """The decimals of a quotient of exact numbers that is cast or rounded; None for other expressions."""
    is_cast = node.get("type") == "OPERATOR_CAST" and is_written_cast(node, text)
    is_cast = is_cast and type_of(node).get("id") in INTEGERS | {"DECIMAL"}
    if not is_cast and name_of(node) not in ROUNDING:
        return None
    value, digits = uncast(node["children"][0]), decimals_of(node)
    operands = value.get("children") or []
    is_exact = name_of(value) == "/" and all(_is_exact(each, text) for each in operands)
    if not is_exact or all(is_integer(each, text) for each in operands) or not _fits(operands, digits):
        return None
    return int(digits) if 0 <= digits <= MOST_DECIMALS else None


def _is_exact(operand: Node, text: bytes) -> bool:
    is_made = operand.get("type") == "OPERATOR_CAST" and not is_written_cast(operand, text)
    return known_type(uncast(operand) if is_made else operand).get("id") in INTEGERS | {"DECIMAL"}


def _fits(operands: Sequence[Node], digits: float) -> bool:
    """Whether 38 digits are enough for both sides as whole numbers, if they are below a trillion."""
    types = [known_type(uncast(each)).get("type_info") or {} for each in operands]
    (_, scale), (width, scale_below) = [(each.get("width", 19), each.get("scale", 0)) for each in types]
    whole = min(width - scale_below, _MOST_DIGITS)
    return bool(whole + max(scale, scale_below) + digits + 1 <= _WIDEST)


def _edits(node: Node, digits: int, text: bytes) -> list[Edit]:
    """The call of a macro with both sides of the quotient, if these are all that a pair of brackets holds."""
    place, slash = int(node["query_location"]), operator_place(_quotient(node) or {}, text)
    if slash is None:
        return []
    opening = _opening(text, slash)
    *inner, closing = top_tokens(text, opening + 1)
    unit = f"0.{1:0{digits}d}" if digits else "1"
    name = node.get("function_name") or "cast"
    call = f"{quote(f'{name} {_PREFIX}')}({10**digits}, {unit}, ".encode()
    comma = Edit(slash, slash + 1, b",")
    if node.get("function_name") or text[place : place + 2] != b"::":
        if len(code_between(text, place, opening)) != 1:
            return []
        if node.get("function_name"):
            return [Edit(place, opening + 1, call), comma]
        end = next(each.start() for each in inner if each[0].lower() == b"as")
        return [Edit(opening + 1, opening + 1, call), comma, Edit(end, end, b") ")]
    return [] if code_between(text, closing.end(), place) else [Edit(opening, opening + 1, call), comma]


def _opening(text: bytes, place: int) -> int:
    """The bracket that is open at a place."""
    opened = [-1]
    for token in code_between(text, 0, place):
        if token[0] == b"(":
            opened.append(token.start())
        elif token[0] == b")":
            opened.pop()
    return opened[-1]
