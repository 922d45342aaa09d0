"""The relations that a model's SQL names: where they stand in the text, and what they are called in DuckDB.

DuckDB folds the case of names, takes files for tables and lets no CTE read a table of its own
name. So every name that is a relation's, and not a CTE's, is replaced by one that is only ours.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.duck import quote, relation_name

# As DuckDB's scanner reads them: a name in quotes, or one without.
_NAME = re.compile(rb'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[^\s"\'(),;.]+')
_NO_NAMES: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Relation:
    """A relation by the name that a model gives it, and the bytes of the text where it stands.

    ``alias`` is what else has to name it there, so that the rest of the text finds it.
    """

    name: str
    start: int
    end: int
    alias: str | None


def with_relation_names(sql: str, relations: Sequence[Relation]) -> str:
    """The text with every relation by the name that it has in DuckDB, on the same lines."""
    text = sql.encode()
    for relation in sorted(relations, key=lambda each: -each.start):
        alias = f" AS {quote(relation.alias)}" if relation.alias is not None else ""
        replacement = (quote(relation_name(relation.name)) + alias).encode()
        text = text[: relation.start] + replacement + text[relation.end :]
    return text.decode()


def relations(sql: str, tree: object) -> list[Relation]:
    """All relations that a parsed SELECT reads, CTEs left out.

    Raises ValueError that says what is wrong with a name.
    """
    text = sql.encode()
    return [_relation(text, node) for node in _tables(tree, _NO_NAMES)]


def _relation(text: bytes, node: Mapping[str, Any]) -> Relation:
    path = node["qualified_name"]["path"]
    start = end = int(node["query_location"])
    for _ in path:
        match = _NAME.search(text, end)
        end = match.end() if match else end
    if len(path) > 1 and path[:-1] != ["reference"]:
        raise ValueError(f"names {'.'.join(path)}; name a table without its schema")
    return Relation(".".join(path), start, end, None if node["alias"] else path[-1])


def _tables(node: object, ctes: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """The nodes of tables below one; a CTE hides tables of its name, but not in its own query."""
    if isinstance(node, list):
        for child in node:
            yield from _tables(child, ctes)
    if not isinstance(node, dict):
        return
    if node.get("type") == "BASE_TABLE" and (
        len(node["qualified_name"]["path"]) > 1 or node["table_name"].lower() not in ctes
    ):
        yield node
    if node.get("type") == "RECURSIVE_CTE_NODE":
        ctes |= {node["cte_name"].lower()}
    for entry in (node.get("cte_map") or {}).get("map", []):
        yield from _tables(entry["value"], ctes)
        ctes |= {entry["key"].lower()}
    for name, child in node.items():
        if name != "cte_map":
            yield from _tables(child, ctes)
