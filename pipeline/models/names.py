"""Find the relations in a model's SQL, and replace their names by those that they have in DuckDB.

DuckDB ignores the case of names, reads files as tables and does not let a CTE read a table of its own name.
So the name of each relation that is not a CTE is replaced by a unique one.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.duck import quote, relation_name
from pipeline.errors import ModelError
from pipeline.models import reference_tables
from pipeline.source.table_names import spelled
from pipeline.words import line_of

# A quoted or an unquoted name, as DuckDB's scanner reads it, after comments.
_NAME = re.compile(
    rb'(?:--[^\n]*|/\*.*?\*/|[\s.])*("(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[\w$\x80-\xff]+)', re.DOTALL
)
_NO_NAMES: frozenset[str] = frozenset()
# What the names of the views, tables and indexes beside a table of the warehouse end in.
_BESIDE_FACTS = ("current", "history", "version", "begun", "ended")
_BESIDE_OTHERS = ("history", "version", "ended")


@dataclass(frozen=True)
class Relation:
    """A relation in a model's SQL: its name, and the range of bytes that the name takes.

    ``name`` is the text that stands for a table of the source (pipeline.source.table_names), or the name of a
    model. ``alias`` is the alias that the replaced name needs, because other parts of the SQL refer to it.
    ``path`` is the name as its parts.
    """

    name: str
    start: int
    end: int
    alias: str | None
    path: tuple[str, ...] = ()


def beside(name: str, kind: str) -> set[str]:
    """The names that the pipeline gives to views, tables and indexes beside a model's table."""
    return {f"{name}_{suffix}" for suffix in (_BESIDE_FACTS if kind == "fact" else _BESIDE_OTHERS)}


def with_relation_names(sql: str, relations: Sequence[Relation]) -> str:
    """The SQL with the names that relations have in DuckDB; lines stay the same."""
    text = sql.encode()
    for relation in sorted(relations, key=lambda each: -each.start):
        alias = f" AS {quote(relation.alias)}" if relation.alias is not None else ""
        replacement = (quote(relation_name(relation.name)) + alias).encode()
        text = text[: relation.start] + replacement + text[relation.end :]
    return text.decode()


def relations(path: Path, sql: str, tree: object) -> list[Relation]:
    """All relations that a parsed SELECT reads, except CTEs.

    Raises ModelError with file and line for an invalid name.
    """
    text = sql.encode()
    return [_relation(path, text, node) for node in _tables(tree, _NO_NAMES)]


def of_models(
    path: Path, sql: str, found: Iterable[Relation], models: Collection[str]
) -> tuple[Relation, ...]:
    """The relations, with the names of models where they are some of these; those are not quoted.

    Raises ModelError with file and line if a model has the name of another schema's table.
    """
    names = {spelled(name): name for name in models}
    named = tuple(replace(each, name=names.get(each.name, each.name)) for each in found)
    for each in named:
        if len(each.path) > 1 and each.name in models:
            raise ModelError(
                f"{path}:{line_of(sql.encode(), each.start)}: reads {each.path[-1]} of the source's schema"
                f" {each.path[0]}, and a model has the name {each.name}; rename the model"
            )
    return named


def _relation(path: Path, text: bytes, node: Mapping[str, Any]) -> Relation:
    parts = node["qualified_name"]["path"]
    start = end = int(node["query_location"])
    if start >= len(text):  # DuckDB does not say where these have their table
        raise ModelError(
            f"{path}: reads {'.'.join(parts)} by TABLE, DESCRIBE or SUMMARIZE, which no model can;"
            " write a SELECT"
        )
    for _ in parts:
        match = _NAME.match(text, end)
        end = match.end() if match else end
    if problem := _problem(parts):
        raise ModelError(f"{path}:{line_of(text, start)}: names {'.'.join(parts)}{problem}")
    return Relation(_name_of(parts), start, end, None if node["alias"] else parts[-1], tuple(parts))


def _problem(parts: Sequence[str]) -> str | None:
    """Why no model can read a relation whose name has these parts, and what to do."""
    schema, *tables = parts
    if len(tables) > 1:
        return "; name a table of the source as schema.table, without its database"
    if tables and schema == reference_tables.SCHEMA and ".".join(parts) not in reference_tables.QUALIFIED:
        known = " and ".join(sorted(reference_tables.QUALIFIED))
        return (
            f"; that schema is the pipeline's own, with {known}: in the source, give a schema of this name"
            " another one"
        )
    if tables and (schema == "information_schema" or schema.startswith("pg_")):
        return ", a table of Postgres itself; read a view of it in another schema"
    return None


def _name_of(parts: Sequence[str]) -> str:
    """The name of a relation, from its parts."""
    if len(parts) == 1:
        return spelled(parts[0])
    schema, table = parts
    return f"{schema}.{table}" if schema == reference_tables.SCHEMA else spelled(table, schema)


def _tables(node: object, ctes: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """The nodes of tables in a syntax tree; a CTE hides tables of its name, but not in its own query."""
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
