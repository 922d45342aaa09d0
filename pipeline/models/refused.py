"""SQL that DuckDB accepts, and that does something else than it says."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.models.syntax import Node, walk
from pipeline.words import line_of

# DuckDB's parser takes all for DECIMAL, unless they are quoted.
_DECIMAL = frozenset(["DECIMAL", "NUMERIC", "DEC"])


def refuse(path: Path, text: str, tree: object) -> None:
    """Raise ModelError with file and line for the first such part of a parsed SELECT."""
    written = text.encode()
    for node, problem in _problems(tree, written):
        line = line_of(written, int(node["query_location"]))
        raise ModelError(f"{path}:{line}: {problem}")


def _problems(tree: object, text: bytes) -> Iterator[tuple[Node, str]]:
    for node in walk(tree):
        if node.get("class") == "PARAMETER":
            yield node, "a model has no parameters such as ? or $1; write the value, or join a seed"
        elif node.get("class") == "TYPE" and (problem := _of_type(node, text)):
            yield node, problem
        elif node.get("function_name") == "string_agg" and _is_null(node["arguments"][1:]):
            yield node, "string_agg() without a separator is NULL in DuckDB; write '' for none"
        for item in node.get("select_list") or ():
            called = item["child"] if item.get("class") == "CAST" else item
            if called.get("function_name") == "generate_series":
                yield (
                    called,
                    "generate_series() is a list in SELECT; write unnest(generate_series(…)) for rows",
                )


def _is_null(arguments: list[Node]) -> bool:
    return [each["expression"].get("literal", {}).get("kind") for each in arguments] == ["NULL_LITERAL"]


def _of_type(node: Node, text: bytes) -> str | None:
    """What a type means in DuckDB and not in Postgres."""
    start = int(node["query_location"])
    written = " ".join(text[start : start + int(node["query_location_length"])].decode().lower().split())
    name = node["type_name"].upper()
    if name in _DECIMAL and not node["children"]:
        return "numeric without digits rounds to 3 decimals in DuckDB; write them, such as numeric(38, 10)"
    if name == "FLOAT" and written.startswith("float"):
        return "float has 4 bytes in DuckDB, and 8 in Postgres; write double precision, or real"
    if name == "VARCHAR" and node["children"]:
        return f"{written} does not cut a longer text in DuckDB; write left(x, n), or text"
    if name == "BIT":
        return f"{written} of a number takes other bits in DuckDB; make a view with it in the source"
    if written in {"char", "character"}:
        return f"{written} is one character in Postgres, and any text in DuckDB; write left(x, 1), or text"
    return None
