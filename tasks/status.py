"""The status of the warehouse, for people and for monitors: ``python -m tasks.status``.

The exit status is that of a Nagios plugin: 0 OK, 1 rows are rejected or were missed, or a check warns, 2 the
warehouse is too old or a table has to be refilled, 3 the status is unknown.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from rich.filesize import decimal
from rich.table import Table

from pipeline import RELEASE, settings
from pipeline import status as engine
from pipeline.errors import SettingsError
from pipeline.redaction import safe
from pipeline.settings import Settings
from pipeline.source.snapshots import CLOCK_TOLERANCE
from pipeline.status import Counting, Status
from pipeline.words import counted

try:
    from tasks import blocks
except SettingsError as malformed:  # of Prefect, which cannot be imported
    print(f"UNKNOWN: {malformed}", file=sys.stderr if "--prometheus" in sys.argv else sys.stdout)
    sys.exit(3)
from tasks.arguments import Parser
from tasks.failures import in_some_line
from tasks.metrics import OUTCOMES
from tasks.printing import as_table, print_table
from tasks.report import left_out

_REASONS = 20
_AHEAD = "ahead of the source's clock; until it has caught up, batches are a microsecond apart"


class Verdict(IntEnum):
    """0 OK, 1 rows rejected or missed, or a check warns, 2 too old or tables to refill, 3 unknown."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def main() -> int:
    """Print the status; returns the verdict as exit status."""
    try:
        arguments = _arguments()
    except SystemExit as usage:  # its status 2 would mean CRITICAL
        return Verdict.UNKNOWN if usage.code else Verdict.OK
    environment: str = arguments.environment
    status_now = None
    try:
        config = settings.load()
        environment = config.environment_for(environment)
        status_now = _inspect(config, environment, _counting(arguments))
        verdict = judge(status_now, timedelta(minutes=arguments.max_age))
    except Exception as error:  # noqa: BLE001  a monitor always gets one line and a status
        verdict = Verdict.UNKNOWN
        print(
            f"{verdict.name}: {in_some_line(error)}", file=sys.stderr if arguments.prometheus else sys.stdout
        )
    if arguments.prometheus:
        print(exposition(status_now, verdict, environment), end="")
    elif status_now:
        show(status_now, verdict)
    return verdict


def judge(status: Status, max_age: timedelta) -> Verdict:
    """The verdict on a status, for a warehouse that may be up to ``max_age`` old.

    One that is ahead of the source's clock by more has an age that nobody knows.
    """
    if status.age is None or abs(status.age) > max_age or status.to_refill:
        return Verdict.CRITICAL
    return Verdict.WARNING if status.rejected or status.missed or status.warned else Verdict.OK


def exposition(status: Status | None, verdict: Verdict, environment: str) -> str:
    """The figures in Prometheus' text format, for example for node_exporter's textfile collector."""
    registry, gauges = CollectorRegistry(), dict[str, Gauge]()
    for name, description, labels, value in [
        _Figure("status", verdict.__doc__ or "", {}, verdict),
        *_figures(status),
    ]:
        if name not in gauges:
            gauges[name] = Gauge(f"totesys_{name}", description, ["environment", *labels], registry=registry)
        safe_labels = {label: safe(text) for label, text in labels.items()}
        gauges[name].labels(environment=environment, **safe_labels).set(value)
    return generate_latest(registry).decode()


class _Figure(NamedTuple):
    """One sample of a gauge."""

    name: str
    description: str
    labels: dict[str, str]
    value: float


def _figures(status: Status | None) -> Iterator[_Figure]:
    if not status:
        return
    if status.up_to_date_at:
        at = status.up_to_date_at.timestamp()
        yield _Figure("up_to_date_timestamp_seconds", "Time of the source that is loaded", {}, at)
    if status.pending is not None:
        pending = sum(status.pending.values())
        yield _Figure("source_rows_pending", "Rows that the next batch reads", {}, pending)
    yield _Figure("batch_sealed", "Whether a batch is sealed and not loaded", {}, bool(status.sealed))
    for last in status.batches[:1]:
        yield _Figure("last_batch_lag_seconds", "From its snapshot to its load", {}, last.lag.total_seconds())
        for outcome in OUTCOMES:
            rows = getattr(last, outcome)
            yield _Figure("last_batch_rows", "Rows by outcome", {"outcome": outcome}, rows)
    for table, rows in engine.by_table(status.rejected).items():
        yield _Figure("rows_rejected", "Rows that are rejected now", {"table": table}, rows)
    for each in status.warned:
        yield _Figure("check_rows", "Rows that a warning check found", {"check": each.name}, each.rows)
    for table, rows in status.missed.items():
        yield _Figure("rows_missed", "Rows that only the last reconciliation found", {"table": table}, rows)
    yield _Figure("tables_to_refill", "Tables that are not as they were loaded", {}, len(status.to_refill))
    for name, used in status.usage.items():
        yield _Figure("bucket_objects", "Objects in a bucket", {"bucket": name}, used.objects)
        yield _Figure("bucket_bytes", "Size of all objects in a bucket", {"bucket": name}, used.bytes)


def in_words(span: timedelta) -> str:
    """A duration in its largest unit or two."""
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


def _inspect(config: Settings, environment: str, counting: Counting) -> Status:
    return engine.inspect(
        blocks.database_url(blocks.SOURCE, environment),
        blocks.database_url(blocks.WAREHOUSE, environment),
        *blocks.buckets(environment),
        config,
        counting=counting,
        key=blocks.hash_key(environment),
    )


def show(status: Status, verdict: Verdict) -> None:
    """Print a status for a person; the first line is the verdict."""
    print(f"{verdict.name}: {safe(_headline(status))}")
    for heading, table in _tables(status):
        print(f"\n{safe(heading)}")
        if table:
            print_table(table)
    print(f"\nRelease {RELEASE}")


def _headline(status: Status) -> str:
    if status.up_to_date_at is None or status.age is None:
        return "nothing has been loaded yet; run `make run`, or check the runs in the Prefect UI"
    line = f"the warehouse is as of {_time(status.up_to_date_at)}, {_distance(status.age)}"
    rows = sum(each.rows for each in status.rejected)
    if rows:
        line += f"; rejected rows: {rows:,}"
    if missed := sum(status.missed.values()):
        line += f"; rows that runs had missed, found by reconciling: {missed:,}"
    if status.warned:
        line += f"; checks that warn: {len(status.warned):,}"
    return f"{line}; tables to refill: {len(status.to_refill):,}" if status.to_refill else line


def _distance(age: timedelta) -> str:
    if age < -CLOCK_TOLERANCE:
        return f"{in_words(-age)} ahead of the source's clock, which has gone back; set it, or run again"
    return f"{in_words(age)} behind the source"


def _tables(status: Status) -> Iterator[tuple[str, Table | None]]:
    yield f"Pending in the source: {status.pending_summary}", None
    for line in left_out(status.left_out):
        yield line.removesuffix("."), None
    if status.sealed:
        yield f"Sealed but not loaded: batch {status.sealed}, which the next run finishes", None
    for mismatch in status.to_refill:
        yield f"{mismatch.reason}; the next run refills it", None
    yield from ((line, None) for line in _models(status))
    if status.ahead > CLOCK_TOLERANCE:
        yield f"The last batch's moment is {in_words(status.ahead)} {_AHEAD}", None
    if status.batches:
        rows = [
            (_time(batch.snapshot_at), in_words(batch.lag), *map(_number, (*batch.effects, batch.rejected)))
            for batch in status.batches
        ]
        head = ("snapshot", "loaded after", "added", "changed", "deleted", "rejected")
        yield "Last batches", as_table(head, rows, right=range(1, 6))
    if status.rejected:
        rejected = [(each.table, _number(each.rows), each.reason) for each in status.rejected[:_REASONS]]
        more = len(status.rejected) - len(rejected)
        hidden = f"; {counted(more, 'more reason')} not shown" if more else ""
        yield f"Rejected, in etl.rejected{hidden}", as_table(("table", "rows", "reason"), rejected, right=[1])
    rows_of = engine.by_table(status.rejected)
    for table, readers in status.readers.items():
        number = counted(rows_of[table], "rejected row")
        yield f"Models over {table} include its {number}, which the table lacks: {', '.join(readers)}", None
    yield from _checks(status)
    if status.missed:
        missed = [(table, _number(rows)) for table, rows in status.missed.items()]
        yield (
            "Missed by earlier runs, found by the last reconciliation",
            as_table(("table", "rows"), missed, right=[1]),
        )
    yield from ((line, None) for line in (*_scans(status), *_references(status)))
    if status.usage:
        used = [(name, _number(used.objects), decimal(used.bytes)) for name, used in status.usage.items()]
        yield "Buckets", as_table(("bucket", "objects", "size"), used, right=[1, 2])


def _models(status: Status) -> Iterator[str]:
    """Which tables are not as a model computes them."""
    for name in status.to_restate:
        yield f"{name} lacks the history of its model, as a run was killed; the next run restates it"
    for name, since in status.frozen.items():
        when = f"Frozen since {_time(since)}" if since else "Frozen by the next run"
        yield f"{when}: {name} has no model"


def _scans(status: Status) -> Iterator[str]:
    """Whether a run scans tables without changes."""
    if status.scan_reason:
        yield f"Changed rows: found by scanning every table, because {status.scan_reason}"
    elif status.scan_reason == "":
        yield "Changed rows: only tables with changed blocks are scanned, by the source's WAL summaries"


def _references(status: Status) -> Iterator[str]:
    """Which tables' references Postgres checks, too."""
    by_reason = dict[str, list[str]]()
    for table, reason in status.checked_by_row.items():
        by_reason.setdefault(reason, []).append(table)
    for reason, tables in by_reason.items():
        names = ", ".join(tables)
        yield f"References of {names}: Postgres checks them for each row again, because {reason}"
    if status.up_to_date_at and not by_reason:
        yield "References: checked by the load, all at once"


def _checks(status: Status) -> Iterator[tuple[str, Table]]:
    if status.warned:
        warned = [(each.name, _number(each.rows), each.error or each.meaning) for each in status.warned]
        yield "Checks that warn", as_table(("check", "rows", "meaning"), warned, right=[1])


def _number(number: int) -> str:
    return f"{number:,}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _arguments() -> argparse.Namespace:
    parser = Parser("tasks.status", __doc__)
    parser.add_environment()
    parser.add_max_age()
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick",
        action="store_true",
        help="do not count pending rows in the source and objects in the buckets",
    )
    effort.add_argument(
        "--count", action="store_true", help="also count pending rows in large tables, reading all of them"
    )
    parser.add_argument("--prometheus", action="store_true", help="print the figures for Prometheus")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
