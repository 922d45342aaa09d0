"""Find where a plan computes differently from Postgres with numbers that are stored as text.

They have a type that marks them and what is computed from them, see pipeline.models.stored.
"""

from __future__ import annotations

from pipeline.models.comparisons import column_of
from pipeline.models.literals import is_written
from pipeline.models.syntax import Node, type_of, with_parents
from pipeline.words import line_of

# Digits and decimals of the type that marks a number.
MARK = (37, 10)
# The beginning of the text that marks a reference to a column that may be a number.
PREFIX = "reference (pipeline) "
_PRINTED = (
    "{name} is computed, and as text it has other zeros than in Postgres; cast it first to the digits that it"
    " needs: CAST(CAST(x AS DECIMAL(18, 2)) AS text)"
)


class NotExact(Exception):
    """A model computes something that differs from Postgres: the line, and the message."""


def refuse_inexact(plan: Node, probe: str) -> None:
    """Raise NotExact if a result that is computed from such numbers is printed."""
    text = probe.encode()
    for node, parent in with_parents(plan, {}):
        operand = next(filter(is_decimal, node.get("children", [])), None)
        if operand is None or node["type"] != "OPERATOR_CAST" or mark_of(operand) is not None:
            continue
        # Macros print some, too, which has its place in their own text.
        is_made = node["query_location"] == operand.get("query_location")
        if type_of(node).get("id") == "VARCHAR" and (is_made or is_written_cast(node, text)):
            words = _PRINTED.format(name=column_of(operand) or "numeric")
            raise NotExact(_line(text, node, parent, operand), words)


def is_written_cast(cast: Node, text: bytes) -> bool:
    """Whether a cast is written in the SQL, and not added by the planner at the place of its operand."""
    return cast["query_location"] != cast["children"][0].get("query_location") and is_written(cast, text)


def _line(text: bytes, *nodes: Node) -> int:
    """The line of the first of the nodes that has a place in the SQL."""
    places = [int(node.get("query_location", len(text))) for node in nodes]
    return line_of(text, next((place for place in places if place < len(text)), 0))


def mark_of(node: Node) -> int | None:
    """The number of the mark, if the expression is one."""
    if node.get("type") != "CASE_EXPR":
        return None
    operands = node["case_checks"][0]["when_expr"].get("children") or [{}]
    value = (operands[0].get("value") or {}).get("value")
    if isinstance(value, str) and value.startswith(PREFIX):
        return int(value.removeprefix(PREFIX))
    return None


def is_decimal(node: Node) -> bool:
    """Whether an expression may be computed from a marked number."""
    info = type_of(node).get("type_info") or {}
    digits = (info.get("width", 0), info.get("scale", 0)) if type_of(node).get("id") == "DECIMAL" else (0, 0)
    return digits[0] >= MARK[0] and digits[1] >= MARK[1]
