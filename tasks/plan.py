"""Print what the next run does because models have changed: ``python -m tasks.plan``.

Exits with 0 if that is nothing, 2 if tables change, 1 if it cannot be found out.
"""

import argparse
import json
import sys
from collections.abc import Iterator

from pipeline import settings
from pipeline.models import library
from pipeline.recovery.preview import Preview, preview
from pipeline.redaction import safe
from pipeline.words import counted
from tasks import blocks
from tasks.failures import clean_failures, in_some_line

_CHANGES = 2
EFFECTS = {
    "created": "is created and filled",
    "restated": "is computed again over {batches}; versions keep their times, and none is added",
    "compared": "is computed again for the next batch: rows that differ get a new version",
    "unchanged": "stays as it is",
    "frozen": "has no model any more; it stays as it is, and no batch is loaded into it",
}


def main() -> int:
    """Print the plan; the exit status says whether there is one."""
    arguments = _arguments()
    try:
        found = _preview(arguments.environment)
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets one line
        print(f"error: {in_some_line(error)}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps([each.model_dump() for each in found], indent=1))
    else:
        for line in lines(found):
            print(safe(line))
    return _CHANGES if found else 0


def lines(found: list[Preview]) -> Iterator[str]:
    """The plan for people."""
    for each in found:
        batches = counted(each.batches, "batch", "batches")
        effect = EFFECTS[each.effect].format(batches=batches)
        yield f"{each.table} ({counted(each.rows, 'row')}): {effect}"
        for statement in each.altered:
            yield f"  the run executes: {statement}"
        for statement in each.by_hand:
            yield f"  not done by a run, as it can fail or lose values: {statement}"
        if each.read_by:
            yield f"  read by {', '.join(each.read_by)}"
    if not found:
        yield "no table changes: models and schema.sql are those that the warehouse was loaded with"


@clean_failures
def _preview(environment: str) -> list[Preview]:
    config = settings.load()
    environment = config.environment_for(environment)
    return preview(
        blocks.database_url(blocks.WAREHOUSE, environment),
        config.warehouse_schema,
        library.load(config.transforms),
        config.transforms,
        blocks.bucket(blocks.RAW, environment),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.plan", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--environment", default="", metavar="NAME", help="whose blocks; TOTESYS_ENVIRONMENT by default"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
