"""Make the marts in the schema for readers, all again if a mart or a table has changed, and drop old ones."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.errors import UndefinedFunction, UndefinedTable

from pipeline.beginning import SAFE_PATH
from pipeline.errors import ModelError, WarehouseError, all_mistakes
from pipeline.messages import message, naming_functions
from pipeline.models.marts import Mart, read
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, identifiers, select, statement, template, texts
from pipeline.warehouse import own_objects
from pipeline.warehouse.schemas import reporting_schema
from pipeline.words import line_of

# The end of each mart's comment, by which one is known whose record was lost.
MARK = "Made by the pipeline"
# What readers see of the schema etl; these are made like marts.
_OF_ETL = {
    "freshness": "warehouse/reporting_freshness.sql",
    "rejected": "warehouse/reporting_rejected.sql",
    "batches": "warehouse/reporting_batches.sql",
}
NAMES = frozenset(_OF_ETL)
_FOR_DEVELOPERS = re.compile(r"^-- Names: .*\n", re.MULTILINE)
_PATH = ["pg_catalog", "pg_temp"]
_INCOMPATIBLE = psycopg.errors.InvalidTableDefinition, psycopg.errors.InvalidFunctionDefinition


def meaning_of(comment: str | None) -> str:
    """The comment of a view without the mark, which says nothing to readers; empty if there is none."""
    return (comment or "").removesuffix(f" {MARK}.")


def of_etl(schema: str, taken: Collection[str]) -> list[Mart]:
    """The views of the schema etl, except those whose names the models of the warehouse have."""
    found = []
    for name, file in _OF_ETL.items():
        if name not in taken:
            text = statement(file).format(schema=sql.Literal(schema)).as_string()
            found.append(read(Path(f"{name}.sql"), _FOR_DEVELOPERS.sub("", text)))
    return found


def ensure(
    connection: Connection, schema: str, targets: Mapping[str, Target], marts: Iterable[Mart]
) -> list[str]:
    """Make the marts follow their files; nothing is done if neither these nor the tables have changed.

    Returns the statements that grant others what they had on what is made again. Raises ModelError with
    file and line for a mart that Postgres refuses, and WarehouseError for objects of others.
    """
    wanted = {mart.name: mart for mart in marts}
    recorded, oids = _recorded(connection, schema, targets)
    digest = _digest(wanted.values(), targets.values(), oids)
    if recorded == dict.fromkeys(wanted, (digest, True)):
        return []
    grants = own_objects.drop(connection, schema, marts=[*(recorded.keys() - wanted.keys())])
    _record(connection, schema, wanted.values(), digest)
    grants += _create_all(connection, schema, wanted)
    _check_columns(connection, schema, wanted)
    _refuse_untrusted(connection, schema)
    return grants


def refuse_others(connection: Connection, schema: str, names: Collection[str]) -> None:
    """Raise a WarehouseError if others have objects of these names in the schema for readers."""
    values = {
        "schema": schema,
        "reporting": reporting_schema(schema),
        "names": list(names),
        "mark": f"%{MARK}%",
    }
    row = connection.execute(statement("warehouse/reporting_of_others.sql"), values).fetchone()
    if row:
        raise WarehouseError(
            f"warehouse: {row[0]} was not made by the pipeline, which needs this name; rename it, or drop it"
        )


def _digest(marts: Iterable[Mart], targets: Iterable[Target], oids: object) -> str:
    """A digest of all that marts are made from."""
    tables = sorted(
        (target.name, [(column.name, column.type) for column in target.columns]) for target in targets
    )
    texts = sorted((mart.name, mart.sql) for mart in marts)
    return hashlib.sha256(repr((tables, texts, oids)).encode()).hexdigest()


def _recorded(
    connection: Connection, schema: str, targets: Collection[str] = ()
) -> tuple[dict[str, tuple[str, bool]], object]:
    """The digest of each recorded mart, and whether it exists; and which tables have the targets' names.

    A view still reads a table that was renamed, so another one under its name means other marts.
    """
    names = {
        "schema": schema,
        "reporting": reporting_schema(schema),
        "tables": [*targets, *map(versions_name, targets)],
    }
    rows = connection.execute(statement("warehouse/mart_state.sql"), names).fetchall()
    found = {str(name): (str(digest), bool(is_there)) for _, name, digest, is_there in rows if name}
    return found, rows[0][0]


def _record(connection: Connection, schema: str, marts: Iterable[Mart], digest: str) -> None:
    connection.execute("DELETE FROM etl.mart WHERE schema_name = %s", (schema,))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO etl.mart (schema_name, mart_name, content, digest) VALUES (%s, %s, %s, %s)",
            [(schema, mart.name, mart.sql, digest) for mart in marts],
        )


def _create_all(connection: Connection, schema: str, wanted: Mapping[str, Mart]) -> list[str]:
    """Create the marts, each after those that it reads: one that fails is retried after the others."""
    grants, pending = list[str](), dict(wanted)

    def create(mart: Mart) -> None:
        grants.extend(_create(connection, schema, mart))

    while pending:
        errors = attempt(connection, pending.values(), create)
        if len(errors) == len(pending):
            raise ModelError("\n".join(located(pending, errors, reporting_schema(schema)).values()))
        # Marts that read a mart of other columns were dropped with it.
        lost = {name for name, (_, is_there) in _recorded(connection, schema)[0].items() if not is_there}
        pending = {name: mart for name, mart in wanted.items() if name in errors or name in lost}
    return grants


def attempt(
    connection: Connection, marts: Iterable[Mart], create: Callable[[Mart], None]
) -> dict[str, psycopg.Error]:
    """Create each of the marts in a savepoint; returns the errors of those that Postgres refuses, by name."""
    errors: dict[str, psycopg.Error] = {}
    for mart in marts:
        try:
            with connection.transaction(), naming_functions():
                create(mart)
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
            raise
        except psycopg.Error as error:
            errors[mart.name] = error
    return errors


def _create(connection: Connection, schema: str, mart: Mart) -> list[str]:
    """Create or replace a mart; returns the GRANTs of those that were dropped for that."""
    try:
        with connection.transaction():
            _execute(connection, schema, mart)
    except _INCOMPATIBLE:
        grants = own_objects.drop(connection, schema, marts=[mart.name])
        _execute(connection, schema, mart)
        return grants
    return []


def _execute(connection: Connection, schema: str, mart: Mart) -> None:
    """Run the statement of a mart, with names of the schema for readers, and then of the warehouse's."""
    home = reporting_schema(schema)
    path = _PATH if mart.name in NAMES else _path(schema)
    before = _signatures(connection, home, mart) if mart.is_function else set()
    # Postgres creates what has no schema in the first one.
    path = [home, *path] if mart.is_function else path
    run(connection, path, statement_of(home, mart))
    if mart.is_function:
        _confine(connection, schema, before, _signatures(connection, home, mart))


def run(connection: Connection, path: Sequence[str], text: str) -> None:
    """Run one statement with this search_path."""
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(identifiers(path)))
    # A binary result takes the extended protocol, which allows only one statement.
    connection.cursor(binary=True).execute(text.encode())
    connection.execute(SAFE_PATH)


def _path(schema: str) -> list[str]:
    return ["pg_catalog", reporting_schema(schema), schema, "pg_temp"]


def statement_of(home: str, mart: Mart) -> str:
    """What creates a mart; a view's head is a line of its own."""
    if mart.is_function:
        return mart.sql
    return f"CREATE OR REPLACE VIEW {sql.Identifier(home, mart.name).as_string()} AS\n{mart.sql}"


def _signatures(connection: Connection, home: str, mart: Mart) -> set[str]:
    query = (
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p"
        " INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid WHERE n.nspname = %s AND p.proname = %s"
    )
    return set(texts(connection, query, (home, mart.name)))


def _confine(connection: Connection, schema: str, before: set[str], after: set[str]) -> None:
    """Let a function find its names whoever calls it, and drop the ones with former parameters."""
    if after - before:
        for name in before:
            connection.execute(template(f"DROP FUNCTION {name}"))
    for name in after - before or after:
        alter = sql.SQL("ALTER FUNCTION {} SET search_path TO {}")
        connection.execute(alter.format(template(name), identifiers(_path(schema))))


def _check_columns(connection: Connection, schema: str, wanted: Mapping[str, Mart]) -> None:
    """Raise ModelError where a mart describes a column that it does not return.

    A view that has become a function is dropped, and a function that has become a view.
    """
    with all_mistakes() as mistake:
        for name, signature, columns in returned(connection, reporting_schema(schema), wanted):
            mart = wanted[name]
            if mart.is_function != bool(signature):
                kind = f"FUNCTION {signature}" if signature else _view(schema, name)
                connection.execute(template(f"DROP {kind}"))
                continue
            with mistake():
                if line := undescribable(mart, columns):
                    raise ModelError(line)


def _view(schema: str, name: str) -> str:
    return f"VIEW {sql.Identifier(reporting_schema(schema), name).as_string()}"


def undescribable(mart: Mart, columns: Collection[str]) -> str | None:
    """A line on a column that a mart describes and does not return, if there is one."""
    if unknown := [each for each in mart.columns if each not in columns]:
        return (
            f"{mart.path}: describes the column {unknown[0]}, which it does not return; it has"
            f" {', '.join(columns)}"
        )
    return None


class _Returned(NamedTuple):
    """A mart with its signature, if it is a function, and the columns that it returns."""

    name: str
    signature: str | None
    columns: list[str]


def returned(connection: Connection, home: str, names: Iterable[str]) -> list[_Returned]:
    """What the marts of a schema return."""
    return select(connection, _Returned, "warehouse/mart_columns.sql", home=home, names=list(names))


def _refuse_untrusted(connection: Connection, schema: str) -> None:
    """Raise a WarehouseError if a mart calls a function that somebody else may have made for that."""
    made = sql.SQL(
        "d.objid IN (SELECT v.oid FROM pg_rewrite AS v INNER JOIN pg_class AS c ON v.ev_class = c.oid"
        " WHERE c.relnamespace = to_regnamespace({}))"
    ).format(sql.Identifier(reporting_schema(schema)).as_string())
    untrusted = connection.execute(
        statement("warehouse/untrusted_functions.sql").format(made=made)
    ).fetchone()
    if untrusted:
        raise WarehouseError(
            "warehouse: a mart would call {} of role {}, who owns neither the schema nor the database; name"
            " another one with its schema, or drop that one".format(*untrusted)
        )


def located(marts: Mapping[str, Mart], errors: Mapping[str, psycopg.Error], home: str) -> dict[str, str]:
    """A line for each mart that is wrong, except those that are wrong only because another one is missing."""
    found = {name: _located(home, marts[name], error) for name, error in errors.items()}
    lacking = {
        name
        for name, error in errors.items()
        if isinstance(error, UndefinedTable | UndefinedFunction)
        and any(re.search(rf"\b{re.escape(other)}\b", str(error)) for other in errors.keys() - {name})
    }
    return {name: line for name, line in found.items() if name not in lacking} or found


def _located(home: str, mart: Mart, error: psycopg.Error) -> str:
    """Postgres's message with file and line."""
    place, line = int(error.diag.statement_position or 0), ""
    if place:
        line = f":{line_of(statement_of(home, mart), place - 1) - 1 + mart.is_function}"
    hint = f"; {error.diag.message_hint.rstrip('.')}" if error.diag.message_hint else ""
    return f"{mart.path}{line}: {message(error)}{hint}; correct the mart"
