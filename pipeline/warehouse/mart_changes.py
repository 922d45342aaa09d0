"""Which marts a run makes, replaces and drops, and which ones the changes of tables break."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql
from psycopg.errors import UndefinedFunction, WrongObjectType

from pipeline.columns import Frozen
from pipeline.messages import message
from pipeline.models.library import Model
from pipeline.models.marts import Mart, load
from pipeline.postgres import Connection, template
from pipeline.warehouse import marts
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.declarations import Columns, temporary_schema

_OF_HISTORY = {"valid_from": "timestamptz", "valid_to": "timestamptz", "deleted": "boolean"}


class MartChange(Frozen):
    """What a run does with a mart; it fails with the ``error`` if the mart is broken."""

    name: str
    effect: Literal["created", "replaced", "dropped", "broken"]
    error: str = ""


def changes(connection: Connection, schema: str, transforms: Path, found: Alterations) -> list[MartChange]:
    """What a run does with marts, and which ones it finds broken; nothing is changed to find out."""
    files = load(transforms, {*marts.NAMES, *found.models})
    recorded = _recorded(connection, schema)
    done = [
        MartChange(name=mart.name, effect="replaced" if mart.name in recorded else "created")
        for mart in files
        if recorded.get(mart.name) != mart.sql
    ]
    gone = recorded.keys() - {mart.name for mart in files} - marts.NAMES
    done += [MartChange(name=name, effect="dropped") for name in sorted(gone)]
    if not files or not (done or found.changes or found.is_new):
        return done
    broken = [
        MartChange(name=name, effect="broken", error=line)
        for name, line in _broken(connection, schema, files, found).items()
    ]
    names = {each.name for each in broken}
    return [*(each for each in done if each.name not in names), *broken]


def may_differ(connection: Connection, schema: str, transforms: Path) -> bool:
    """Whether the text of a mart differs from that of the last run, if that has made any."""
    recorded = _recorded(connection, schema)
    known = {name: text for name, text in recorded.items() if name not in marts.NAMES}
    return bool(recorded) and known != {mart.name: mart.sql for mart in load(transforms)}


def _recorded(connection: Connection, schema: str) -> dict[str, str]:
    """The text of each mart that a run has made; none before the first run."""
    rows = connection.execute(
        "SELECT mart_name, content FROM etl.mart WHERE schema_name = %s", (schema,)
    ).fetchall()
    return {str(name): str(content) for name, content in rows}


def _broken(
    connection: Connection, schema: str, files: Collection[Mart], found: Alterations
) -> dict[str, str]:
    """The error of each mart that a run would refuse over tables as they will be, as temporary views."""
    pending = {mart.name: mart for mart in (*marts.of_etl(schema, found.models), *files)}
    path = ["pg_catalog", "pg_temp", schema]
    functions = {mart.name for mart in files if mart.is_function}

    def create(mart: Mart) -> None:
        own = ["pg_temp", *path] if mart.is_function else path
        marts.run(connection, own, marts.statement_of("pg_temp", mart))

    with connection.transaction(force_rollback=True):
        for name, model in found.models.items():
            columns = found.declared.get(name) or found.existing.get(name)
            for view in _views(name, model, columns or {}):
                connection.execute(view)
        hidden = [name for old, new in found.new_tables.items() for name in _beside(old, found.models[new])]
        for name in hidden:
            connection.execute(sql.SQL("CREATE TYPE {} AS ()").format(sql.Identifier("pg_temp", name)))
        errors: dict[str, psycopg.Error] = {}
        while pending:
            errors = marts.attempt(connection, pending.values(), create)
            if len(errors) == len(pending):
                break
            pending = {name: pending[name] for name in errors}
        misdescribed = _misdescribed(connection, files)
    # A temporary function is only found with its schema.
    return misdescribed | {
        name: _without_stand_in(line, errors[name], hidden)
        for name, line in marts.located(pending, errors, "pg_temp").items()
        if not (isinstance(errors[name], UndefinedFunction) and any(f"{each}(" in line for each in functions))
    }


def _without_stand_in(line: str, error: psycopg.Error, hidden: Collection[str]) -> str:
    """The line of an error that says of a stand-in what the run says: its table does not exist.

    Servers speak many languages: only its kind tells the error.
    """
    said = message(error)
    named = [name for name in hidden if re.search(rf"\b{re.escape(name)}\b", said)]
    if not isinstance(error, WrongObjectType) or not named:
        return line
    return line.replace(said, f'relation "{named[0]}" does not exist')


def _misdescribed(connection: Connection, files: Collection[Mart]) -> dict[str, str]:
    """The error of each mart among the temporary objects that describes a column it does not return."""
    by_name, home = {mart.name: mart for mart in files}, temporary_schema(connection)
    lines = {
        name: marts.undescribable(by_name[name], columns)
        for name, _, columns in marts.returned(connection, home, by_name)
    }
    return {name: line for name, line in lines.items() if line}


def _views(name: str, model: Model, columns: Columns) -> Iterator[sql.Composed]:
    """Temporary views without rows that have the columns of a table and of the views beside it."""
    own = {column.name: column.type for column in columns.values()}
    yield _view(name, own)
    yield _view(f"{name}_history", _OF_HISTORY | own)
    if model.kind == "fact":
        yield _view(f"{name}_current", own)


def _beside(table: str, model: Model) -> list[str]:
    """A table and the views beside it; types of these names hide them from marts if it gets a new name."""
    return [f"{table}{end}" for end in ("", "_history", *["_current"] * (model.kind == "fact"))]


def _view(name: str, types: Mapping[str, str]) -> sql.Composed:
    values = [
        template(f"NULL::{type_} AS {{}}").format(sql.Identifier(each)) for each, type_ in types.items()
    ]
    return sql.SQL("CREATE VIEW {} AS SELECT {} WHERE false").format(
        sql.Identifier("pg_temp", name), sql.SQL(", ").join(values)
    )
