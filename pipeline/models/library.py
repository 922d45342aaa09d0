"""Models: one ``.sql`` file for each warehouse table, and what can be read off it.

A model is a plain SELECT over source tables, and other models, by their own names. The comment
lines at its head say the grain in words, and may hold the headers that ``Headers`` names.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.messages import of_duckdb
from pipeline.models import reference, seeds
from pipeline.models.names import Relation, relations, with_relation_names
from pipeline.models.personal import Declared
from pipeline.models.seeds import Seed
from pipeline.models.unstable import in_text, walk
from pipeline.source.cursors import Cursor

SCHEMA_FILE = "schema.sql"
Kind = Literal["fact", "dimension", "bridge"]

_HEADER = re.compile(r"--\s*([A-Za-z_]+)\s*:\s*(.*?)\s*")
_PREFIXES: dict[str, Kind] = {"fact_": "fact", "dim_": "dimension", "bridge_": "bridge"}
_NAME = r'"(?:[^"]|"")+"|[^\s."]+'
_PERSONAL = re.compile(rf"(?:(?P<table>{_NAME})\.)?(?P<column>{_NAME})")
_CURSOR = re.compile(rf"(?P<table>{_NAME})\.(?P<column>{_NAME})(?:\s+(?P<overlap>.+))?")
# `kye` is meant to be `key`, `note` is nothing.
_LIKE = 0.66
_HEADERS = {
    "key": "-- key: column[, …]",
    "kind": "-- kind: fact, dimension or bridge",
    "cursor": "-- cursor: table.column [overlap]",
    "untracked": "-- untracked: column[, …]",
    "deletes": "-- deletes: ignore",
    "reads": "-- reads: changes",
    "unstable": "-- unstable: allowed",
    "personal": "-- personal: column[, table.column, …], or -- personal: hash column[, …]",
    "max_deleted_share": "-- max_deleted_share: 0.5, or any share from 0 to 1",
}


@dataclass(frozen=True)
class Model:
    """A model as its file says it; ``key`` is empty where the table's own key is meant.

    ``reads`` are the relations named in it. ``untracked`` columns make no version by themselves.
    With ``keeps_deleted`` rows that leave the result stay current. With ``sees_changes`` the model
    reads the changed rows of a batch only, as a result that can only grow may. ``unstable`` says that
    its author knows that it may yield other rows of the same data. Where ``max_deleted_share`` is not None
    no run deletes more than that share of its table without being told to. ``contract`` stands for what the
    model's warehouse table is like, ``upstream`` for the models that it reads, once they are known;
    ``seeds`` are those that it reads. ``changing`` says what in it yields something else each time.
    ``names`` are the columns that it writes, in lower case, where others come by a ``*``; else None.
    ``personal`` are columns of its source tables that say something of a person.
    """

    name: str
    path: Path
    sql: str
    relations: tuple[Relation, ...]
    kind: Kind
    key: tuple[str, ...]
    cursors: Mapping[str, Cursor]
    untracked: tuple[str, ...] = ()
    keeps_deleted: bool = False
    sees_changes: bool = False
    unstable: bool = False
    max_deleted_share: float | None = None
    contract: str = ""
    upstream: tuple[str, ...] = ()
    seeds: Mapping[str, Seed] = field(default_factory=dict)
    changing: tuple[str, ...] = ()
    names: frozenset[str] | None = None
    personal: tuple[Declared, ...] = ()

    @property
    def reads(self) -> frozenset[str]:
        """The source tables, models, seeds and reference tables that it names."""
        return frozenset(relation.name for relation in self.relations)

    @property
    def bound_sql(self) -> str:
        """Its SQL with relations by the names that they have in DuckDB."""
        return with_relation_names(self.sql, self.relations)

    @property
    def fingerprint(self) -> str:
        """Changes with what the model, its table and the models it reads say, not with comments."""
        lines = [line.strip() for line in self.sql.splitlines() if not line.strip().startswith("--")]
        headers = [*self.key, "", *self.untracked, str(self.keeps_deleted), str(self.sees_changes)]
        meaning = "\n".join([*filter(None, lines), self.kind, *headers, self.contract, *self.upstream])
        return hashlib.sha256(meaning.encode()).hexdigest()[:16]


def load(folder: Path) -> dict[str, Model]:
    """Read all models of a folder, in an order in which each follows what it reads.

    Raises ModelError for a folder without models, a model in a subfolder, SQL that does not parse, a
    kind that neither name nor header tells, models that read each other in a circle, and bad seeds.
    """
    paths = sorted(path for path in folder.glob("*.sql") if path.name != SCHEMA_FILE)
    if not paths:
        raise ModelError(f"{folder}: no models here; set TOTESYS_TRANSFORMS to their folder")
    if below := sorted(folder.glob("*/**/*.sql")):
        raise ModelError(f"{below[0]}: is in a subfolder; models lie directly in {folder}")
    models = _with_seeds({path.stem: read(path) for path in paths}, seeds.load(folder))
    reads = {name: model.reads & models.keys() for name, model in models.items()}
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError as error:
        raise ModelError(f"{folder}: models read each other in a circle: {error.args[1]}") from None
    return {name: models[name] for name in order}


def _with_seeds(models: Mapping[str, Model], known: Mapping[str, Seed]) -> dict[str, Model]:
    """The models, with the seeds that they read."""
    for name, seed in known.items():
        if name in models or name in reference.NAMES:
            other = models[name].path if name in models else f"the reference table {name}"
            raise ModelError(f"{seed.path}: has the name of {other}; rename one")
    return {
        name: replace(model, seeds={seed: known[seed] for seed in sorted(model.reads & known.keys())})
        for name, model in models.items()
    }


def read_seeds(models: Mapping[str, Model]) -> dict[str, Seed]:
    """The seeds that the models read."""
    return {name: seed for model in models.values() for name, seed in model.seeds.items()}


def with_meaning(models: Mapping[str, Model], contracts: Mapping[str, str]) -> dict[str, Model]:
    """The models, with what their tables take and what the models that they read mean.

    A column that takes more than before makes rows fit that did not, so it counts as a change.
    """
    known: dict[str, Model] = {}
    for name, model in models.items():
        upstream = tuple(known[other].fingerprint for other in sorted(model.reads & known.keys()))
        known[name] = replace(model, contract=contracts.get(name, ""), upstream=upstream)
    return known


def closure(models: Mapping[str, Model], name: str) -> dict[str, Model]:
    """A model with all models below it, each after those that it reads."""
    needed = {name}
    for other in reversed(list(models)):
        if other in needed:
            needed |= models[other].reads & models.keys()
    return {other: model for other, model in models.items() if other in needed}


def source_tables(models: Mapping[str, Model]) -> set[str]:
    """The source tables that the models read; a reference table's name may be one."""
    named = {name for model in models.values() for name in model.reads - model.seeds.keys()}
    return named - models.keys() - reference.QUALIFIED


def tables_read(models: Mapping[str, Model]) -> set[str]:
    """What a batch holds for the models: source tables and seeds."""
    return source_tables(models) | read_seeds(models).keys()


def read(path: Path) -> Model:
    """Read one model from its file."""
    text = path.read_text(encoding="utf-8")
    tree = _parse(path, text)
    try:
        named = relations(text, tree)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from None
    headers = _headers(path, text)
    return Model(
        name=path.stem,
        path=path,
        sql=text.rstrip().rstrip(";"),
        relations=tuple(named),
        kind=_kind(path, headers.get("kind", [])),
        key=_names(headers.get("key", [])),
        cursors=_cursors(path, headers.get("cursor", [])),
        untracked=_names(headers.get("untracked", [])),
        keeps_deleted=_flag(path, headers, "deletes", "ignore"),
        sees_changes=_flag(path, headers, "reads", "changes"),
        unstable=_flag(path, headers, "unstable", "allowed"),
        max_deleted_share=_share(path, headers.get("max_deleted_share", [])),
        changing=tuple(in_text(tree)),
        names=_written(tree),
        personal=tuple(_personal(path, headers.get("personal", []))),
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


def _written(tree: object) -> frozenset[str] | None:
    """The columns that a SELECT writes, or None where it writes all of them."""
    nodes = list(walk(tree))
    if not any(node.get("class") == "STAR" for node in nodes):
        return None
    aliases = {node["alias"] for node in nodes if node.get("alias")}
    columns = {node["column_names"][-1] for node in nodes if node.get("class") == "COLUMN_REF"}
    return frozenset(name.lower() for name in aliases | columns)


def _headers(path: Path, text: str) -> dict[str, list[str]]:
    """The headers among the comment lines at the head of a file; other words with a colon are prose."""
    headers: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("--"):
            break
        if match := _HEADER.fullmatch(line.strip()):
            name = match[1].lower()
            if name in _HEADERS:
                headers.setdefault(name, []).append(match[2])
            elif near := difflib.get_close_matches(name, _HEADERS, 1, _LIKE):
                raise ModelError(
                    f"{path}:{number}: there is no header {match[1]}; write `{_HEADERS[near[0]]}`"
                )
    return headers


def _flag(path: Path, headers: Mapping[str, list[str]], name: str, value: str) -> bool:
    """Whether a header that has only one value is there."""
    for given in headers.get(name, []):
        if given.lower() != value:
            raise ModelError(f"{path}: {name} is {given!r}; write `{_HEADERS[name]}`")
    return name in headers


def _share(path: Path, values: list[str]) -> float | None:
    """A number from 0 to 1, where a header says one."""
    for given in values:
        try:
            share = float(given)
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            raise ModelError(
                f"{path}: max_deleted_share is {given!r}; write `{_HEADERS['max_deleted_share']}`"
            )
        return share
    return None


def _names(values: list[str]) -> tuple[str, ...]:
    return tuple(part.strip().strip('"') for value in values for part in value.split(","))


def _kind(path: Path, headers: list[str]) -> Kind:
    given = headers[0].lower() if headers else None
    for prefix, kind in _PREFIXES.items():
        if given == kind or (given is None and path.stem.startswith(prefix)):
            return kind
    raise ModelError(f"{path}: no kind; write `{_HEADERS['kind']}` at its head")


def _cursors(path: Path, values: list[str]) -> dict[str, Cursor]:
    cursors = {}
    for value in values:
        match = _CURSOR.fullmatch(value)
        if not match:
            raise ModelError(
                f"{path}: write `{_HEADERS['cursor']}`, e.g. `-- cursor: orders_view.changed_at 1 hour`"
            )
        table, column = (_unquoted(match[part]) for part in ("table", "column"))
        cursors[table] = Cursor(column=column, overlap=match["overlap"])
    return cursors


def _personal(path: Path, values: list[str]) -> Iterator[Declared]:
    for value in values:
        hashed = re.match(r"hash\s+(?=[^\s,])", value)
        for part in value[hashed.end() if hashed else 0 :].split(","):
            match = _PERSONAL.fullmatch(part.strip())
            if not match:
                raise ModelError(f"{path}: write `{_HEADERS['personal']}`")
            table = _unquoted(match["table"]) if match["table"] else None
            yield Declared(_unquoted(match["column"]), table, bool(hashed))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
