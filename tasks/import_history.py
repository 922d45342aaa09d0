"""Import versions from before the first batch: ``python -m tasks.import_history --model m --file old.csv``.

The rows have the table's columns, ``valid_from``, and optionally ``valid_to``; times without a zone are UTC.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import psycopg

from pipeline import settings
from pipeline.errors import SettingsError
from pipeline.models import library
from pipeline.models.target import Target
from pipeline.postgres import Connection, transaction
from pipeline.recovery.imported_rows import Rows, from_csv, from_table
from pipeline.recovery.imports import Imported, import_versions
from pipeline.settings import Settings
from pipeline.warehouse import catalogue, ledger
from pipeline.words import counted
from tasks import blocks
from tasks.arguments import Parser
from tasks.failures import print_all


def main() -> int:
    """Import versions, or print what an import would do; returns the exit status."""
    parser = Parser("tasks.import_history", __doc__)
    parser.add_argument("--model", required=True, metavar="NAME", help="the model whose table gets them")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--file", type=Path, metavar="CSV", help="a file with the rows")
    place.add_argument("--table", metavar="SCHEMA.TABLE", help="a table or view of the warehouse with them")
    parser.add_argument("--yes", action="store_true", help="import them")
    parser.add_environment()
    return print_all(_lines(parser.parse_args()))


def _lines(arguments: argparse.Namespace) -> Iterator[str]:
    config = settings.load()
    environment = config.environment_for(arguments.environment)
    url, schema = blocks.database_url(blocks.WAREHOUSE, environment), config.warehouse_schema
    with ledger.lock(url, schema, config.run_lock_timeout), transaction(url, "warehouse") as connection:
        target = _target(config, connection, arguments.model)
        with _rows(arguments, connection) as rows:
            yield _summary(import_versions(connection, schema, target, rows))
        if not arguments.yes:
            yield "nothing was changed; ARGS=--yes imports them"
            raise psycopg.Rollback


def _rows(arguments: argparse.Namespace, connection: Connection) -> AbstractContextManager[Rows]:
    if arguments.file:
        return from_csv(arguments.file)
    return nullcontext(from_table(connection, arguments.table))


def _target(config: Settings, connection: Connection, name: str) -> Target:
    models = library.load(config.transforms)
    if name not in models:
        raise SettingsError(f"MODEL: there is no model {name}; there are {', '.join(models)}")
    return catalogue.prepare_in(connection, config.warehouse_schema, models, config.transforms)[name]


def _summary(done: Imported) -> str:
    return (
        f"{done.table}: {counted(done.read, 'row')} read; {counted(done.added, 'version')} from"
        f" {done.since} to the first batch, of {done.until}, and {counted(done.extended, 'version')} of that"
        " batch that begin earlier"
    )


if __name__ == "__main__":
    sys.exit(main())
