"""Let products of decimals have all their digits.

DuckDB gives the product of two decimals that have at most 18 digits each no more than 18 digits, and fails
for a larger one. If one of the factors has more, the product has up to 38. So the left factor of such a
product is cast. Which products these are is asked of DuckDB's planner: their left factors are marked.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb

from pipeline.duck import literal, quote
from pipeline.models.analysis import plan_of
from pipeline.models.edits import Edit, applied, code_between, operator_place, spans
from pipeline.models.exact import PREFIX, mark_of
from pipeline.models.syntax import Node, known_type, parsed, shape, walk, with_selects
from pipeline.models.value_flow import name_of

_MARKED = "factor (pipeline)"
_MACRO = f"{quote(_MARKED)}(value, mark) AS CASE WHEN mark IS NULL THEN NULL ELSE value END"
_MAY_MULTIPLY = re.compile(r"(?<!select)(?<!distinct)\s*(?<![\s(./])\s*\*(?!/)", re.IGNORECASE)
# The most digits of a product whose factors have no more.
_FEW = 18
_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19, "HUGEINT": 38}


@dataclass(frozen=True)
class _Star:
    """A multiplication: the bytes of the operator, and of a literal if the left factor ends with it."""

    place: int
    literal: int | None
    number: int


def may_multiply(sql: str) -> bool:
    """Whether a query may multiply."""
    return bool(_MAY_MULTIPLY.search(sql))


def with_wide_products(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with a wider left factor in products that would be too narrow."""
    if not may_multiply(sql):
        return sql
    plan = plan_of(connection, sql)
    while plan is not None and any(map(_is_narrow, walk(plan))):
        wider = _widened(connection, sql)
        if wider == sql:
            break
        sql, plan = wider, plan_of(connection, wider)
    return sql


def _widened(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query with wider factors in the innermost of such products."""
    text = sql.encode()
    stars = list(_stars(parsed(connection, sql), text))
    connection.execute(f"CREATE OR REPLACE TEMP MACRO {_MACRO}")
    numbers, plans = {each.number for each in stars}, list[Node]()
    # A mark within an expression that GROUP BY repeats makes it another one; then each is tried for itself.
    for tried in ([numbers], [{each} for each in numbers]):
        marked = [
            applied(text, [_mark(each) for each in stars if each.literal is None and each.number in chosen])
            for chosen in tried
        ]
        plans = [plan for each in marked if (plan := plan_of(connection, each.decode()))]
        if plans:
            break
    written = [each for each in _factors(plan_of(connection, sql)) if each["type"] == "VALUE_CONSTANT"]
    by_place = {each["query_location"]: each for each in written}
    by_mark = {mark_of(each): each for plan in plans for each in _factors(plan)}
    casts = []
    for star in stars:
        factor = by_mark.get(star.number) if star.literal is None else by_place.get(star.literal)
        if factor:
            cast = f"::DECIMAL(19,{_info(known_type(factor), 'scale')})/**/"
            casts.append(Edit(star.place, star.place, cast.encode()))
    return applied(text, casts).decode()


def _factors(plan: Node | None) -> list[Node]:
    """The narrow factors in those operators of a plan before which none has any, which they may depend on."""
    if plan is None:
        return []
    before = list[Node]()
    for child in plan["children"]:
        before += _factors(child)
        if before and str(plan["type"]).endswith("_CTE"):  # which its first child defines
            break
    return before or [*_narrow_factors({**plan, "children": []})]


def _stars(tree: Node, text: bytes) -> Iterator[_Star]:
    """The multiplications of a syntax tree, with one number for equal ones, as GROUP BY may repeat them."""
    numbers: dict[tuple[str, int], int] = {}
    for node, select in with_selects(tree):
        if node.get("function_name") != "*" or len(node["arguments"]) != 2:  # noqa: PLR2004
            continue
        place = operator_place(node, text)
        if place is not None:
            literals = _literals(node["arguments"][0], text)
            last = next((start for start, end in literals if not code_between(text, end, place)), None)
            yield _Star(place, last, numbers.setdefault((shape(node), select), len(numbers)))


def _literals(tree: Node, text: bytes) -> Iterator[tuple[int, int]]:
    for node in walk(tree):
        if node.get("class") == "CONSTANT":
            yield from spans(node, text)


def _mark(star: _Star) -> Edit:
    """The edit that marks the left factor of a product."""
    call = f".{quote(_MARKED)}({literal(f'{PREFIX}{star.number}')})"
    return Edit(star.place, star.place, call.encode())


def _narrow_factors(plan: Node) -> Iterator[Node]:
    """The last part of the left factor of each innermost product that is too narrow."""
    for node in walk(plan):
        if _is_narrow(node) and not any(map(_is_narrow, walk(node["children"]))):
            factor = node["children"][0]
            while mark_of(factor) is None and factor.get("children"):
                factor = factor["children"][-1]
            yield factor


def _is_narrow(node: Node) -> bool:
    """Whether an expression is a product that may have more digits than its type."""
    if name_of(node) != "*" or known_type(node).get("id") != "DECIMAL":
        return False
    return _info(known_type(node), "width") == _FEW < sum(map(_digits, node["children"]))


def _digits(node: Node) -> int:
    """The digits of a factor before the planner converts it."""
    if node.get("type") == "OPERATOR_CAST":
        of, to = known_type(node["children"][0]), known_type(node)
        if of.get("id") != "DECIMAL" or _info(of, "scale") == _info(to, "scale"):
            return min(_digits(node["children"][0]), _info(to, "width") or _FEW)
    of = known_type(node)
    if of.get("id") == "INTEGER_LITERAL":
        return len(str(abs(int(node["value"]["value"]))))
    return _info(of, "width") or _DIGITS.get(str(of.get("id")), 0)


def _info(type_: Mapping[str, object], part: str) -> int:
    info = type_.get("type_info")
    return int(info.get(part, 0)) if isinstance(info, dict) else 0
