"""Run one model on the last batch in the lake, and print what it would do: ``python -m tasks.trial``.

Nothing is changed. Exits with 0 if the warehouse would accept all rows, 2 if it would reject some, 1 if the
model does not run.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic

from rich.table import Table

from pipeline.messages import shows_values
from pipeline.redaction import safe
from pipeline.review import hiding, trial
from pipeline.review.live import Difference, Row
from pipeline.review.trial import Trial, TriedColumn
from pipeline.words import counted
from tasks.arguments import Parser, number
from tasks.connections import connections, in_line
from tasks.printing import as_changes, as_rows, as_table, print_table, shortened

_REJECTS = 2
_REASONS = 10


def main(words: Sequence[str] | None = None) -> int:
    """Print what the model would do; the exit status says whether rows would be rejected."""
    arguments = _arguments(words)
    started = monotonic()
    try:
        tried = _try(arguments)
    except Exception as error:  # noqa: BLE001  whatever it is, a person gets one line
        print(f"error: {in_line(error)}", file=sys.stderr)
        return 1
    tried = tried if shows_values() else hiding.of_trial(tried)
    if arguments.json:
        print(json.dumps(tried.model_dump(mode="json"), indent=1))
    else:
        _show(tried, monotonic() - started)
    return _REJECTS if tried.rejected else 0


def _try(arguments: argparse.Namespace) -> Trial:
    at, path = connections(arguments.environment), Path(arguments.model)
    return trial.run(at.url, at.schema, at.transforms, path, at.raw, first=arguments.rows)


def _show(tried: Trial, seconds: float) -> None:
    for heading, table in sections(tried):
        print(safe(heading, keep="\n"))
        if table:
            print_table(table)
    print(f"Nothing was changed. It took {seconds:.1f} s.")


def sections(tried: Trial) -> Iterator[tuple[str, Table | None]]:
    """The trial for people: headings, some with a table."""
    at = f"{tried.snapshot_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"{tried.model}: {counted(tried.rows, 'row')} as of {at}", _first_rows(tried.columns, tried.first)
    columns = [(each.name, each.yields, each.type or "-") for each in tried.columns]
    yield "Columns", as_table(("column", "in the model", "in the warehouse"), columns)
    if any(each.personal for each in tried.columns) and not shows_values():
        yield "Personal values are hidden; TOTESYS_SHOW_VALUES=true shows them", None
    for remark in tried.remarks:
        yield f"Note: {remark}", None
    if tried.create_table:
        yield f"This table would fit; add it to schema.sql:\n{tried.create_table}", None
    yield from _rejected(tried)
    if tried.difference:
        yield from _differences(tried.difference, tried.model, "other rows" if tried.rejected else "rows")


def _first_rows(columns: Iterable[TriedColumn], rows: Iterable[Row]) -> Table | None:
    names = [column.name for column in columns]
    shown = [[shortened(row[name]) for name in names] for row in rows]
    return as_table(names, shown) if shown else None


def _rejected(tried: Trial) -> Iterator[tuple[str, Table | None]]:
    if not tried.rejected:
        yield "No row would be rejected", None
        return
    rows = [(f"{each.rows:,}", each.reason, each.first_key) for each in tried.rejected[:_REASONS]]
    more = len(tried.rejected) - len(rows)
    hidden = f"; {counted(more, 'more reason')} not shown" if more else ""
    number = counted(sum(each.rows for each in tried.rejected), "row")
    yield f"Would be rejected: {number}{hidden}", as_table(("rows", "reason", "first key"), rows, right=[0])


def _differences(found: Difference, table: str, compared: str) -> Iterator[tuple[str, Table | None]]:
    if not (found.added or found.changed or found.missing):
        yield f"Its {compared} equal those of {table} in the warehouse", None
        return
    counts = f"{found.added:,} added, {found.changed:,} changed, {found.missing:,} missing"
    yield f"Compared with {table} in the warehouse: {counts}", None
    for heading, rows in (("First added", found.first_added), ("First missing", found.first_missing)):
        if rows:
            yield heading, as_rows(rows)
    if found.first_changed:
        yield "First changed", as_changes(found.first_changed, "warehouse", "model")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("tasks.trial", __doc__)
    parser.add_argument("model", help="the file of a model, e.g. transforms/dim_shop.sql")
    parser.add_argument(
        "--rows", type=number(int, 0), default=5, metavar="N", help="rows to show of each kind (5)"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_environment()
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
