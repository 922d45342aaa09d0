"""Print the GRANT statements for the role that reads the source: ``python -m tasks.grants``."""

import sys
from collections.abc import Iterator

from psycopg import sql

from pipeline import settings
from pipeline.models import library, reference_tables
from tasks.arguments import Parser
from tasks.failures import print_all

_ROLE = "totesys_reader"


def grants(role: str) -> Iterator[str]:
    """One GRANT per source table that a model reads."""
    config = settings.load()
    named = library.source_tables(library.load(config.transforms))
    for table in sorted(named - reference_tables.NAMES):
        grant = sql.SQL("GRANT SELECT ON TABLE {} TO {};").format(
            sql.Identifier(config.source_schema, table), sql.Identifier(role)
        )
        yield grant.as_string()


def main() -> int:
    """Print the statements; returns the exit status, 1 after an error, which is printed in one line."""
    parser = Parser("tasks.grants", __doc__)
    parser.add_argument("--role", default=_ROLE, help=f"the role that gets the rights; {_ROLE} by default")
    return print_all(grants(parser.parse_args().role))


if __name__ == "__main__":
    sys.exit(main())
