"""How expressions of a plan are written in the SQL."""

from __future__ import annotations

import re

from pipeline.models.comparisons import column_of
from pipeline.models.syntax import Node, walk
from pipeline.models.value_flow import name_of
from pipeline.words import line_of

_LONGEST = 60
# What pipeline.models.rounding writes instead of a division.
_PRODUCT = re.compile(r"\*( *)[^*]+/\*/(.*?)\*/")
# What pipeline.models.products writes after a factor.
_WIDE = re.compile(r"::DECIMAL\(19,\d+\)/\*\*/")
_CAST = re.compile(r"::|cast\s*\(", re.IGNORECASE)


def explained(node: Node, parent: Node, words: str, text: bytes) -> tuple[int | None, str]:
    """The line of an expression of a plan, if it is known, and a message with the expression's text."""
    name = name_of(node).replace("quantile_", "percentile_")
    shown = shown_in(node, text) or written(parent, text) or column_of(node)
    if node["type"] == "BOUND_AGGREGATE" or node["type"].startswith("WINDOW_"):
        name = name or node["type"].removeprefix("WINDOW_").lower()
        shown = f"{name}({column_of(node['children'][0])})"
    places = [place_of(node, text), place_of(parent, text), _place_of_call(name, text)]
    place = next((each for each in places if each is not None), None)
    line = None if place is None else line_of(text, place)
    return line, words.format(shown=shown or name or "it")


def _place_of_call(name: str, text: bytes) -> int | None:
    """Where a function is called, if it is called once: the planner does not tell it of aggregates."""
    call = re.compile(rb"\b%s\s*\(" % re.escape(name.encode()), re.IGNORECASE)
    places = [each.start() for each in call.finditer(text)] if name else []
    return places[0] if len(places) == 1 else None


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
    line = " ".join(text[start:end].decode(errors="replace").split())
    line = line.replace('"seconds (pipeline)"(', "extract(epoch FROM")  # of pipeline.models.exact_quotients
    shown = _PRODUCT.sub(r"/\1\2", _WIDE.sub("", line))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
