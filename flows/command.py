"""The command ``python -m flows``: one local run of a flow."""

import argparse

from prefect import tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.etl import etl
from flows.rebuild import rebuild
from flows.retain import retain
from pipeline import settings
from pipeline.redaction import safe
from tasks import watchdogs
from tasks.failures import in_some_line, print_error

_NOTHING_NEW = "up to date: nothing changed in the source"
_NOTHING_LEFT = "nothing to rebuild: the warehouse has every batch that the raw bucket has for it"


def main() -> int:
    """Run a flow; returns the exit status, 0 only if the warehouse is up to date or rebuilt."""
    arguments = _arguments()
    try:
        limits = arguments.max_rejected, arguments.max_deleted_share
        environment = settings.load().environment_for(arguments.environment)
        # Heartbeats are for deployed runs; here they would add a second at the end.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), tags(watchdogs.tag(environment)):
            if arguments.retain:
                print(safe(retain(arguments.retain, arguments.yes, environment)))
                return 0
            if arguments.rebuild:
                reports = rebuild(arguments.until, *limits, environment, arguments.warehouse)
            else:
                reports = etl(
                    arguments.reconcile,
                    arguments.full,
                    *limits,
                    environment,
                    restate=arguments.restate,
                    allow=arguments.allow,
                )
    except Exception as error:  # noqa: BLE001  a person always gets one line; the log has the rest
        print_error(in_some_line(error))
        return 1
    for report in reports:
        print(safe(report.summary, keep="\n"))
    if not reports:
        print(_NOTHING_LEFT if arguments.rebuild else _NOTHING_NEW)
    return 0


def _arguments() -> argparse.Namespace:
    summary, *_ = (etl.description or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m flows", description=summary)
    parser.add_argument(
        "--reconcile", action="store_true", help="also compare every row of the source with the warehouse"
    )
    parser.add_argument(
        "--restate",
        action="append",
        metavar="MODEL",
        help="compute a model's table again over all batches; may be given several times",
    )
    parser.add_argument("--full", action="store_true", help="read every table in full")
    parser.add_argument("--max-rejected", type=int, metavar="N", help="fail if more rows would be rejected")
    parser.add_argument(
        "--max-deleted-share",
        type=float,
        metavar="SHARE",
        help="allow up to this share of a table to be deleted, from 0 to 1",
    )
    parser.add_argument(
        "--allow",
        action="append",
        metavar="CHANGES",
        help="allow changes of tables that lose data or may fail, as `make plan` prints them",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="fill an empty warehouse from the raw bucket, without the source",
    )
    parser.add_argument(
        "--retain",
        type=_days,
        metavar="DAYS",
        help="list the batches older than this, such as 400d, that no rebuild needs",
    )
    parser.add_argument("--yes", action="store_true", help="remove these batches")
    parser.add_argument("--until", metavar="TIME", help="rebuild up to this time, e.g. 2026-11-20T12:00:00Z")
    parser.add_argument(
        "--warehouse", default="", metavar="ID", help="rebuild from the batches of this warehouse"
    )
    parser.add_argument(
        "--environment",
        default="",
        metavar="NAME",
        help="environment of the blocks (TOTESYS_ENVIRONMENT)",
    )
    return parser.parse_args()


def _days(text: str) -> int:
    """A number of days, as ``400d`` or ``400``."""
    days = text.removesuffix("d")
    if not days.isdecimal() or int(days) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days; write KEEP=400d")
    return int(days)
