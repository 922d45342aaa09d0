"""SQL that DuckDB accepts, and that does something else than it says."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.models.unstable import Node, walk
from pipeline.words import line_of

# DuckDB's parser takes all for DECIMAL, unless they are quoted.
_DECIMAL = frozenset(["DECIMAL", "NUMERIC", "DEC"])


def refuse(path: Path, text: str, tree: object) -> None:
    """Raise ModelError with file and line for the first such part of a parsed SELECT."""
    for node, problem in _problems(tree):
        line = line_of(text.encode(), int(node["query_location"]))
        raise ModelError(f"{path}:{line}: {problem}")


def _problems(tree: object) -> Iterator[tuple[Node, str]]:
    for node in walk(tree):
        if node.get("class") == "PARAMETER":
            yield node, "a model has no parameters such as ? or $1; write the value, or join a seed"
        elif node.get("class") == "TYPE" and node["type_name"].upper() in _DECIMAL and not node["children"]:
            yield (
                node,
                "numeric without digits rounds to 3 decimals in DuckDB; write them, such as numeric(38, 10)",
            )
