"""How the warehouse is doing, for people and for monitors: ``python -m tasks.status``.

Exits as Nagios' plugins do: 0 all is well, 1 rows are set aside, 2 the warehouse is older
than it may be, 3 that could not be found out.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from pipeline import settings, status
from pipeline.redaction import safe
from pipeline.settings import Settings
from pipeline.status import Counting, Status
from pipeline.words import counted
from tasks import blocks
from tasks.failures import in_some_line
from tasks.metrics import OUTCOMES
from tasks.report import left_out

MAX_AGE = timedelta(minutes=30)
_MINUTES = MAX_AGE // timedelta(minutes=1)
_REASONS = 20
_WIDTH = 1000


class Verdict(IntEnum):
    """0 all is well, 1 rows are set aside or were missed, 2 older than it may be, 3 that is not known."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def main() -> int:
    """Show how the warehouse is doing; the exit status says whether that is well."""
    try:
        arguments = _arguments()
    except SystemExit as usage:  # with 2, which would be taken for CRITICAL
        return Verdict.UNKNOWN if usage.code else Verdict.OK
    environment: str = arguments.environment
    found = None
    try:
        config = settings.load()
        environment = config.environment_for(environment)
        found = _look(config, environment, _counting(arguments))
        verdict = judge(found, timedelta(minutes=arguments.max_age))
    except Exception as error:  # noqa: BLE001  whatever it is, a monitor gets one line and its status
        verdict = Verdict.UNKNOWN
        print(
            f"{verdict.name}: {in_some_line(error)}", file=sys.stderr if arguments.prometheus else sys.stdout
        )
    if arguments.prometheus:
        print(exposition(found, verdict, environment), end="")
    elif found:
        show(found, verdict)
    return verdict


def judge(found: Status, max_age: timedelta) -> Verdict:
    """Whether all is well with a warehouse that may be of that age."""
    if found.age is None or found.age > max_age or found.broken:
        return Verdict.CRITICAL
    return Verdict.WARNING if found.set_aside or found.missed else Verdict.OK


def exposition(found: Status | None, verdict: Verdict, environment: str) -> str:
    """The figures as Prometheus reads them, such as from a file by way of node_exporter."""
    registry, made = CollectorRegistry(), dict[str, Gauge]()
    for name, says, labels, value in [
        _Figure("status", verdict.__doc__ or "", {}, verdict),
        *_figures(found),
    ]:
        if name not in made:
            made[name] = Gauge(f"totesys_{name}", says, ["environment", *labels], registry=registry)
        shown = {label: safe(text) for label, text in labels.items()}
        made[name].labels(environment=environment, **shown).set(value)
    return generate_latest(registry).decode()


class _Figure(NamedTuple):
    """One sample of a gauge."""

    name: str
    says: str
    labels: dict[str, str]
    value: float


def _figures(found: Status | None) -> Iterator[_Figure]:
    if not found:
        return
    if found.up_to_date_at:
        shown = found.up_to_date_at.timestamp()
        yield _Figure("up_to_date_timestamp_seconds", "The moment of the source that is shown", {}, shown)
    if found.waiting is not None:
        waiting = sum(found.waiting.values())
        yield _Figure("source_rows_waiting", "Rows that the next batch reads", {}, waiting)
    yield _Figure("batch_sealed", "Whether a batch was read and not loaded", {}, bool(found.sealed))
    for last in found.batches[:1]:
        yield _Figure("last_batch_lag_seconds", "From its moment to its load", {}, last.lag.total_seconds())
        for outcome in OUTCOMES:
            rows = getattr(last, outcome)
            yield _Figure("last_batch_rows", "Rows by what came of them", {"outcome": outcome}, rows)
    for table, rows in status.by_table(found.set_aside).items():
        yield _Figure("rows_set_aside", "Rows that are set aside now", {"table": table}, rows)
    for table, rows in found.missed.items():
        yield _Figure("rows_missed", "Rows that only the last reconciling found", {"table": table}, rows)
    yield _Figure("tables_to_fill_again", "Tables that are not as they were loaded", {}, len(found.broken))
    for name, used in found.usage.items():
        yield _Figure("bucket_objects", "Objects in a bucket", {"bucket": name}, used.objects)
        yield _Figure("bucket_bytes", "Size of all its objects", {"bucket": name}, used.bytes)


def in_words(span: timedelta) -> str:
    """A span of time as people say it, in its largest unit or two."""
    seconds = max(0, int(span.total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3600, seconds // 60
    if days >= 2:  # noqa: PLR2004
        return counted(days, "day")
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def _counting(arguments: argparse.Namespace) -> Counting:
    if arguments.quick:
        return "nothing"
    return "all" if arguments.count else "small"


def _look(config: Settings, environment: str, counting: Counting) -> Status:
    return status.look(
        blocks.database_url(blocks.SOURCE, environment),
        blocks.database_url(blocks.WAREHOUSE, environment),
        blocks.bucket(blocks.RAW, environment),
        blocks.bucket(blocks.PROCESSED, environment),
        config,
        counting=counting,
        key=blocks.hash_key(environment),
    )


def show(found: Status, verdict: Verdict) -> None:
    """Print it for a person; the first line says it all."""
    print(f"{verdict.name}: {safe(_story(found))}")
    for heading, table in _tables(found):
        print(f"\n{safe(heading)}")
        if table:
            _print(table)


def _story(found: Status) -> str:
    if found.up_to_date_at is None or found.age is None:
        return "nothing was ever loaded; `make run` does, or look at the runs in the Prefect UI"
    said = f"the warehouse shows the source as of {_time(found.up_to_date_at)}, {in_words(found.age)} ago"
    rows = sum(each.rows for each in found.set_aside)
    if rows:
        said += f"; rows set aside: {rows:,}"
    if missed := sum(found.missed.values()):
        said += f"; rows that runs had missed, found by reconciling: {missed:,}"
    return f"{said}; tables to fill again: {len(found.broken):,}" if found.broken else said


def _tables(found: Status) -> Iterator[tuple[str, Table | None]]:
    yield f"Waiting in the source: {found.story}", None
    for line in left_out(found.left_out):
        yield line.removesuffix("."), None
    if found.sealed:
        yield f"Waiting to be loaded: batch {found.sealed}, which the next run finishes", None
    for mismatch in found.broken:
        yield f"{mismatch.reason}; the next run fills it again", None
    if found.batches:
        rows = [
            (_time(batch.snapshot_at), in_words(batch.lag), *map(_number, (*batch.effects, batch.rejected)))
            for batch in found.batches
        ]
        head = ("moment", "loaded after", "added", "changed", "deleted", "set aside")
        yield "Last batches", _table(head, rows, right=range(1, 6))
    if found.set_aside:
        aside = [(each.table, _number(each.rows), each.reason) for each in found.set_aside[:_REASONS]]
        more = len(found.set_aside) - len(aside)
        hidden = f"; {counted(more, 'more reason')} not shown" if more else ""
        yield f"Set aside, in etl.rejected{hidden}", _table(("table", "rows", "reason"), aside, right=[1])
    rows_of = status.by_table(found.set_aside)
    for table, readers in found.readers.items():
        refused = counted(rows_of[table], "rejected row")
        yield f"Models over {table} count its {refused}, which it lacks: {', '.join(readers)}", None
    if found.missed:
        lost = [(table, _number(rows)) for table, rows in found.missed.items()]
        yield (
            "Missed by other runs, found by the last reconciling",
            _table(("table", "rows"), lost, right=[1]),
        )
    if found.usage:
        used = [(name, _number(used.objects), decimal(used.bytes)) for name, used in found.usage.items()]
        yield "Buckets", _table(("bucket", "objects", "size"), used, right=[1, 2])


def _number(number: int) -> str:
    return f"{number:,}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[int]) -> Table:
    table, numbers = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0)), set(right)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(safe, row))
    return table


def _print(table: Table) -> None:
    """Print a table, set in a little, without blanks at the ends of lines and without colours."""
    console = Console(width=_WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(f"  {line.rstrip()}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tasks.status", description=__doc__)
    parser.add_argument(
        "--environment", default="", metavar="NAME", help="whose blocks; TOTESYS_ENVIRONMENT by default"
    )
    parser.add_argument(
        "--max-age",
        type=float,
        default=_MINUTES,
        metavar="MINUTES",
        help=f"what counts as too old; {_MINUTES} by default",
    )
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick",
        action="store_true",
        help="count neither what waits in the source nor what is in the buckets",
    )
    effort.add_argument(
        "--count", action="store_true", help="count what waits in large tables, too, which reads all of them"
    )
    parser.add_argument("--prometheus", action="store_true", help="print the figures for Prometheus")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
