"""Print what each column of the source feeds in the warehouse: ``python -m tasks.lineage``.

The columns are those of the last batch in the raw bucket; the source is not asked.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping

from pipeline import settings
from pipeline.models import library
from pipeline.models.lineage import Fed, fed
from pipeline.redaction import safe
from pipeline.review import sources
from tasks import blocks
from tasks.failures import clean_failures, in_some_line


def main() -> int:
    """Print the lineage; returns the exit status."""
    arguments = _arguments()
    try:
        found = _lineage(arguments.environment, arguments.table)
    except Exception as error:  # noqa: BLE001  a person always gets one line
        print(f"error: {in_some_line(error)}", file=sys.stderr)
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


@clean_failures
def _lineage(environment: str, table: str | None) -> dict[str, Fed]:
    config = settings.load()
    environment = config.environment_for(environment)
    models = library.load(config.transforms)
    return fed(
        sources.lineage_of(
            blocks.database_url(blocks.WAREHOUSE, environment),
            config.warehouse_schema,
            models,
            blocks.bucket(blocks.RAW, environment),
            table,
        ),
        table,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.lineage", description=__doc__)
    parser.add_argument("table", nargs="?", help="only the columns of this table of the source")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--environment", default="", metavar="NAME", help="whose blocks; TOTESYS_ENVIRONMENT by default"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
