"""The command line of the demo: run it, open its databases, keep it running."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from demo import shop, story
from demo.binaries import login, programs
from demo.home import FOLDER, SOURCE, WAREHOUSE, DemoError, Home, InUse, command, shown
from demo.interrupts import STOPPED, Interrupts
from demo.live import live
from demo.postgres import Postgres, PostgresError
from demo.processes import Dashboard
from demo.run import Demo
from demo.terminal import Terminal

_FEWEST_ORDERS = 100


def main(interrupts: Interrupts) -> int:
    """Run what the command line asks for; returns the exit status."""
    arguments = _parse()
    home = Home(Path(arguments.folder).absolute())
    if arguments.what in _OPENERS:
        return _open_or_error(home, interrupts, _OPENERS[arguments.what], arguments.rest)
    terminal = Terminal()
    try:
        with home.locked():
            terminal.divert(home.log)
            _play(home, terminal, interrupts, arguments)
    except InUse as error:
        terminal.fail(str(error))
        return 1
    except Exception as error:  # noqa: BLE001  # a person gets one line; the log has the rest
        traceback.print_exc()
        terminal.fail(_in_one_line(error, home))
        return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Run the pipeline twice on a made-up shop, with a working day between, and show "
        "what happened. A second demo continues from there.",
    )
    parser.add_argument("--fresh", action="store_true", help="delete earlier data and start over")
    parser.add_argument(
        "--folder", default=FOLDER, metavar="F", help="the folder for all data (default: .demo)"
    )
    parser.add_argument(
        "--orders",
        type=_orders,
        default=shop.ORDERS,
        metavar="N",
        help="sales orders to begin with (%(default)s)",
    )
    parser.add_argument(
        "--every", type=int, default=30, metavar="S", help="live: seconds from run to run (%(default)s)"
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("live", *_OPENERS),
        help="live: keep running, with the Prefect UI; psql: open the databases;"
        " status, try MODEL, docs, dashboard: as `make status` and so on, for the demo",
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what in ("live", "status") and arguments.rest:
        parser.error(f"options come before {arguments.what}")
    return arguments


def _orders(text: str) -> int:
    number = int(text)
    if number < _FEWEST_ORDERS:
        raise argparse.ArgumentTypeError(f"at least {_FEWEST_ORDERS} are needed")
    return number


def _play(home: Home, terminal: Terminal, interrupts: Interrupts, arguments: argparse.Namespace) -> None:
    """Run the demo and show its report; stops everything at the end."""
    demo = _prepare(home, terminal, interrupts, fresh=arguments.fresh)
    try:
        if arguments.what == "live":
            live(demo, arguments.orders, arguments.every)
        else:
            story.show_report(demo, demo.play(arguments.orders))
    finally:
        demo.postgres.stop()


def _prepare(home: Home, terminal: Terminal, interrupts: Interrupts, *, fresh: bool) -> Demo:
    """A demo that can be interrupted, in a folder that is complete or empty."""
    home.isolate()
    demo = Demo(home, terminal, interrupts)

    def stop_demo(number: int) -> int:
        last_words = terminal.silence()
        demo.stop()
        last_words(STOPPED)
        return 0 if demo.worker and number == signal.SIGINT else 128 + number

    interrupts.catch(stop_demo)
    with interrupts.held():
        home.remove() if fresh else home.finish_removal()
    return demo


def _open_or_error(home: Home, interrupts: Interrupts, opener: _Opener, rest: list[str]) -> int:
    try:
        return _open(home, interrupts, opener, rest)
    except (DemoError, PostgresError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _open(home: Home, interrupts: Interrupts, opener: _Opener, rest: list[str]) -> int:
    """Open the demo's databases; who starts their server stops it when nobody uses it any more."""
    postgres = home.postgres()
    if not postgres.folder.exists():
        raise DemoError(f"there is no demo in {shown(home.folder)} yet: run make demo first")
    with ExitStack() as stack:
        if postgres.running:
            stack.enter_context(home.joined())
        else:
            stack.enter_context(home.locked())
            with interrupts.held():
                stack.enter_context(postgres)
            stack.callback(home.wait_for_others)
        return opener(home, postgres, rest)


def _psql(_: Home, postgres: Postgres, rest: list[str]) -> int:
    """Run psql on the warehouse, or on the database that its own arguments name."""
    psql = programs(postgres.version, None) / "psql"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    env = inherited | login(postgres.url(WAREHOUSE))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql's own to handle
    try:
        return subprocess.run([psql, *rest], env=env, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _status(home: Home, postgres: Postgres, _: list[str]) -> int:
    """Print the status of the warehouse, without a Prefect server."""
    home.isolate()
    from demo import flow

    return flow.show_status(postgres.url(SOURCE), postgres.url(WAREHOUSE), home)


def _try(home: Home, postgres: Postgres, rest: list[str]) -> int:
    """Run one model on the last batch, without a Prefect server."""
    words = [str(Path(word).absolute()) if Path(word).is_file() else word for word in rest]
    _use_own_settings(home, postgres)
    from tasks import trial

    return trial.main(words)


def _docs(home: Home, postgres: Postgres, rest: list[str]) -> int:
    """Write the data dictionary, without a Prefect server."""
    folder = Path.cwd()
    _use_own_settings(home, postgres)
    from tasks import data_dictionary

    return data_dictionary.main(rest, folder)


def _use_own_settings(home: Home, postgres: Postgres) -> None:
    home.isolate()
    os.environ |= {
        "TOTESYS_SOURCE_URL": postgres.url(SOURCE),
        "TOTESYS_WAREHOUSE_URL": postgres.url(WAREHOUSE),
        "TOTESYS_RAW_URI": str(home.raw),
        "TOTESYS_PROCESSED_URI": str(home.processed),
    }


def _dashboard(home: Home, postgres: Postgres, rest: list[str]) -> int:
    """Serve the page on the warehouse until Ctrl-C."""
    home.isolate()
    return Dashboard(postgres.url(WAREHOUSE), home.folder, *rest).wait_for_end()


_Opener = Callable[[Home, Postgres, list[str]], int]
_OPENERS: dict[str, _Opener] = {
    "psql": _psql, "status": _status, "try": _try, "docs": _docs, "dashboard": _dashboard,
}  # fmt: skip


def _in_one_line(error: Exception, home: Home) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (DemoError, PostgresError)):
        text = f"{type(error).__name__}: {text}"
    return f"{text} (log: {shown(home.log)}; to start over: {command(home, '--fresh')})"
