"""Branches: changed models computed over all batches of the lake, in a schema of their own.

A branch is made in one transaction, so a killed one leaves nothing. The code of the load fills its tables;
live tables, ledger and lake are only read, and runs never look at a branch.
"""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import SettingsError, WarehouseError
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifest import Manifest
from pipeline.models import lineage
from pipeline.models.library import Model
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, statement, template, texts, transaction
from pipeline.recovery import restate, table_copies
from pipeline.recovery.batches import loaded_batches
from pipeline.recovery.table_copies import TableCopies
from pipeline.review import versions
from pipeline.review.preview import preview
from pipeline.review.versions import TableDifference
from pipeline.warehouse import catalogue, declarations, ledger, renames, upgrades
from pipeline.warehouse.referring import load_order
from pipeline.warehouse.schemas import as_of_schema

_logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CHANGING = {"created", "restated", "compared", "refilled"}
_COMMENT = "A branch of changed models, made by the pipeline; DROP removes it."


class Branch(Frozen):
    """A branch: its schema, its last batch, and how each of its tables differs from the live one."""

    schema_name: str
    batches: int
    tables: tuple[TableDifference, ...]


def schema_of(name: str) -> str:
    """The schema of a branch; raises SettingsError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"BRANCH={name}: a name is up to 40 lower-case letters, digits and _, and begins with a letter"
        )
    return f"branch_{name}"


def compute(
    url: str,
    schema: str,
    models: Mapping[str, Model],
    transforms: Path,
    raw: Bucket,
    name: str,
    *,
    first: int = 5,
) -> Branch:
    """Compute the changed models and those that read them into the branch, which is replaced.

    Shows the ``first`` rows of each kind of difference. Raises WarehouseError.
    """
    branch = schema_of(name)
    changed = {
        each.table for each in preview(url, schema, models, transforms, raw) if each.effect in _CHANGING
    }
    chain = loaded_batches(url, schema, raw)
    with transaction(url, "warehouse", one_moment=True) as connection, _naming_privileges(connection, branch):
        upgrades.check(connection)
        _drop(connection, branch, must_exist=False)
        views = f"{branch}_live"
        shown, renamed = _show_live_tables(connection, schema, views, models)
        names = _with_readers(models, changed | renamed)
        if not names:
            _drop_schemas(connection, views)
            return Branch(schema_name=branch, batches=0, tables=())
        manifests = _loaded(connection, schema, chain.manifests)
        live = catalogue.existing_targets(connection, schema, models)
        targets = _create(connection, schema, branch, models, live, transforms)
        with TemporaryDirectory() as out:
            filled = _copies(connection, views, branch, models, targets, shown, names, raw, out, manifests[0])
            _load(filled, manifests, branch)
            compared = filled.as_filled(manifests[-1])
        personal = lineage.personal_of(models, targets, manifests[-1])
        differences = [
            versions.difference(
                connection, views, branch, compared[each], shown.get(each), manifests[0], first
            ).model_copy(update={"personal": tuple(sorted(personal.get(each, ())))})
            for each in names
        ]
        _tidy(connection, branch, views, names)
    return Branch(schema_name=branch, batches=len(manifests), tables=tuple(differences))


def drop(url: str, name: str) -> None:
    """Drop a branch with everything in it; raises SettingsError if there is none."""
    with transaction(url, "warehouse") as connection:
        _drop(connection, schema_of(name), must_exist=True)


def _drop(connection: Connection, branch: str, *, must_exist: bool) -> None:
    """Drop a branch; another one that computes or drops it at the same time comes first."""
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('totesys-etl branch'), hashtext(%s))", (branch,)
    )
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", (branch,)
    ).fetchone()
    if row is None and must_exist:
        raise SettingsError(f"warehouse: there is no schema {branch}, so there is nothing to drop")
    if row is not None and row != (_COMMENT,):
        raise SettingsError(
            f"warehouse: schema {branch} was not made as a branch; choose another name, or drop it yourself"
        )
    if row is not None:
        connection.execute("SET LOCAL client_min_messages TO warning")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(branch)))


@contextmanager
def _naming_privileges(connection: Connection, branch: str) -> Iterator[None]:
    """Raise a WarehouseError that names the right that the role lacks to create a schema."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        info = connection.info
        grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(info.dbname), sql.Identifier(info.user)
        )
        raise WarehouseError(
            f"warehouse: {error.diag.message_primary}; a branch needs a schema {branch} of its own:"
            f" {grant.as_string()}"
        ) from None


def _with_readers(models: Mapping[str, Model], changed: set[str]) -> list[str]:
    """The changed models, and the models that read them, directly or not."""
    found: list[str] = []
    for name, model in models.items():
        if name in changed or model.reads & set(found):
            found.append(name)
    return found


def _show_live_tables(
    connection: Connection, schema: str, views: str, models: Mapping[str, Model]
) -> tuple[dict[str, list[str]], set[str]]:
    """Create a schema of views that show live tables under the names that models give them and their columns.

    Returns the columns of each, and which tables have new names or columns with new names.
    """
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(views)))
    former = [old for model in models.values() for old, new in model.renamed if new == model.name]
    names = [*models, *former]
    tables = declarations.read(connection, schema, [*names, *map(versions_name, names)])
    new_names = renames.tables(models, tables)
    shown, renamed = dict[str, list[str]](), set[str]()
    for old in tables.keys() & {*models, *new_names}:
        new = new_names.get(old, old)
        columns = renames.columns(models[new], tables[old])
        if columns or new != old:
            renamed.add(new)
        for table, view in ((old, new), (versions_name(old), versions_name(new))):
            if table in tables:
                names_now = {each: columns.get(each, each) for each in tables[table]}
                _show(connection, sql.Identifier(schema, table), sql.Identifier(views, view), names_now)
                shown[view] = list(names_now.values())
    return shown, renamed


def _show(
    connection: Connection, table: sql.Identifier, view: sql.Identifier, names: Mapping[str, str]
) -> None:
    """Create a view of a table; ``names`` are its columns' names in the view, by those in the table."""
    listed = [sql.SQL("{} AS {}").format(*map(sql.Identifier, each)) for each in names.items()]
    connection.execute(
        sql.SQL("CREATE VIEW {} AS SELECT {} FROM {}").format(view, sql.SQL(", ").join(listed), table)
    )


def _loaded(connection: Connection, schema: str, manifests: Sequence[Manifest]) -> list[Manifest]:
    """The batches that the warehouse has at this transaction's moment."""
    last = ledger.last_batch(connection, schema)
    found = [manifest for manifest in manifests if last and manifest.batch_id <= last]
    if not found or found[-1].batch_id != last:
        raise WarehouseError("raw bucket: it lacks the warehouse's last batch, so no branch can be computed")
    return found


def _create(
    connection: Connection,
    schema: str,
    branch: str,
    models: Mapping[str, Model],
    live: Mapping[str, Target],
    transforms: Path,
) -> dict[str, Target]:
    """Create the branch's schema with all tables: like the live ones, and as schema.sql changes them."""
    as_of = as_of_schema(branch)
    if connection.execute("SELECT to_regnamespace(%s) IS NULL", (as_of,)).fetchone() != (True,):
        raise SettingsError(f"warehouse: schema {as_of} exists; choose another name for the branch")
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(branch)))
    connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(branch), _COMMENT))
    restate.copy_tables(connection, schema, [live[name] for name in load_order(live.values())], branch)
    _number_anew(connection, branch, live.values())
    return catalogue.create_tables(connection, branch, models, transforms, for_readers=False)


def _copies(
    connection: Connection,
    views: str,
    branch: str,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    live: Mapping[str, Sequence[str]],
    names: Sequence[str],
    raw: Bucket,
    outputs: str,
    base: Manifest,
) -> TableCopies:
    """The tables that ``names`` are computed with, ready to load batches; outputs go to ``outputs``."""
    needed = restate.needed_tables(models, targets, names)
    known = catalogue.with_contracts(models, targets)
    below = {name: model for name, model in known.items() if name in needed}
    buckets = dict.fromkeys(needed, folder(outputs))
    present = {name: _with_columns(needed[name], live[name]) for name in needed if name in live}
    copies = TableCopies(connection, branch, below, present, raw, buckets)
    restate.copy_rows_of_others(connection, views, copies, base.snapshot_at)
    return TableCopies(connection, branch, below, needed, raw, buckets)


def _with_columns(target: Target, names: Collection[str]) -> Target:
    columns = tuple(column for column in target.columns if column.name in names)
    return target.model_copy(update={"columns": columns})


def _number_anew(connection: Connection, branch: str, targets: Iterable[Target]) -> None:
    """Give serial columns sequences of the branch, because copied defaults use the live ones."""
    columns = [(each.name, column) for each in targets for column in each.columns if column.has_sequence]
    for number, (table, column) in enumerate(columns):
        relation, sequence = sql.Identifier(branch, table), sql.Identifier(branch, f"serial_{number}")
        row = connection.execute(
            "SELECT attidentity::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            (relation.as_string(), column.name),
        ).fetchone()
        if row == ("",):  # identities have a copy of their sequence
            query = statement("review/number_anew.sql").format(
                sequence=sequence,
                sequence_name=sql.Literal(sequence.as_string()),
                relation=relation,
                serial_column=sql.Identifier(column.name),
            )
            connection.execute(query)


def _load(filled: TableCopies, manifests: Sequence[Manifest], branch: str) -> None:
    for number, manifest in enumerate(manifests, 1):
        _logger.info("%s: batch %d of %d", branch, number, len(manifests))
        try:
            filled.load(manifest)
        except table_copies.PERMANENT as error:
            raise WarehouseError(
                f"{branch}: batch {manifest.batch_id} cannot be computed by the changed models: {error};"
                " no branch was made"
            ) from None


def _tidy(connection: Connection, branch: str, views: str, names: Sequence[str]) -> None:
    """Drop what only the computation needed: other tables, what needs batches of its own, rows in etl."""
    connection.execute("SET LOCAL client_min_messages TO warning")
    kept = [*names, *map(versions_name, names)]
    for kind, name in connection.execute(
        statement("review/branch_leftovers.sql"), {"schema": branch, "kept": kept}
    ).fetchall():
        connection.execute(template(f"DROP {kind} IF EXISTS {name} CASCADE"))
    _drop_schemas(connection, as_of_schema(branch), views)
    for table in texts(connection, statement("review/tables_by_schema.sql")):
        query = template(f"DELETE FROM {table} WHERE schema_name = %s")  # noqa: S608
        connection.execute(query, (branch,))


def _drop_schemas(connection: Connection, *names: str) -> None:
    """Drop schemas that only the computation needed."""
    connection.execute("SET LOCAL client_min_messages TO warning")
    for name in names:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
