"""Print what each column of the source feeds in the warehouse: ``python -m tasks.lineage``.

The columns are those of the last batch in the raw bucket; the source is not asked.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping

from pipeline.models import library
from pipeline.models.lineage import Fed, fed
from pipeline.redaction import safe
from pipeline.review import sources
from pipeline.source.table_names import of_user
from tasks.arguments import Parser
from tasks.connections import connections, in_line


def main() -> int:
    """Print the lineage; returns the exit status."""
    arguments = _arguments()
    try:
        found = _lineage(arguments.environment, arguments.table)
    except Exception as error:  # noqa: BLE001  a person always gets one line
        print(f"error: {in_line(error)}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({source: each.model_dump() for source, each in found.items()}, indent=1))
    else:
        for line in lines(found):
            print(safe(line))
    return 0


def lines(found: Mapping[str, Fed]) -> Iterator[str]:
    """The lineage for people, one line per source column."""
    for source, each in found.items():
        rows = [f"rows of {', '.join(each.rows)}"] if each.rows else []
        columns = [", ".join(each.columns)] if each.columns else []
        yield f"{source}: {'; '.join([*columns, *rows])}"


def _lineage(environment: str, table: str | None) -> dict[str, Fed]:
    at = connections(environment)
    models = library.load(at.transforms)
    table = of_user(table, library.tables_read(models)) if table else None
    return fed(sources.lineage_of(at.url, at.schema, models, at.raw, table), table)


def _arguments() -> argparse.Namespace:
    parser = Parser("tasks.lineage", __doc__)
    parser.add_argument("table", nargs="?", help="only the columns of this table of the source")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_environment()
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
