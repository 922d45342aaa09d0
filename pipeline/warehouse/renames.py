"""New names of tables and columns, with all that is kept beside them: nothing is computed again."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql

from pipeline.errors import ModelError, WarehouseError
from pipeline.messages import message
from pipeline.models.library import Model, parse
from pipeline.models.renaming import only_renames
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, statement, template, texts
from pipeline.warehouse.declarations import Columns, Tables
from pipeline.warehouse.evolve import Change
from pipeline.warehouse.schemas import view_schemas


def tables(models: Mapping[str, Model], exist: Mapping[str, object]) -> dict[str, str]:
    """New names of tables that exist, by old name, as the headers of models say."""
    found: dict[str, str] = {}
    for model in models.values():
        for old, new in model.renamed:
            if new != model.name or old not in exist or new in exist:
                continue
            other = models[old].path if old in models else models[found[old]].path if old in found else None
            if other:
                raise ModelError(
                    f"{model.at_header('renamed', old)}: renamed from {old}, which {other} is the model of;"
                    " remove one"
                )
            found[old] = new
    return found


def columns(model: Model, existing: Columns) -> dict[str, str]:
    """New names of a table's columns, by old name, as far as it has the old ones."""
    return {
        old: new
        for old, new in model.renamed
        if new != model.name and old in existing and new not in existing
    }


def check(model: Model, names: Mapping[str, str], declared: Columns | None) -> None:
    """Raise ModelError if schema.sql does not declare the new names, or still the old ones."""
    for old, new in names.items():
        if declared is not None and (new not in declared or old in declared):
            wrong = f"still declares {old}" if old in declared else f"declares no column {new}"
            raise ModelError(
                f"{model.at_header('renamed', old)}: `-- renamed: {old} -> {new}`, but schema.sql {wrong}"
            )


def renamed_columns(table: str, columns: Columns, renames: Mapping[str, str]) -> Columns:
    """The columns under new names."""
    renamed = [
        column.model_copy(update={"table_name": table, "name": renames.get(column.name, column.name)})
        for column in columns.values()
    ]
    return {column.name: column for column in renamed}


def renamed_tables(all_tables: Tables, new_names: Mapping[str, str]) -> dict[str, Columns]:
    """The tables under new names."""
    return {
        new_names.get(name, name): renamed_columns(new_names.get(name, name), columns, {})
        for name, columns in all_tables.items()
    }


def changes(
    schema: str, new_tables: Mapping[str, str], new_columns: Mapping[str, Mapping[str, str]]
) -> Iterator[Change]:
    """The changes that give tables and columns new names."""
    for old, new in new_tables.items():
        alter = sql.SQL("ALTER TABLE {} RENAME TO {}").format(
            sql.Identifier(schema, old), sql.Identifier(new)
        )
        yield Change(new, "", "renamed", f"renamed from {old}, with its history", (alter,))
    for table, names in new_columns.items():
        for old, new in names.items():
            alter = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                sql.Identifier(schema, table), sql.Identifier(old), sql.Identifier(new)
            )
            yield Change(table, new, "renamed", f"column {old} is renamed to {new}", (alter,))


def rename_table(connection: Connection, schema: str, old: str, new: str) -> None:
    """Rename a table, the objects beside it, and what etl records about it."""
    pattern = {"schema": schema, "view_schemas": list(view_schemas(schema)), "old": old, "new": new}
    with _naming(f"{old} -> {new}"):
        for text in texts(connection, statement("warehouse/rename_table.sql"), pattern):
            connection.execute(template(text))
    for query in (
        "UPDATE etl.model SET table_name = %(new)s WHERE schema_name = %(schema)s AND table_name = %(old)s",
        (
            "UPDATE etl.rejected SET table_name = %(new)s"
            " WHERE schema_name = %(schema)s AND table_name = %(old)s"
        ),
        (
            "UPDATE etl.batch SET rows = (rows - %(old)s::text)"
            " || jsonb_build_object(%(new)s::text, rows -> %(old)s::text)"
            " WHERE schema_name = %(schema)s AND rows ? %(old)s::text"
        ),
    ):
        connection.execute(query, pattern)


def rename_columns(connection: Connection, schema: str, table: str, names: Mapping[str, str]) -> None:
    """Rename columns of a table, its versions and its views, and in its rejected rows."""
    for old, new in names.items():
        for relation in _with_column(connection, schema, table, old):
            rename = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}")
            with _naming(f"{table}: {old} -> {new}"):
                connection.execute(rename.format(relation, sql.Identifier(old), sql.Identifier(new)))
        connection.execute(
            statement("warehouse/rename_in_rejected.sql"),
            {"schema": schema, "table": table, "old": old, "new": new},
        )


@contextmanager
def _naming(rename: str) -> Iterator[None]:
    """Raise a WarehouseError of one line that names what cannot get its new name."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
        raise
    except psycopg.Error as error:
        raise WarehouseError(f"warehouse: renamed: {rename}: {message(error)}; nothing was changed") from None


def _with_column(connection: Connection, schema: str, table: str, column: str) -> list[sql.Identifier]:
    """The table and those of its versions and views that have a column."""
    places = [
        (schema, name) for name in (table, versions_name(table), f"{table}_current", f"{table}_history")
    ]
    places += [(home, table) for home in view_schemas(schema)]
    found = connection.execute(
        "SELECT n.nspname::text, c.relname::text FROM pg_attribute AS a"
        " INNER JOIN pg_class AS c ON a.attrelid = c.oid"
        " INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " WHERE a.attname = %s AND a.attnum > 0 AND c.relkind IN ('r', 'p', 'v')",
        (column,),
    ).fetchall()
    return [sql.Identifier(*place) for place in places if place in found]


def keep_fingerprints(
    connection: Connection,
    schema: str,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    renames: Mapping[str, Mapping[str, str]],
    required: Mapping[str, Collection[str]],
) -> None:
    """Record models whose tables need no computing: they have new names, or NOT NULLs that all rows meet.

    ``models`` have the contracts of ``targets``. ``renames`` are new names of columns by table and old name,
    and ``required`` the columns that have become NOT NULL.
    """
    recorded = {
        str(name): (str(fingerprint), text)
        for name, fingerprint, text in connection.execute(
            "SELECT table_name, fingerprint, model_sql FROM etl.model WHERE schema_name = %s", (schema,)
        ).fetchall()
    }
    former = dict[str, str]()
    for name, model in models.items():
        fingerprint, text = recorded.get(name, ("", None))
        if fingerprint in {"", model.fingerprint} or text is None or model.names is not None:
            continue
        names = renames.get(name, {})
        target = _without_not_null(targets[name], required.get(name, ()))
        old = _former(model, target, str(text), names, [former.get(each, each) for each in model.upstream])
        if old and old.fingerprint == fingerprint and only_renames(old, model, names):
            former[model.fingerprint] = fingerprint
            connection.execute(
                "UPDATE etl.model SET fingerprint = %s, model_sql = %s,"
                # A stored result has the former names.
                " result = CASE WHEN %s THEN result END WHERE schema_name = %s AND table_name = %s",
                (model.fingerprint, model.sql, not names, schema, name),
            )


def _without_not_null(target: Target, required: Collection[str]) -> Target:
    columns = [
        column.model_copy(update={"required": column.required and column.name not in required})
        for column in target.columns
    ]
    return target.model_copy(update={"columns": tuple(columns)})


def _former(
    model: Model, target: Target, text: str, names: Mapping[str, str], upstream: list[str]
) -> Model | None:
    """The model of an earlier text with the contract that its table had; None if that is no model."""
    back = {new: old for old, new in names.items()}
    columns = tuple(
        column.model_copy(update={"name": back.get(column.name, column.name)}) for column in target.columns
    )
    key = tuple(back.get(column, column) for column in target.key)
    contract = target.model_copy(update={"columns": columns, "key": key}).contract
    try:
        return replace(parse(model.path, text), contract=contract, upstream=tuple(upstream))
    except ModelError:
        return None
