"""Let `x = ANY(list)` and `x <> ALL(list)` be NULL where the list is, as in Postgres.

DuckDB takes a list that is NULL for an empty one. A list of one NULL gives the result of Postgres.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator

import duckdb

from pipeline.models.edits import Edit, applied, code_between, top_tokens
from pipeline.models.syntax import Node, parsed, walk

_QUANTIFIED = re.compile(r"\b(any|all|some)\s*\(", re.IGNORECASE)


def may_quantify(sql: str) -> bool:
    """Whether a query may compare with all elements of a list."""
    return bool(_QUANTIFIED.search(sql))


def with_null_lists(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query with a list of one NULL instead of each such list that is NULL."""
    if not may_quantify(sql):
        return sql
    text = sql.encode()
    return applied(text, set(_edits(parsed(connection, sql), text))).decode()


def _edits(tree: object, text: bytes) -> Iterator[Edit]:
    for node in walk(tree):
        if node.get("subquery_type") != "ANY" or (given := _list(node)) is None:
            continue
        places = [each["query_location"] for each in walk(given) if "query_location" in each]
        *_, start = (each.end() for each in code_between(text, 0, min(places)) if each[0] == b"(")
        *_, closing = top_tokens(text, start)
        yield Edit(start, start, b"COALESCE(")
        yield Edit(closing.start(), closing.start(), b", [NULL])")


def _list(node: Node) -> Node | None:
    """The list of a comparison, which the parser replaces by a subquery; None for a written subquery."""
    items = node["subquery"]["node"].get("select_list") or [{}]
    if items[0].get("function_name") != "unnest" or items[0]["query_location"] < 2**63:
        return None
    given: Node = items[0]["arguments"][0]["expression"]
    return None if given["type"] == "ARRAY_CONSTRUCTOR" else given
