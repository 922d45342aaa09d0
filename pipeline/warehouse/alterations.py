"""What a run has to change in the warehouse because models or ``schema.sql`` have changed.

Nothing is changed to find out, so that a plan shows what a run will do.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.models.library import SCHEMA_FILE, Model
from pipeline.models.target import versions_name
from pipeline.postgres import Connection
from pipeline.warehouse import (
    bindings,
    constraints,
    declarations,
    dependents,
    dropped_columns,
    evolve,
    heads,
    removed,
    renames,
    schema_file,
)
from pipeline.warehouse.declarations import Columns, Tables
from pipeline.warehouse.evolve import Change


@dataclass(frozen=True)
class Alterations:
    """What has changed since the tables were last altered.

    ``text`` is that of schema.sql, ``is_new`` whether the tables do not follow it yet. ``existing``,
    ``declared`` and ``before`` are the columns of tables as they are, as schema.sql declares them, and as the
    one did that they follow; the last two are empty if that is not known or needed. ``new_columns`` are new
    names by table and old name. ``texts`` are the models that tables were computed with, and ``old_text`` is
    the schema.sql that tables follow, as far as they are recorded. ``frozen`` are tables that have no model
    any more, with the time since when that is known. ``replaced`` are columns, in lower case, that somebody
    has dropped to add others of their names: those that the model fills. ``allow`` names changes that
    somebody consents to.
    """

    schema: str
    path: Path
    text: str
    is_new: bool
    models: Mapping[str, Model]
    changes: tuple[Change, ...] = ()
    existing: Tables = field(default_factory=dict)
    declared: Tables = field(default_factory=dict)
    before: Tables = field(default_factory=dict)
    new_tables: Mapping[str, str] = field(default_factory=dict)
    new_columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    old_text: str | None = None
    frozen: Mapping[str, object] = field(default_factory=dict)
    replaced: Mapping[str, Collection[str]] = field(default_factory=dict)
    allow: Collection[str] = ()

    @property
    def executes_file(self) -> bool:
        """Whether a run executes schema.sql: it is new, or a table is missing, made again or restored."""
        is_needed = any((each.remakes or each.restores) and each.is_meant for each in self.changes)
        return self.is_new or is_needed or bool(self.models.keys() - self.existing.keys())

    def former_name(self, table: str) -> str:
        """The name that a table has before it is renamed."""
        return next((old for old, new in self.new_tables.items() if new == table), table)

    def under_former_names(self, change: Change) -> Change:
        """The change with the names that its table and column have before they are renamed."""
        names = self.new_columns.get(change.table, {})
        column = next((old for old, new in names.items() if new == change.column), change.column)
        return replace(change, table=self.former_name(change.table), column=column)

    @property
    def unmatched(self) -> list[str]:
        """A line for each name in ``allow`` that is no change: mistyped, or made by an earlier run."""
        drops = [each.consent for each in _drops(self)]
        return list(evolve.unmatched(self.allow, [*(each.consent for each in self.changes), *drops]))

    def refuse(self) -> None:
        """Raise a WarehouseError that names the changes that nobody has allowed, and how to consent."""
        refused = [change for change in self.changes if change.is_refused]
        if not refused:
            return
        reasons = "; ".join(f"{change.table}: {change.summary}, and {change.risk}" for change in refused)
        removed_columns = [change for change in refused if change.kind == "removed"]
        renamed = (
            f" (if {removed_columns[0].column} has a new name, write `-- renamed: {removed_columns[0].column}"
            f" -> new name` at the head of {self.models[removed_columns[0].table].path.name})"
            if removed_columns
            else ""
        )
        consents = ", ".join(change.consent for change in refused)
        raise WarehouseError(
            f'warehouse: {reasons}; allow it by ALLOW="{consents}", or undo it{renamed}; nothing was changed'
        )


def find(
    connection: Connection, schema: str, models: Mapping[str, Model], folder: Path, allow: Collection[str]
) -> Alterations:
    """What has changed; ``allow`` names changes that somebody consents to.

    Raises ModelError and WarehouseError where models, schema.sql and ``allow`` contradict each other.
    """
    path = folder / SCHEMA_FILE
    text, followed = schema_file.read(path), schema_file.followed(connection, schema)
    texts, replaced = bindings.recorded_models(connection, schema)
    found = Alterations(
        schema,
        path,
        text,
        is_new=bool(text) and (followed is None or followed.digest != schema_file.digest(text)),
        models=models,
        texts=texts,
        replaced=replaced,
        old_text=followed.text if followed else None,
        frozen=removed.without_model(connection, schema, models),
        allow=allow,
    )
    found = _with_new_tables(connection, found)
    columns = {name: renames.columns(models[name], each) for name, each in found.existing.items()}
    found = replace(found, new_columns={name: names for name, names in columns.items() if names})
    if _needs_declarations(found):
        found = _with_declarations(connection, found)
    return _with_changes(connection, _with_new_columns(found))


def _with_new_tables(connection: Connection, found: Alterations) -> Alterations:
    """The alterations with the tables that exist, those with new names under these."""
    former = [old for model in found.models.values() for old, new in model.renamed if new == model.name]
    tables = declarations.read(connection, found.schema, [*found.models, *former])
    new_tables = renames.tables(found.models, tables)
    existing = renames.renamed_tables(tables, new_tables)
    frozen = {name: at for name, at in found.frozen.items() if name not in new_tables}
    removed.refuse_readers(found.models, {*frozen, *new_tables})
    return replace(
        found,
        existing={name: columns for name, columns in existing.items() if name in found.models},
        new_tables=new_tables,
        texts={new_tables.get(name, name): text for name, text in found.texts.items()},
        replaced=dropped_columns.filled(
            found.models, {new_tables.get(name, name): each for name, each in found.replaced.items()}
        ),
        frozen=frozen,
    )


def _needs_declarations(found: Alterations) -> bool:
    """Whether anything can have changed: to read declarations takes some time."""
    has_star = any(model.names is not None for model in found.models.values())  # may lack any column
    lacks = found.models.keys() - found.existing.keys() or dropped_columns.lacks_columns(
        found.models, found.existing
    )
    is_changed = found.is_new or found.new_tables or found.new_columns or has_star or lacks
    return bool(found.text and (is_changed or found.allow or heads.differ(found.models, found.texts)))


def _with_declarations(connection: Connection, found: Alterations) -> Alterations:
    """The alterations with the columns that schema.sql declares, and those that it declared before."""
    names, before = [*found.models, *found.frozen], dict[str, Columns]()
    declared = declare(connection, found.schema, found.path, names)
    if found.old_text is not None:
        with suppress(WarehouseError):  # it may be impossible to run by now
            all_names = [*names, *found.new_tables]
            before = declare(connection, found.schema, found.path, all_names, found.old_text)
    return replace(found, declared=declared, before=renames.renamed_tables(before, found.new_tables))


def declare(
    connection: Connection, schema: str, path: Path, names: Sequence[str], text: str | None = None
) -> dict[str, Columns]:
    """The columns that schema.sql, or a former ``text`` of it, declares for those of the tables it names."""

    def run(temporary: str) -> None:
        content = schema_file.read(path) if text is None else text
        schema_file.run(connection, [temporary, schema], path, content)

    return dict(declarations.declared_by(connection, schema, names, run))


def _with_new_columns(found: Alterations) -> Alterations:
    """The alterations with columns under their new names."""
    existing, before = dict(found.existing), dict(found.before)
    for name, names in found.new_columns.items():
        renames.check(found.models[name], names, found.declared.get(name))
        for tables in (existing, before):
            if name in tables:
                tables[name] = renames.renamed_columns(name, tables[name], names)
    return replace(found, existing=existing, before=before)


def may_differ(connection: Connection, schema: str, models: Mapping[str, Model], folder: Path) -> bool:
    """Whether the text of a model or of schema.sql differs from that of the last run, if it is recorded."""
    rows = connection.execute(
        "SELECT table_name, model_sql FROM etl.model WHERE schema_name = %(schema)s AND model_sql IS NOT NULL"
        " UNION ALL SELECT '', digest FROM etl.schema_file WHERE schema_name = %(schema)s",
        {"schema": schema},
    ).fetchall()
    texts: dict[str, str | None] = {str(name): str(text) for name, text in rows}
    is_same = texts.pop("", None) in {None, schema_file.digest(schema_file.read(folder / SCHEMA_FILE))}
    return bool(texts) and not (is_same and texts == {name: model.sql for name, model in models.items()})


def required_columns(connection: Connection, found: Alterations) -> dict[str, set[str]]:
    """The columns that become NOT NULL, by table, if no version has NULL: then all rows stay as they are."""
    required: dict[str, set[str]] = {}
    for change in found.changes:
        versions = sql.Identifier(found.schema, versions_name(change.table))
        nulls = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NULL)").format(
            versions, sql.Identifier(change.column)
        )
        if change.kind == "required" and change.happens:
            is_fact = found.models[change.table].kind == "fact"
            if is_fact or connection.execute(nulls).fetchone() == (False,):
                required.setdefault(change.table, set()).add(change.column)
    return required


def _with_changes(connection: Connection, found: Alterations) -> Alterations:
    """The alterations with the changes, those with consent marked."""
    of_models = evolve.allowed(_of_models(connection, found), found.allow)
    remade = evolve.remade(of_models)
    of_schema = [
        change
        for change in evolve.allowed(_of_schema(connection, found), found.allow)
        if (found.is_new or change.is_allowed or change.restores) and change.table not in remade
    ]
    dropped = [change for change in evolve.allowed(_drops(found), found.allow) if change.is_allowed]
    if declared := [change.table for change in dropped if change.table in found.declared]:
        raise WarehouseError(
            f"warehouse: schema.sql still declares {declared[0]}, and would create it again; remove it there"
            " to drop it; nothing was changed"
        )
    renamed = renames.changes(found.schema, found.new_tables, found.new_columns)
    others = [_with_losses(connection, found, change) for change in (*of_models, *of_schema, *dropped)]
    return replace(found, changes=(*renamed, *others))


def _with_losses(connection: Connection, found: Alterations, change: Change) -> Change:
    """The change with the objects of others that it drops among what can be lost."""
    present = dependents.dependents(connection, found.schema, found.under_former_names(change))
    lost = [each.name for each in present if not each.blocks]
    return replace(change, risk=", and ".join([change.risk, *lost])) if lost and change.risk else change


def _of_models(connection: Connection, found: Alterations) -> Iterator[Change]:
    for name, columns in found.existing.items():
        yield from heads.changes(
            connection,
            found.schema,
            found.former_name(name),
            found.models[name],
            found.texts.get(name),
            columns,
            found.declared.get(name),
            found.before.get(name),
            found.new_columns.get(name, {}),
        )


def _of_schema(connection: Connection, found: Alterations) -> Iterator[Change]:
    both = [name for name in found.existing if name in found.declared]
    if not both:
        return
    versions = declarations.read(
        connection, found.schema, [versions_name(found.former_name(n)) for n in both]
    )
    former = constraints.former_names(found.new_tables, found.new_columns)
    for name in both:
        columns = found.existing[name], found.declared[name], found.before.get(name)
        yield from constraints.changes(found.schema, name, *columns, former)
        yield from evolve.changes_of(
            found.schema,
            name,
            *columns,
            model=found.models[name],
            has_versions=versions_name(found.former_name(name)) in versions,
            is_empty=_is_empty(connection, found.schema, found.former_name(name)),
        )


def _drops(found: Alterations) -> Iterator[Change]:
    for name in found.frozen:
        yield removed.drop_change(found.schema, name)


def _is_empty(connection: Connection, schema: str, name: str) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(schema, name))
    return connection.execute(query).fetchone() == (False,)
