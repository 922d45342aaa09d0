"""Compute changed models into a schema of their own, and print how they differ: ``python -m tasks.branch``.

The source is not read, and live tables are not changed. Exits with 0 if no table differs, 2 if one does, 1 on
an error.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator

from rich.table import Table

from pipeline import settings
from pipeline.messages import shows_values
from pipeline.models import library
from pipeline.redaction import safe
from pipeline.review import branch, hiding
from pipeline.review.branch import Branch
from pipeline.review.versions import TableDifference
from pipeline.words import counted
from tasks import blocks
from tasks.arguments import Parser, number
from tasks.failures import clean_failures, in_some_line, print_error
from tasks.printing import as_changes, as_rows, print_table

_CHANGES = 2


def main() -> int:
    """Compute or drop a branch; returns the exit status."""
    arguments = _arguments()
    logging.getLogger("pipeline").setLevel(logging.INFO)  # the progress, on standard error
    try:
        if arguments.drop:
            _drop(arguments)
            print(f"dropped {branch.schema_of(arguments.name)}")
            return 0
        found = _compute(arguments)
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets one line
        print_error(in_some_line(error))
        return 1
    if arguments.json:
        print(json.dumps(found.model_dump(), indent=1))
    else:
        for heading, table in sections(found):
            print(safe(heading))
            if table:
                print_table(table)
    return _CHANGES if any(each.differs for each in found.tables) else 0


def sections(found: Branch) -> Iterator[tuple[str, Table | None]]:
    """The differences for people: headings, some with a table."""
    if not found.tables:
        yield "no table changes: models and schema.sql are those that the warehouse was loaded with", None
        return
    batches = counted(found.batches, "batch", "batches")
    tables = counted(len(found.tables), "table")
    yield f"{found.schema_name}: {tables}, computed over {batches}; live tables are unchanged", None
    for each in found.tables:
        yield f"{each.table}: {_counts(each)}", None
        for side, rows in (("branch", each.first_added), ("live table", each.first_missing)):
            if rows:
                yield f"  only in the {side}", as_rows(rows)
        if each.first_changed:
            yield "  changed", as_changes(each.first_changed, "live", "branch")


def _counts(each: TableDifference) -> str:
    versions = counted(each.versions, "version")
    rejected = f"; {counted(each.rejected, 'row')} rejected" if each.rejected else ""
    if each.is_new:
        return f"a new table with {versions}{rejected}"
    counts = f"{each.added:,} added, {each.changed:,} changed, {each.missing:,} missing"
    columns = f"; new columns: {', '.join(each.new_columns)}" if each.new_columns else ""
    return f"{versions}: {counts if each.differs else 'equal to the live table'}{columns}{rejected}"


@clean_failures
def _compute(arguments: argparse.Namespace) -> Branch:
    config = settings.load()
    environment = config.environment_for(arguments.environment)
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    raw = blocks.bucket(blocks.RAW, environment)
    models, schema = library.load(config.transforms), config.warehouse_schema
    found = branch.compute(url, schema, models, config.transforms, raw, arguments.name, first=arguments.rows)
    return found if shows_values() else hiding.of_branch(found)


@clean_failures
def _drop(arguments: argparse.Namespace) -> None:
    environment = settings.load().environment_for(arguments.environment)
    branch.drop(blocks.database_url(blocks.WAREHOUSE, environment), arguments.name)


def _arguments() -> argparse.Namespace:
    parser = Parser("tasks.branch", __doc__)
    parser.add_argument("name", help="the schema of the branch is branch_<name>")
    parser.add_argument("--drop", action="store_true", help="drop the branch")
    parser.add_argument(
        "--rows", type=number(int, 0), default=5, metavar="N", help="rows to show of each kind (5)"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_environment()
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
