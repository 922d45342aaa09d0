"""Write how the views for readers belong together, for BI tools: ``python -m tasks.relations``."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline import settings
from pipeline.models import library
from pipeline.postgres import transaction
from pipeline.warehouse import catalogue, ledger, relations, upgrades
from pipeline.warehouse.schemas import reporting_schema
from pipeline.words import counted
from tasks import blocks
from tasks.arguments import Parser, written_to
from tasks.failures import print_all

_ROLE, _FOLDER = "reporting_reader", "relations"
MANIFEST, ARCHIVE = "manifest.json", "superset.zip"


def write(url: str, schema: str, transforms: Path, folder: Path, role: str, host: str) -> Iterator[str]:
    """Write a file for Metabase and one for Superset; yields a line for each."""
    with transaction(url, "warehouse", reading=True) as connection:
        upgrades.check(connection)
        targets = catalogue.existing_targets(connection, schema, library.load(transforms))
        views = relations.read(connection, schema, targets)
        info = connection.info
        place = relations.Place(
            host=host or info.host,
            port=info.port,
            database=info.dbname,
            role=role,
            schema_name=reporting_schema(schema),
        )
    size = f"{counted(len(views), 'view')}, {counted(sum(len(each.links) for each in views), 'relation')}"
    with written_to("--folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text(relations.metabase(views, place), encoding="utf-8")
    yield f"{folder / MANIFEST}: {size}, for Metabase, by dbt-metabase"
    with written_to("--folder", folder):
        (folder / ARCHIVE).write_bytes(relations.superset(views, place, ledger.destination(url, schema).id))
    yield f"{folder / ARCHIVE}: the same for Superset, which imports it as datasets"


def main() -> int:
    """Write the files; returns the exit status, 1 after an error, which is printed in one line."""
    parser = Parser("tasks.relations", __doc__)
    parser.add_argument("--folder", type=Path, default=Path(_FOLDER), help=f"{_FOLDER} by default")
    parser.add_argument("--role", default=_ROLE, help=f"the role that the tools use; {_ROLE} by default")
    parser.add_argument("--host", default="", help="the warehouse's host as the tools see it")
    parser.add_environment()
    arguments = parser.parse_args()
    return print_all(_write(arguments))


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    config = settings.load()
    environment = config.environment_for(arguments.environment)
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    schema, transforms = config.warehouse_schema, config.transforms
    yield from write(url, schema, transforms, arguments.folder, arguments.role, arguments.host)


if __name__ == "__main__":
    sys.exit(main())
