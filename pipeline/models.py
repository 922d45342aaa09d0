"""Models: one ``.sql`` file for each warehouse table, and what can be read off it.

A model is a plain SELECT over source tables by their own names. Comment lines at its
head say the grain in words, and may say ``-- key: a, b``, ``-- kind: fact`` or
``dimension`` and ``-- cursor: table.column overlap`` for relations without xmin.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from pipeline import reference
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.messages import of_duckdb
from pipeline.source import Cursor

SCHEMA_FILE = "schema.sql"

_HEADER = re.compile(r"^[ \t]*--\s*(key|kind|cursor)\s*:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_NAME = r'"(?:[^"]|"")+"|[^\s."]+'
_CURSOR = re.compile(rf"(?P<table>{_NAME})\.(?P<column>{_NAME})(?:\s+(?P<overlap>.+))?")


@dataclass(frozen=True)
class Model:
    """A model as its file says it; ``key`` is empty where the table's own key is meant.

    ``reads`` are the tables named in it. ``row_wise`` models make each of their rows
    from one row of one table, so changed rows are all they need; ``carries`` says which of
    their columns are that table's own, one row of theirs for each of its rows at most.
    ``contract`` stands for what the model's warehouse table is like, once that is known.
    """

    name: str
    path: Path
    sql: str
    kind: Literal["fact", "dimension"]
    key: tuple[str, ...]
    cursors: Mapping[str, Cursor]
    reads: frozenset[str]
    row_wise: bool
    carries: Mapping[str, str]
    contract: str = ""

    @property
    def fingerprint(self) -> str:
        """Changes with what the model and its table say, not with comments and line breaks."""
        lines = [line.strip() for line in self.sql.splitlines() if not line.strip().startswith("--")]
        meaning = "\n".join([*filter(None, lines), self.kind, *self.key, self.contract])
        return hashlib.sha256(meaning.encode()).hexdigest()[:16]


def load(folder: Path) -> dict[str, Model]:
    """Read all models of a folder, in an order in which each follows what it reads.

    Raises ModelError for a folder without models, SQL that does not parse, a kind
    that neither name nor header tells, and models that read each other in a circle.
    """
    paths = sorted(path for path in folder.glob("*.sql") if path.name != SCHEMA_FILE)
    if not paths:
        raise ModelError(f"{folder}: no models here; set TOTESYS_TRANSFORMS to their folder")
    models = {path.stem: read(path) for path in paths}
    upstream = {name: model.reads & models.keys() for name, model in models.items()}
    try:
        order = list(TopologicalSorter(upstream).static_order())
    except CycleError as error:
        raise ModelError(f"{folder}: models read each other in a circle: {error.args[1]}") from None
    return {name: models[name] for name in order}


def source_tables(models: Mapping[str, Model]) -> set[str]:
    """The source tables that the models read."""
    return {name for model in models.values() for name in model.reads} - models.keys() - reference.NAMES


def looked_up(models: Mapping[str, Model]) -> set[str]:
    """The source tables whose present state some model needs, and not only what changed."""
    needing = {name: model for name, model in models.items() if not model.row_wise}
    return source_tables(needing) - models.keys()


def still_valid(models: Mapping[str, Model], loaded: Mapping[str, str]) -> dict[str, str]:
    """Those of the loaded fingerprints that say that changes will do.

    They do not where a model has changed, nor for what a changed model reads: it needs
    all rows of that.
    """
    pending = [name for name, model in models.items() if loaded.get(name) != model.fingerprint]
    outdated = set[str]()
    while pending:
        name = pending.pop()
        outdated.add(name)
        pending += (models[name].reads & models.keys()) - outdated
    return {name: loaded[name] for name in models.keys() - outdated}


def affected(models: Mapping[str, Model], changed: Collection[str]) -> dict[str, str]:
    """Source tables to read whole because models changed that work on changed rows, with the reason."""
    tables: dict[str, str] = {}
    for name in changed:
        pending = [name]
        while pending:
            model = models[pending.pop()]
            pending += model.reads & models.keys()
            if model.row_wise:
                reason = f"{name} or its model is new or changed"
                tables |= dict.fromkeys(model.reads - models.keys(), reason)
    return tables


def read(path: Path) -> Model:
    """Read one model from its file."""
    text = path.read_text(encoding="utf-8")
    tree = _parse(path, text)
    headers = [(name.lower(), value) for name, value in _HEADER.findall(text)]
    keys = [value for name, value in headers if name == "key"]
    kinds = [value for name, value in headers if name == "kind"]
    nodes = list(_walk(tree))
    local = {entry["key"].lower() for node in nodes for entry in node.get("cte_map", {}).get("map", [])}
    named = [node["table_name"] for node in nodes if node.get("type") == "BASE_TABLE"]
    reads = frozenset(name for name in named if name.lower() not in local)
    row_wise = len(reads) == 1 and len(named) == 1 + len(local) and not any(map(_combines_rows, nodes))
    return Model(
        name=path.stem,
        path=path,
        sql=text.rstrip().rstrip(";"),
        kind=_kind(path, kinds),
        key=tuple(part.strip().strip('"') for value in keys for part in value.split(",")),
        cursors=dict(_cursor(path, value) for name, value in headers if name == "cursor"),
        reads=reads,
        row_wise=row_wise,
        carries=_carried(tree["statements"][0]["node"]) if row_wise and not local else {},
    )


def error_in(path: Path, words: str) -> ModelError:
    """DuckDB's own words with file and line, in one line, and without values of rows."""
    line = re.search(r"LINE (\d+):", words)
    first = re.split(r"\n\s*\n|\nLINE ", of_duckdb(words))[0].replace("\n", " ")
    return ModelError(f"{path}{':' + line[1] if line else ''}: {first}")


def _parse(path: Path, text: str) -> dict[str, Any]:
    """The syntax tree, from DuckDB's own parser."""
    with session() as connection:
        row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    tree: dict[str, Any] = json.loads(str(row[0])) if row else {}
    if tree["error"]:
        at = text.encode()[: int(tree.get("position") or 0)].count(b"\n") + 1
        raise ModelError(f"{path}:{at}: {tree['error_message']}")
    if len(tree["statements"]) != 1:
        raise ModelError(f"{path}: holds {len(tree['statements'])} statements; a model is one SELECT")
    return tree


def _walk(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from _walk(child)


def _combines_rows(node: Mapping[str, Any]) -> bool:
    """Whether a node of the tree makes a row from more than one row, or leaves some out."""
    if node.get("type") in {"JOIN", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "TABLE_FUNCTION"}:
        return True
    if node.get("class") in {"WINDOW", "SUBQUERY"} or node.get("modifiers"):
        return True
    if node.get("aggregate_handling", "STANDARD_HANDLING") != "STANDARD_HANDLING":
        return True
    if node.get("group_expressions") or node.get("sample") or node.get("qualify"):
        return True
    return node.get("class") == "FUNCTION" and node.get("function_name") in _aggregates()


def _carried(select: Mapping[str, Any]) -> dict[str, str]:
    """The columns that a SELECT from one table hands on as they are: what it calls them, and their names."""
    if any(node.get("function_name") == "unnest" for node in _walk(select)):
        return {}
    columns = [node for node in select["select_list"] if node["type"] == "COLUMN_REF"]
    return {node["alias"] or node["column_names"][-1]: node["column_names"][-1] for node in columns}


@cache
def _aggregates() -> frozenset[str]:
    with session() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        ).fetchall()
    return frozenset(name for (name,) in rows)


def _kind(path: Path, headers: list[str]) -> Literal["fact", "dimension"]:
    said = headers[0].lower() if headers else None
    if said == "fact" or (said is None and path.stem.startswith("fact_")):
        return "fact"
    if said == "dimension" or (said is None and path.stem.startswith("dim_")):
        return "dimension"
    raise ModelError(f"{path}: say `-- kind: fact` or `-- kind: dimension` at its head")


def _cursor(path: Path, value: str) -> tuple[str, Cursor]:
    match = _CURSOR.fullmatch(value)
    if not match:
        raise ModelError(
            f"{path}: write `-- cursor: table.column overlap`, e.g. orders_view.changed_at 1 hour"
        )
    table, column = (_unquoted(match[part]) for part in ("table", "column"))
    return table, Cursor(column=column, overlap=match["overlap"])


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
