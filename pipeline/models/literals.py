"""Literals that are compared with a column whose type is text in DuckDB, and not in Postgres.

Those that are compared with an enum are cast to its type. Others have to be spelled as Postgres prints them.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from uuid import UUID

import duckdb

from pipeline.columns import Column
from pipeline.duck import literal
from pipeline.models.analysis import plan_of
from pipeline.models.edits import Edit, applied
from pipeline.models.syntax import Node
from pipeline.models.value_flow import name_of
from pipeline.words import line_of

# Functions whose operands have one type.
_COMPARING = frozenset({"greatest", "least"})
_UUID = re.compile(r"\{?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\}?", re.IGNORECASE)
_BYTEA = re.compile(r"\\x([0-9a-f]{2})*", re.IGNORECASE)
# The planner applies these to what is compared with a column of a marked type.
_OF_COLLATIONS = frozenset({"nfc_normalize", "strip_accents"})
_WRITTEN_CAST = re.compile(r"::|(try_)?cast\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Literal:
    """A literal text, its bytes in the SQL, and the column of an enum that it has to have the type of.

    ``is_compared``: it is compared with the column, not an alternative result, as in CASE.
    """

    start: int
    end: int
    value: str
    column: str
    labels: tuple[str, ...]
    is_compared: bool


def with_labels(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with each label cast to the enum that it is compared with."""
    text = sql.encode()
    labels = {each.start: each for each in _literals(connection, sql) if each.value in each.labels}
    edits = []
    for each in labels.values():
        written = literal(each.value)
        if text[each.start : each.end] == written.encode():
            cast = f"CAST({written} AS ENUM({', '.join(map(literal, each.labels))}))"
            edits.append(Edit(each.start, each.end, cast.encode()))
    return applied(text, edits).decode()


def unknown_labels(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[str]:
    """A message for each comparison of an enum with a text that is none of its labels."""
    for each in _literals(connection, sql):
        if each.is_compared and each.value not in each.labels:
            yield (
                f"compares {each.column} with {literal(each.value)}, which is no label of its enum"
                f" ({', '.join(map(literal, each.labels))}); correct it, or write CAST({each.column} AS text)"
                " to compare its text"
            )


def misspelled(plan: Node, sql: str, columns: Collection[Column]) -> Iterator[tuple[int | None, str]]:
    """The line and a message for each literal that is compared, and that Postgres prints otherwise."""
    types = {each.type for each in columns}
    padded = {each.name.lower() for each in columns if each.type.startswith("character(")}
    for is_compared, operands in _operands(plan):
        as_uuids = any((each.get("return_type") or {}).get("id") == "UUID" for each in operands)
        for constant in filter(None, map(_text, operands if is_compared and not as_uuids else ())):
            value, place = str(constant["value"]["value"]), constant["query_location"]
            found = {each: _SPELLINGS[each](value) for each in sorted(types & _SPELLINGS.keys())}
            if padded & {str(each.get("alias")).lower() for each in operands}:
                found["char(n)"] = value.rstrip(" ")
            line = line_of(sql.encode(), place) if place < len(sql.encode()) else None
            for type_, spelled in found.items():
                if spelled not in {None, value}:
                    words = f"is compared as text, and Postgres prints this {type_} otherwise"
                    yield line, f"{literal(value)} {words}; write {literal(str(spelled))}"


def _printed_uuid(value: str) -> str | None:
    return str(UUID(value)) if _UUID.fullmatch(value) else None


def _printed_bytea(value: str) -> str | None:
    return value.lower() if _BYTEA.fullmatch(value) else None


def _printed_inet(value: str) -> str | None:
    with suppress(ValueError):
        address = ip_interface(value)
        is_host = address.network.prefixlen == address.max_prefixlen
        return str(address.ip) if is_host else str(address)
    return None


_SPELLINGS: Mapping[str, Callable[[str], str | None]] = {
    "uuid": _printed_uuid,
    "bytea": _printed_bytea,
    "inet": _printed_inet,
}


def _literals(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[_Literal]:
    text = sql.encode()
    for is_compared, operands in _operands(plan_of(connection, sql)):
        enum = next(filter(None, (_enum(each, text) for each in operands)), None)
        if enum is None:
            continue
        for constant in filter(None, map(_text, operands)):
            start = constant["query_location"]
            yield _Literal(
                start=start,
                end=start + constant["query_location_length"],
                value=str(constant["value"]["value"]),
                column=str(enum["alias"] or "an enum"),
                labels=tuple(enum["return_type"]["type_info"]["values"]),
                is_compared=is_compared,
            )


def _operands(node: object) -> Iterator[tuple[bool, list[Node]]]:
    """Lists of expressions that DuckDB casts to one type, and whether they are compared."""
    if isinstance(node, list):
        for child in node:
            yield from _operands(child)
    if isinstance(node, dict):
        kind, path = str(node.get("type")), (node.get("qname") or {}).get("path", [""])
        if kind == "CASE_EXPR":
            yield False, [*(check["then_expr"] for check in node["case_checks"]), node["else_expr"]]
        elif kind == "OPERATOR_COALESCE":
            yield False, node.get("children", [])
        elif kind.startswith("COMPARE_") or path[-1] in _COMPARING:
            yield True, node.get("children", [])
        for child in node.values():
            yield from _operands(child)


def _enum(node: Node, text: bytes) -> Node | None:
    """The enum in an expression, even if the planner casts it to text; None if the query itself casts it."""
    if (node.get("return_type") or {}).get("id") == "ENUM":
        return node
    if node.get("type") != "OPERATOR_CAST" or is_written(node, text):
        return None
    return _enum(node["children"][0], text)


def is_written(cast: Node, text: bytes) -> bool:
    """Whether a cast is written in the query, and not added by the planner."""
    return bool(_WRITTEN_CAST.match(text[cast["query_location"] :][:10].decode(errors="replace")))


def _text(node: Node) -> Node | None:
    """The literal text in an expression, if it is one."""
    if node.get("type") == "OPERATOR_CAST" or name_of(node) in _OF_COLLATIONS:
        return _text(node["children"][0])
    value = node.get("value")
    if not isinstance(value, dict) or value.get("is_null"):
        return None
    return node if isinstance(value.get("value"), str) and value["type"]["id"] == "VARCHAR" else None
