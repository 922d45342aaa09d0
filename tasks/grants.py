"""Print the GRANT statements for the role that reads the source: ``python -m tasks.grants``."""

import sys
from collections.abc import Iterator

from psycopg import sql

from pipeline import settings
from pipeline.models import library, reference_tables
from pipeline.postgres import template
from pipeline.source.table_names import identifier, parts
from tasks.arguments import Parser
from tasks.failures import print_all

_ROLE = "totesys_reader"


def grants(role: str) -> Iterator[str]:
    """One GRANT per schema of the source beside the main one, and one per table that a model reads."""
    config = settings.load()
    named = library.source_tables(library.load(config.transforms)) - reference_tables.NAMES
    for schema in sorted({schema for schema, _ in map(parts, named) if schema}):
        yield _grant("GRANT USAGE ON SCHEMA {} TO {};", sql.Identifier(schema), role)
    for table in sorted(named):
        yield _grant("GRANT SELECT ON TABLE {} TO {};", identifier(config.source_schema, table), role)


def _grant(statement: str, place: sql.Identifier, role: str) -> str:
    return template(statement).format(place, sql.Identifier(role)).as_string()


def main() -> int:
    """Print the statements; returns the exit status, 1 after an error, which is printed in one line."""
    parser = Parser("tasks.grants", __doc__)
    parser.add_argument("--role", default=_ROLE, help=f"the role that gets the rights; {_ROLE} by default")
    return print_all(grants(parser.parse_args().role))


if __name__ == "__main__":
    sys.exit(main())
