"""What a plan says about files that are no models: schema.sql, seeds, marts and checks."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psycopg

from pipeline.errors import RightMissing, WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifests import last_manifest
from pipeline.models import checks, seeds
from pipeline.models.library import SCHEMA_FILE, Model, source_tables
from pipeline.models.target import Target
from pipeline.postgres import Connection, statement, template, texts
from pipeline.review import diffs
from pipeline.review.table_preview import Effect, Preview
from pipeline.source.table_names import parts
from pipeline.warehouse import declarations, evolve, ledger, mart_changes, schema_file
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.checks import problems
from pipeline.warehouse.schemas import reporting_schema

_OF_MARTS: Mapping[str, Effect] = {
    "created": "mart created",
    "replaced": "mart replaced",
    "dropped": "mart dropped",
    "broken": "mart broken",
}


def of_marts(connection: Connection, schema: str, transforms: Path, found: Alterations) -> list[Preview]:
    """The marts that change or break."""
    return [
        Preview(
            table=f"{reporting_schema(schema)}.{each.name}", effect=_OF_MARTS[each.effect], error=each.error
        )
        for each in mart_changes.changes(connection, schema, transforms, found)
    ]


def of_checks(
    url: str,
    schema: str,
    transforms: Path,
    targets: Mapping[str, Target],
    found: Alterations,
    effects: Mapping[str, Effect],
) -> list[Preview]:
    """The checks that break.

    Those of tables that change, or lack a view, can only be tried by the run, which changes them.
    """
    changing = {change.table for change in found.changes}
    changing |= {name for name, effect in effects.items() if effect != "unchanged"}
    to_try = [check for check in checks.load(transforms) if not any(map(check.names, changing))]
    broken: dict[str, str] = {}
    with suppress(psycopg.ProgrammingError, RightMissing):
        broken = problems(url, schema, targets, to_try)
    return [
        Preview(table=f"{checks.FOLDER}/{name}.sql", effect="check broken", error=error)
        for name, error in broken.items()
    ]


def of_seeds(url: str, schema: str, models: Mapping[str, Model], raw: Bucket) -> list[Preview]:
    """The seeds of the last batch that are gone, although models read them."""
    wanted = source_tables(models)
    last = last_manifest(raw, ledger.fetch_watermark(url, schema)) if wanted else None
    gone = [name for name, table in (last.tables if last else {}).items() if table.seed and name in wanted]
    return [
        Preview(
            table=f"{seeds.FOLDER}/{parts(name)[1]}.csv",
            effect="seed gone",
            error=f"the run fails if the source has no table {name}",
            read_by=tuple(each for each, model in models.items() if name in model.reads),
        )
        for name in gone
    ]


def of_repeated_file(connection: Connection, found: Alterations) -> Iterator[Preview]:
    """The file schema.sql, if the run executes it and it can only be executed once."""
    if error := _repeated_error(connection, found):
        yield Preview(table=SCHEMA_FILE, effect="schema broken", error=error)


def of_file(found: Alterations) -> Iterator[Preview]:
    """The file schema.sql, if more than its comments has changed."""
    if found.is_new and found.old_text is not None and (diff := diffs.of_file(found.old_text, found.text)):
        yield Preview(table=SCHEMA_FILE, effect="executed", table_diff=tuple(diff))


def _repeated_error(connection: Connection, found: Alterations) -> str:
    """Why a run cannot execute schema.sql again, because objects that it makes exist; empty if it can."""
    if not found.executes_file:
        return ""
    gone, renamed = [*evolve.remade(found.changes)], [*found.new_tables.values()]
    names = {"schema": found.schema, "gone": gone, "renamed": renamed}
    with connection.transaction(force_rollback=True):
        temporary = declarations.temporary_schema(connection)
        schemas = [temporary, found.schema]
        schema_file.run(connection, schemas, found.path, found.text)
        query = statement("review/not_in_the_warehouse.sql")
        for drop in texts(connection, query, {**names, "temporary": temporary}):
            connection.execute(template(drop))
        try:
            schema_file.run(connection, schemas, found.path, found.text)
        except WarehouseError as error:
            return str(error)
    return ""
