"""Parse and plan SQL by DuckDB itself, walk its trees, and say what is wrong with the syntax."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import duckdb

from pipeline.duck import quote
from pipeline.models.duckdb_errors import better_words

Node = Mapping[str, Any]

TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\w+|.""", re.DOTALL)
# How many words before the error are tried.
_MOST = 8
# Words that begin or join what a SELECT consists of, which hardly are names.
_CLAUSES = frozenset("and as by case from having join not on or select then union where with".split())  # noqa: SIM905


def parsed(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    """The syntax tree of a text, or the parser's error."""
    row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    tree: dict[str, Any] = json.loads(str(row[0])) if row else {}
    return tree


def planned(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    """The plans of a text before they are optimized, or the planner's error."""
    row = connection.execute("SELECT json_serialize_plan(?::VARCHAR, optimize := false)", [text]).fetchone()
    found: dict[str, Any] = read_json(str(row[0])) if row and row[0] else {"error": True}  # '' with B'1'
    return found


def read_json(text: str) -> Any:  # noqa: ANN401
    """What DuckDB writes as JSON, which spells NaN in its own way."""
    return json.loads(text.replace('"value":NAN}', '"value":NaN}'))


def explained(connection: duckdb.DuckDBPyConnection, text: str, error: dict[str, Any]) -> tuple[int, str]:
    """The byte of the text where its error is, what is wrong, and what to do.

    If it is enough to quote a word before the error of the parser, it is that word: a keyword.
    """
    place, words = _place(error), str(error["error_message"])
    if better := better_words(words):
        return place, better
    for start, word in _keywords_before(connection, text, place):
        now = parsed(connection, text[:start] + quote(word) + text[start + len(word) :])
        if not now["error"] or _place(now) > place + 2:
            remedy = f"{word} is a keyword: quote it where it is a name, {quote(word)}"
            return len(text[:start].encode()), f"{words}; {remedy}"
    return place, f"{words}; correct the SQL here or just before"


def _place(error: dict[str, Any]) -> int:
    return int(error.get("position") or 0)


def _keywords_before(
    connection: duckdb.DuckDBPyConnection, text: str, place: int
) -> Iterator[tuple[int, str]]:
    """The keywords up to a byte of the text that could be names, the last first, each with its start."""
    rows = connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
    keywords = {name for (name,) in rows} - _CLAUSES
    end = len(text.encode()[:place].decode(errors="ignore"))
    found = [match for match in TOKEN.finditer(text) if match.start() <= end and match[0][0].isalpha()]
    for match in reversed(found[-_MOST:]):
        if match[0].lower() in keywords and text[: match.start()].rstrip()[-1:] != ".":
            yield match.start(), match[0]


def walk(node: object) -> Iterator[Node]:
    """All objects in a JSON value, each before those in it."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def with_selects(node: object, select: int = 0) -> Iterator[tuple[Node, int]]:
    """All objects of a syntax tree, each with a number of the SELECT that it belongs to."""
    if isinstance(node, list):
        for child in node:
            yield from with_selects(child, select)
    if isinstance(node, dict):
        yield node, select
        within = id(node) if node.get("type") == "SELECT_NODE" else select
        for child in node.values():
            yield from with_selects(child, within)


def shape(node: Node) -> str:
    """What equal expressions of a syntax tree have in common, wherever they are."""
    return str(without(node, {"query_location", "query_location_length", "alias"})).lower()


def without(node: object, names: Collection[str]) -> object:
    """A JSON value without these names of its objects, such as the places of their text."""
    if isinstance(node, dict):
        return {name: without(value, names) for name, value in node.items() if name not in names}
    return [without(value, names) for value in node] if isinstance(node, list) else node


def with_parents(node: object, parent: Node) -> Iterator[tuple[Node, Node]]:
    """All expressions and operators of a plan, each with the one that it belongs to."""
    if isinstance(node, list):
        for child in node:
            yield from with_parents(child, parent)
    if isinstance(node, dict):
        owns = "expression_class" in node
        if owns:
            yield node, parent
        for child in node.values():
            yield from with_parents(child, node if owns else parent)


def called(expression: Node) -> str:
    """The function that an expression calls, or else its type."""
    return str(expression["qname"]["path"][-1] if expression.get("qname") else expression["type"])


def type_of(node: Node) -> Node:
    """The type of an expression; empty if it has none."""
    return node.get("return_type") or {}


def known_type(node: Node) -> Node:
    """The type of an expression, also of a constant; empty if it has none."""
    value = node.get("value")
    return type_of(node) or (value["type"] if isinstance(value, dict) else {})


def type_name(node: Node) -> str:
    """DuckDB's name of the type of an expression, also of a constant; empty if it has none."""
    return str(known_type(node).get("id") or "")


def uncast(node: Node) -> Node:
    """What a cast is applied to; any other expression as it is."""
    operand: Node = node["children"][0] if node.get("type") == "OPERATOR_CAST" else node
    return operand
