"""The command line of the demo: play it, look into its databases, keep it up."""

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
from demo.run import Demo
from demo.terminal import Terminal

_FEWEST_ORDERS = 100


def main(interrupts: Interrupts) -> int:
    """Run what the command line asks for; returns the exit status."""
    arguments = _parse()
    home = Home(Path(arguments.folder).absolute())
    if arguments.what in _LOOKS:
        return _look_or_error(home, interrupts, _LOOKS[arguments.what], arguments.rest)
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
        "what happened. Run again, it goes on from there.",
    )
    parser.add_argument("--fresh", action="store_true", help="delete what earlier demos left and start over")
    parser.add_argument(
        "--folder", default=FOLDER, metavar="F", help="where everything lies (default: .demo)"
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
        choices=("live", *_LOOKS),
        help="live: go on by itself, with Prefect's pages to look at; psql: look into the databases;"
        " status: what `make status` says of the demo",
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
    """Do what the demo is for, tell what happened, and leave nothing running."""
    demo = _ready(home, terminal, interrupts, fresh=arguments.fresh)
    try:
        if arguments.what == "live":
            live(demo, arguments.orders, arguments.every)
        else:
            story.tell(demo, demo.play(arguments.orders))
    finally:
        demo.postgres.stop()


def _ready(home: Home, terminal: Terminal, interrupts: Interrupts, *, fresh: bool) -> Demo:
    """A demo that can be interrupted, in a folder that is whole or empty."""
    home.isolate()
    demo = Demo(home, terminal, interrupts)

    def leave(number: int) -> int:
        last_words = terminal.silence()
        demo.stop()
        last_words(STOPPED)
        return 0 if demo.worker and number == signal.SIGINT else 128 + number

    interrupts.catch(leave)
    with interrupts.held():
        home.remove() if fresh else home.finish_removal()
    return demo


def _look_or_error(home: Home, interrupts: Interrupts, looking: _Look, rest: list[str]) -> int:
    try:
        return _look(home, interrupts, looking, rest)
    except (DemoError, PostgresError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _look(home: Home, interrupts: Interrupts, looking: _Look, rest: list[str]) -> int:
    """Look at the demo's databases while their server is up, which is left as it was found."""
    postgres = home.postgres()
    if not postgres.folder.exists():
        raise DemoError(f"there is no demo in {shown(home.folder)} yet: run make demo first")
    with ExitStack() as stack:
        if not postgres.running:
            stack.enter_context(home.locked())
            with interrupts.held():
                stack.enter_context(postgres)
        return looking(home, postgres, rest)


def _psql(_: Home, postgres: Postgres, rest: list[str]) -> int:
    """Run psql on the warehouse, or on the database that its own arguments name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql's own to handle
    psql = programs(postgres.version, None) / "psql"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    env = inherited | login(postgres.url(WAREHOUSE))
    return subprocess.run([psql, *rest], env=env, check=False).returncode


def _status(home: Home, postgres: Postgres, _: list[str]) -> int:
    """Say how the warehouse is doing; no Prefect server is needed for it."""
    home.isolate()
    from demo import flow

    return flow.show_status(postgres.url(SOURCE), postgres.url(WAREHOUSE), home)


_Look = Callable[[Home, Postgres, list[str]], int]
_LOOKS: dict[str, _Look] = {"psql": _psql, "status": _status}


def _in_one_line(error: Exception, home: Home) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    known = isinstance(error, (DemoError, PostgresError))
    said = words if known else f"{type(error).__name__}: {words}"
    return f"{said} (log: {shown(home.log)}; to start over: {command(home, '--fresh')})"
