"""Models: one ``.sql`` file for each warehouse table, and what its text defines.

A model is a plain SELECT over source tables, and other models, by their own names. The comment lines at its
head state the grain, and may hold headers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb

from pipeline.duck import session
from pipeline.errors import ModelError, all_mistakes
from pipeline.models import checks, headers, marts, reference_tables, seeds, syntax
from pipeline.models.canonical import changed_meanings, with_canonical_names
from pipeline.models.headers import Headers, Kind
from pipeline.models.names import Relation, beside, of_models, relations, with_relation_names
from pipeline.models.personal import Declared
from pipeline.models.refused import refuse
from pipeline.models.seeds import Seed
from pipeline.models.syntax import walk, without
from pipeline.models.unstable import in_text
from pipeline.source.cursors import Cursor
from pipeline.source.table_names import spelled
from pipeline.words import line_of, text_of

SCHEMA_FILE = "schema.sql"
# The start of each fingerprint: another DuckDB builds other syntax trees. The number after it is raised if
# this module makes other trees of the same model.
FINGERPRINT = f"duckdb-{duckdb.__version__}/2:"


@dataclass(frozen=True)
class Model:
    """A model as its file defines it.

    ``key``: the business key; empty for the table's primary key. ``untracked``: columns whose changes make no
    new version. ``keeps_deleted``: rows that leave the result stay current. ``appends``: no row leaves its
    result, so it reads only the changed rows of a batch. ``unstable``: it may yield different rows for the
    same data. ``max_deleted_share``: the share of its table that a run may delete, if set. ``contract``: a
    digest of its table's contract, and ``upstream`` the fingerprints of the models that it reads; both are
    set by ``with_meaning``. ``seeds``: the seeds that it reads. ``changing``: why it yields other values each
    time. ``names``: the columns that it names, in lower case, if others come by a ``*``; else None.
    ``personal``: its source's personal columns. ``tree``: its syntax tree as JSON, without positions in the
    file and the names of CTEs and aliases. ``renamed``: old and new names. ``lines``: its columns' lines,
    ``headers``: what they are, as it is written.
    """

    name: str
    path: Path
    sql: str
    relations: tuple[Relation, ...]
    kind: Kind
    key: tuple[str, ...]
    cursors: Mapping[str, Cursor] = field(hash=False)
    untracked: tuple[str, ...] = ()
    keeps_deleted: bool = False
    appends: bool = False
    unstable: bool = False
    max_deleted_share: float | None = None
    contract: str = ""
    upstream: tuple[str, ...] = ()
    seeds: Mapping[str, Seed] = field(default_factory=dict, hash=False)
    changing: tuple[str, ...] = ()
    names: frozenset[str] | None = None
    personal: tuple[Declared, ...] = ()
    tree: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict, hash=False)
    headers: Headers = field(default_factory=dict, hash=False)

    @property
    def reads(self) -> frozenset[str]:
        """The names of the source tables, models, seeds and reference tables that it reads."""
        return frozenset(relation.name for relation in self.relations)

    @property
    def keeps_rows(self) -> bool:
        """Whether its table keeps rows that have left its result, and so are in no later batch."""
        return self.keeps_deleted or self.appends

    def at(self, column: str) -> str:
        """The file and, if the SELECT names the column, its line."""
        return f"{self.path}:{self.lines[column]}" if column in self.lines else str(self.path)

    def at_header(self, name: str, value: str) -> str:
        """The file and the line of its header of this name with this value, if there is one."""
        return headers.place(self.path, self.headers, name, value)

    @property
    def meaning(self) -> str:
        """What its rows are, as the first comment lines say; empty if they do not."""
        return headers.meaning(self.sql)

    @property
    def bound_sql(self) -> str:
        """Its SQL with the names that relations have in DuckDB."""
        return with_relation_names(self.sql, self.relations)

    @property
    def fingerprint(self) -> str:
        """A digest of the model, its table and the models that it reads.

        Layout, comments and the names of CTEs and of table aliases make no difference.
        """
        options = [*self.key, "", *self.untracked, str(self.keeps_deleted), str(self.appends)]
        below = [*self.upstream, *changed_meanings(self.tree)]
        meaning = "\n".join([self.tree, self.kind, *options, self.contract, *below])
        return FINGERPRINT + hashlib.sha256(meaning.encode()).hexdigest()[:16]


def load(folder: Path, instead: Path | None = None) -> dict[str, Model]:
    """Read all models of a folder, each after those that it reads; ``instead`` replaces one or is new.

    Raises ModelError for a folder without models, a model in a subfolder, a file that its name's end leaves
    out, SQL that does not parse, a model without a kind, models that read each other in a circle, and an
    invalid seed.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in {".sql", ".csv"} and path.suffix != path.suffix.lower():
            raise ModelError(f"{path}: its name has to end in {path.suffix.lower()}; rename it")
    paths = sorted(path for path in folder.glob("*.sql") if path.name != SCHEMA_FILE)
    if not paths:
        raise ModelError(f"{folder}: no models here; set TOTESYS_TRANSFORMS to their folder")
    others = {folder / checks.FOLDER, folder / marts.FOLDER}
    if below := sorted(path for path in folder.glob("*/**/*.sql") if path.parent not in others):
        raise ModelError(f"{below[0]}: is in a subfolder; models lie directly in {folder}")
    chosen = {path.stem: path for path in [*paths, *([instead] if instead else [])]}
    read_models = dict[str, Model]()
    with all_mistakes() as mistake:
        for name, path in chosen.items():
            with mistake():
                read_models[name] = read(path)
        for name, model in read_models.items():
            for taken in beside(name, model.kind) & read_models.keys():
                with mistake():
                    raise ModelError(f"{read_models[taken].path}: its name is made beside {name}; rename one")
            with mistake():
                found = of_models(model.path, model.sql, model.relations, read_models)
                read_models[name] = replace(model, relations=found)
    return ordered(_with_seeds(read_models, seeds.load(folder)))


def ordered(models: Mapping[str, Model]) -> dict[str, Model]:
    """The models, each after those that it reads; raises ModelError if they read each other in a circle."""
    reads = {name: model.reads & models.keys() for name, model in models.items()}
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError as error:
        first, *others = reversed(error.args[1])
        circle = ", which reads ".join(others)
        raise ModelError(f"{models[first].path}: reads {circle}: a circle; remove one reference") from None
    return {name: models[name] for name in order}


def _with_seeds(models: Mapping[str, Model], all_seeds: Mapping[str, Seed]) -> dict[str, Model]:
    """The models with the seeds that they read."""
    paths = {spelled(name): model.path for name, model in models.items()}
    for name, seed in all_seeds.items():
        if name in paths or name in reference_tables.NAMES:
            other = paths.get(name) or f"the reference table {name}"
            raise ModelError(f"{seed.path}: has the name of {other}; rename one")
    return {
        name: replace(model, seeds={seed: all_seeds[seed] for seed in sorted(model.reads & all_seeds.keys())})
        for name, model in models.items()
    }


def read_seeds(models: Mapping[str, Model]) -> dict[str, Seed]:
    """The seeds that the models read."""
    return {name: seed for model in models.values() for name, seed in model.seeds.items()}


def with_meaning(models: Mapping[str, Model], contracts: Mapping[str, str]) -> dict[str, Model]:
    """The models with the digests of their tables' contracts and of the models that they read.

    So a column of a wider type counts as a change of the model: rows that were rejected may fit now.
    """
    complete: dict[str, Model] = {}
    for name, model in models.items():
        upstream = tuple(complete[other].fingerprint for other in sorted(model.reads & complete.keys()))
        complete[name] = replace(model, contract=contracts.get(name, ""), upstream=upstream)
    return complete


def closure(models: Mapping[str, Model], name: str) -> dict[str, Model]:
    """A model with all models that it reads, directly or not, each after those that it reads."""
    needed = {name}
    for other in reversed(list(models)):
        if other in needed:
            needed |= models[other].reads & models.keys()
    return {other: model for other, model in models.items() if other in needed}


def is_stable(models: Mapping[str, Model], name: str) -> bool:
    """Whether a model, and those that it reads, yield the same rows for the same batch."""
    return not any(below.unstable for below in closure(models, name).values())


def source_tables(models: Mapping[str, Model]) -> set[str]:
    """The source tables that the models read; a name of a reference table may be one of them."""
    named = {name for model in models.values() for name in model.reads - model.seeds.keys()}
    return named - models.keys() - reference_tables.QUALIFIED


def tables_read(models: Mapping[str, Model]) -> set[str]:
    """The source tables and seeds that a batch holds for the models."""
    return source_tables(models) | read_seeds(models).keys()


def read(path: Path) -> Model:
    """Read one model from its file."""
    return parse(path, text_of(path))


def parse(path: Path, text: str) -> Model:
    """A model of this text; ``path`` gives its name, and is named in errors."""
    tree = _parse(path, text)
    refuse(path, text, tree)
    named = relations(path, text, tree)
    written = headers.headers_in(path, text)
    return Model(
        name=path.stem,
        path=path,
        sql=text.rstrip().rstrip(";"),
        relations=tuple(named),
        kind=headers.kind(path, written),
        key=headers.columns(path, written, "key"),
        cursors=headers.cursors(path, written),
        untracked=headers.columns(path, written, "untracked"),
        keeps_deleted=headers.flag(path, written, "deletes", "ignore"),
        appends=headers.flag(path, written, "reads", "changes"),
        unstable=headers.flag(path, written, "unstable", "allowed"),
        max_deleted_share=headers.share(path, written),
        changing=tuple(in_text(tree)),
        names=_named_columns(tree),
        lines=_lines(path, text, tree),
        headers=written,
        personal=tuple(headers.personal(path, written)),
        renamed=tuple(headers.renamed(path, written)),
        tree=json.dumps(
            with_canonical_names(
                without(tree, {"query_location"}), {".".join(relation.path) for relation in named}
            ),
            sort_keys=True,
        ),
    )


def _parse(path: Path, text: str) -> dict[str, Any]:
    """The syntax tree of DuckDB's own parser."""
    with session() as connection:
        tree = syntax.parsed(connection, text)
        if tree["error"]:
            place, words = syntax.explained(connection, text, tree)
            raise ModelError(f"{path}:{line_of(text.encode(), place)}: {words}")
    if len(tree["statements"]) != 1:
        raise ModelError(f"{path}: holds {len(tree['statements'])} statements; a model is one SELECT")
    return tree


def _lines(path: Path, text: str, tree: Any) -> dict[str, int]:  # noqa: ANN401  JSON
    """The lines of the columns that the SELECT names; raises ModelError if it names one twice."""
    node = tree["statements"][0]["node"]
    while node["type"] == "SET_OPERATION_NODE":
        node = node["children"][0]
    lines: dict[str, int] = {}
    for item in node.get("select_list", []):
        name = item["alias"] or (item.get("column_names") or [""])[-1]
        place = min((each["query_location"] for each in walk(item) if "query_location" in each), default=0)
        line = line_of(text.encode(), place)
        if name.lower() in {known.lower() for known in lines}:
            raise ModelError(f"{path}:{line}: column {name} comes twice; remove one, or rename it with AS")
        if name:
            lines[name] = line
    return lines


def _named_columns(tree: object) -> frozenset[str] | None:
    """The columns that a SELECT names, in lower case; None if it has no ``*``."""
    nodes = list(walk(tree))
    if not any(node.get("class") == "STAR" for node in nodes):
        return None
    aliases = {node["alias"] for node in nodes if node.get("alias")}
    columns = {node["column_names"][-1] for node in nodes if node.get("class") == "COLUMN_REF"}
    return frozenset(name.lower() for name in aliases | columns)
