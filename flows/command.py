"""The command ``python -m flows``: one local run of a flow."""

import argparse

from prefect import tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.etl import etl
from flows.rebuild import rebuild
from flows.retain import MOST_DAYS, retain
from pipeline import settings
from pipeline.redaction import safe
from tasks import watchdogs
from tasks.arguments import Parser, number, time
from tasks.failures import failure_shown_once, in_some_line, print_error

# The options of a run, of a rebuild and of removing batches; all take --environment.
_LIMITS = {"max_rejected", "max_deleted_share"}
_OPTIONS = {
    "run": {"reconcile", "restate", "full", "allow", *_LIMITS},
    "rebuild": {"rebuild", "until", "warehouse", "allow", *_LIMITS},
    "retain": {"retain", "yes"},
}
_NOTHING_LEFT = "nothing to rebuild: the warehouse has every batch that the raw bucket has for it"


def main() -> int:
    """Run a flow; returns the exit status, 0 only if the warehouse is up to date or rebuilt."""
    arguments = _arguments()
    try:
        limits = arguments.max_rejected, arguments.max_deleted_share
        environment = settings.load().environment_for(arguments.environment)
        # Heartbeats are for deployed runs; here they would add a second at the end.
        with (
            temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
            tags(watchdogs.tag(environment)),
            failure_shown_once(),
        ):
            if arguments.retain:
                print(safe(retain(arguments.retain, arguments.yes, environment)))
                return 0
            if arguments.rebuild:
                reports = rebuild(arguments.until, *limits, environment, arguments.warehouse, arguments.allow)
                shown = "\n".join(each.summary for each in reports) or _NOTHING_LEFT
            else:
                shown = etl(
                    arguments.reconcile,
                    arguments.full,
                    *limits,
                    environment,
                    restate=arguments.restate,
                    allow=arguments.allow,
                ).summary
    except Exception as error:  # noqa: BLE001  a person always gets one line; the log has the rest
        print_error(in_some_line(error))
        return 1
    print(safe(shown, keep="\n"))
    return 0


def _arguments() -> argparse.Namespace:
    summary, *_ = (etl.description or "").partition("\n")
    parser = Parser("flows", summary)
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
    parser.add_argument(
        "--max-rejected", type=number(int, 0), metavar="N", help="fail if more rows would be rejected"
    )
    parser.add_argument(
        "--max-deleted-share",
        type=number(float, 0, 1),
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
    parser.add_argument(
        "--until", type=time, metavar="TIME", help="rebuild up to this time, e.g. 2026-11-20T12:00:00Z"
    )
    parser.add_argument(
        "--warehouse", default="", metavar="ID", help="rebuild from the batches of this warehouse"
    )
    parser.add_environment()
    arguments = parser.parse_args()
    _refuse_others(parser, arguments)
    return arguments


def _refuse_others(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse an option that what is asked for would ignore."""
    given = {
        name for name, value in vars(arguments).items() if value not in (None, "") and value is not False
    }
    what = next((each for each in ("retain", "rebuild") if each in given), "run")
    for name in sorted(given - _OPTIONS[what] - {"environment"}):
        option = f"--{name.replace('_', '-')}"
        owner = next(each for each, names in _OPTIONS.items() if name in names)
        reason = f"only goes with --{owner}" if what == "run" else f"does not go with --{what}"
        parser.error(f"argument {option}: {reason}")


def _days(text: str) -> int:
    """A number of days, as ``400d`` or ``400``."""
    days = text.removesuffix("d")
    if not days.isdecimal() or not 1 <= int(days) <= MOST_DAYS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of days from 1 to {MOST_DAYS:,}; write KEEP=400d"
        )
    return int(days)
