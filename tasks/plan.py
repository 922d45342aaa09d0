"""Print what the next run does because models, marts or schema.sql have changed: ``python -m tasks.plan``.

Exits with 0 if that is nothing, 2 if a table, a mart, a check or schema.sql does, 1 if it cannot be found.
"""

import argparse
import json
import sys
from collections.abc import Collection

from pipeline import settings
from pipeline.models import library
from pipeline.redaction import safe
from pipeline.review.preview import preview
from pipeline.review.table_preview import Preview
from tasks import blocks
from tasks.arguments import Parser
from tasks.changes import consents, lines
from tasks.failures import clean_failures, in_some_line, print_error

_CHANGES = 2


def main() -> int:
    """Print the plan; the exit status says whether there is one."""
    arguments = _arguments()
    try:
        allow = consents(arguments.allow)
        found = _preview(arguments.environment, allow)
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets one line
        print_error(in_some_line(error))
        return 1
    if arguments.json:
        print(json.dumps([_fields(each) for each in found], indent=1))
    else:
        for line in lines(found, allow):
            print(safe(line))
    return _CHANGES if found else 0


def _fields(each: Preview) -> dict[str, object]:
    """All that is known of a table's changes, with the statements and consents together."""
    return each.model_dump() | {
        "altered": each.altered,
        "by_hand": each.by_hand,
        "needs_consent": each.consents,
    }


@clean_failures
def _preview(environment: str, allow: Collection[str]) -> list[Preview]:
    config = settings.load()
    environment = config.environment_for(environment)
    return preview(
        blocks.database_url(blocks.WAREHOUSE, environment),
        config.warehouse_schema,
        library.load(config.transforms),
        config.transforms,
        blocks.bucket(blocks.RAW, environment),
        allow,
    )


def _arguments() -> argparse.Namespace:
    parser = Parser("tasks.plan", __doc__)
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="CHANGES", help="as if these changes were allowed"
    )
    parser.add_environment()
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
