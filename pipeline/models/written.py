"""How expressions of a plan are written in the SQL."""

from __future__ import annotations

import re

from pipeline.models.comparisons import column_of
from pipeline.models.syntax import Node, walk

_LONGEST = 60
# What pipeline.models.rounding writes instead of a division.
_PRODUCT = re.compile(r"\*( *)[^*]+/\*/(.*?)\*/")
_CAST = re.compile(r"::|cast\s*\(", re.IGNORECASE)


def shown_in(node: Node, text: bytes) -> str:
    """The text of an expression as messages show it, without a cast that the planner has left out."""
    place = place_of(node, text)
    of_cast = place is not None and _CAST.match(text[place : place + 9].decode(errors="replace"))
    if node["type"] == "BOUND_FUNCTION" and (of_cast or not _length(node)):
        return _operands(node, text)  # the place is that of an operator, or of the cast
    return written(node, text)


def _length(node: Node) -> int:
    return int(node.get("query_location_length", 0))


def place_of(node: Node, text: bytes) -> int | None:
    """The byte where an expression, or its operator, is written; None if that is not known."""
    place = int(node.get("query_location", len(text)))
    return place if place < len(text) else None


def written(node: Node, text: bytes) -> str:
    """The text of an expression in one line, if it is known."""
    place, length = place_of(node, text), _length(node)
    if place is None or not length:
        return ""
    shown = _shown(text, place, place + length)
    if not shown.startswith("::"):
        return shown
    operand = node["children"][0] if node["type"] == "OPERATOR_CAST" else node
    of = shown_in(operand, text) if operand is not node else _operands(node, text)
    is_operation = " " in of and not of.endswith(")")
    return (f"({of})" if is_operation else of or column_of(operand)) + shown


def _operands(node: Node, text: bytes) -> str:
    """The text from the first operand of an expression to the last, if it is known."""
    places = [
        (place, place + _length(each))
        for each in walk(node["children"])
        for place in [place_of(each, text)]
        if place is not None
    ]
    return _shown(text, min(places)[0], max(end for _, end in places)) if places else ""


def _shown(text: bytes, start: int, end: int) -> str:
    """Part of the SQL in one line, as it is written in the model."""
    shown = _PRODUCT.sub(r"/\1\2", " ".join(text[start:end].decode(errors="replace").split()))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
