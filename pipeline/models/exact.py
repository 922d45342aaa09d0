"""Find where a plan computes differently from Postgres with numbers that are stored as text.

They have a type that marks them and what is computed from them, see pipeline.models.stored.
"""

from __future__ import annotations

from pipeline.models.comparisons import column_of
from pipeline.models.literals import is_written
from pipeline.models.syntax import Node, called, type_of, with_parents
from pipeline.words import line_of

# Digits and decimals of the type that marks a number.
MARK = (37, 10)
# The beginning of the text that marks a reference to a column that may be a number.
PREFIX = "reference (pipeline) "
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_IN_FLOATS = (
    "{called} computes {name} in floating point, while Postgres is exact; if that is good enough, write"
    " CAST(sum(x) AS DOUBLE PRECISION) / count(x) for an average, and such a cast for anything else"
)
_PRINTED = (
    "{name} is computed, and as text it has other zeros than in Postgres; cast it first to the digits that it"
    " needs: CAST(CAST(x AS DECIMAL(18, 2)) AS text)"
)


class NotExact(Exception):
    """A model computes something that differs from Postgres: the line, and the message."""


def refuse_inexact(plan: Node, probe: str) -> None:
    """Raise NotExact if numbers are computed with in floating point, or results are printed."""
    text = probe.encode()
    for node, parent in with_parents(plan, {}):
        operand = next(filter(is_decimal, node.get("children", [])), None)
        if operand is None:
            continue
        is_cast = node["type"] == "OPERATOR_CAST"
        words = _IN_FLOATS if type_of(node).get("id") in _FLOATS else None
        if is_cast:
            words = _inexact_cast(node, operand, parent, text)
        if words:
            by, name = parent if is_cast else node, column_of(operand) or "numeric"
            words = words.format(called=called(by) if by else "it", name=name)
            raise NotExact(_line(text, node, parent, operand), words)


def _inexact_cast(cast: Node, operand: Node, parent: Node, text: bytes) -> str | None:
    """What is wrong with the cast of a number."""
    to = type_of(cast).get("id")
    if to in _FLOATS and not is_written_cast(cast, text):
        others = [each for each in parent.get("children", []) if each is not cast]
        return None if any(_is_float(each, text) for each in others) else _IN_FLOATS
    return _PRINTED if to == "VARCHAR" and mark_of(operand) is None else None


def _is_float(node: Node, text: bytes) -> bool:
    """Whether an operand is floating point in Postgres, too: neither a literal nor converted here."""
    if node.get("type") == "OPERATOR_CAST" and not is_written_cast(node, text):
        return _is_float(node["children"][0], text)
    return node.get("expression_class") != "BOUND_CONSTANT" and type_of(node).get("id") in _FLOATS


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
