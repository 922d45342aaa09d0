"""Changes of a model's SQL by the bytes of its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.models.syntax import TOKEN, Node, walk

_TOKEN = re.compile(TOKEN.pattern.encode(), re.DOTALL)
_NO_CODE = re.compile(rb"--.*|/\*.*|\s", re.DOTALL)
_DEPTHS = {b"(": 1, b"[": 1, b")": -1, b"]": -1}


@dataclass(frozen=True)
class Edit:
    """What is written instead of bytes of the SQL."""

    start: int
    end: int
    text: bytes


def applied(text: bytes, edits: Iterable[Edit]) -> bytes:
    """The text with these changes; of two at one place, that of nothing is written first."""
    for each in sorted(edits, key=lambda each: (each.start, each.end), reverse=True):
        text = text[: each.start] + each.text + text[each.end :]
    return text


def code_between(text: bytes, start: int, end: int) -> list[re.Match[bytes]]:
    """The tokens between two places, without spaces and comments."""
    return [each for each in _TOKEN.finditer(text, start, end) if not _NO_CODE.fullmatch(each[0])]


def top_tokens(text: bytes, start: int) -> Iterator[re.Match[bytes]]:
    """The tokens from a place on that are in no brackets, up to the bracket that closes those around it."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if depth == 0:
            yield token
        depth += _DEPTHS.get(token[0], 0)
        if depth < 0:
            return


def spans(tree: Node, text: bytes) -> Iterator[tuple[int, int]]:
    """The bytes of each expression of a syntax tree whose place is known."""
    for node in walk(tree):
        place = int(node.get("query_location", len(text)))
        if place < len(text):
            yield place, place + int(node["query_location_length"])


def operator_place(node: Node, text: bytes) -> int | None:
    """The byte where the operator of an operation of a syntax tree is written, if that is known."""
    left, right = ([*spans(each["expression"], text)] for each in node["arguments"])
    if not left or not right:
        return None
    between = code_between(text, max(end for _, end in left), min(right)[0])
    name = node["function_name"].encode()
    return next((each.start() for each in between if each[0] == name), None)
