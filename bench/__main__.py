"""``python -m bench``: measure, print a table, and optionally write the page."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg

from bench import copiers, dlt_runs, machine, page, plot, released
from bench.errors import BenchError
from bench.figures import FAR, RELEASED
from bench.plan import CONTENDERS, DLTS, Options, check_room
from bench.prefect_runs import Flows
from bench.rounds import Bench
from demo.binaries import PostgresError, programs
from demo.home import PROJECT, Home, InUse
from demo.postgres import Postgres
from demo.processes import PrefectServer

_SERVER = {
    "fsync": "off",
    "autovacuum": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}


def main() -> int:
    """Run the benchmark of the command line; returns the exit status."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    home = Home(arguments.folder.absolute())
    docs = PROJECT / "docs" if arguments.write else None
    try:
        with home.locked():
            home.remove()
            home.isolate()
            _measure(_options(arguments), home, docs)
    except InUse:
        print(f"error: {home.folder} is in use by another benchmark", file=sys.stderr)
        return 1
    except (BenchError, PostgresError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running", file=sys.stderr)
        return 130
    return 0


def _measure(options: Options, home: Home, docs: Path | None) -> None:
    server = Postgres(home.folder / "postgres", settings=_SERVER)
    with ExitStack() as stack:
        stack.callback(home.remove)
        stack.enter_context(server)
        check_room(options, home.folder, server.home)
        print(f"about {options.minutes} min on two quiet cores, and {options.bytes / 1e9:.0f} GB of disk")
        prefect = PrefectServer()
        stack.callback(prefect.stop)
        prefect.wait()
        bench = Bench(options, server, Flows(prefect.api), programs(server.version, None), home.folder, _say)
        figures = bench.run()
        others = [options.missing or f"dlt {dlt_runs.version()}"]
        described = machine.described(_version(server), ", ".join([*others, *copiers.versions()]))
    print(f"\n{page.table(figures, options)}\n\n{page.kept(figures)}")
    if docs:
        _write(docs, page.rendered(figures, options, described), plot.drawn(figures))


def _write(docs: Path, text: str, image: str) -> None:
    (docs / "images").mkdir(exist_ok=True)
    (docs / "images" / "performance.svg").write_text(image, encoding="utf-8")
    (docs / "performance.md").write_text(text, encoding="utf-8")
    print(f"\nwritten: {docs / 'performance.md'}")


def _say(words: str) -> None:
    print(words, flush=True)


def _version(server: Postgres) -> str:
    with psycopg.connect(server.url("postgres")) as connection:
        return str(connection.info.parameter_status("server_version"))


def _options(arguments: argparse.Namespace) -> Options:
    """The candidates to measure; without dlt if it is not installed."""
    orders, rounds, large = (200_000, 1, 0) if arguments.quick else (5_000_000, 3, 20_000_000)
    rounds = arguments.rounds or rounds
    missing = dlt_runs.missing()
    only = arguments.only or set(CONTENDERS.values()) - ({FAR} if arguments.quick else set())
    absent = (
        copiers.missing()
        | (DLTS if missing else frozenset())
        | (frozenset() if released.exists() else {RELEASED})
    )
    return Options(
        orders=arguments.orders or orders,
        rounds=rounds,
        dlt_rounds=rounds if arguments.dlt_rounds is None else arguments.dlt_rounds,
        copier_rounds=arguments.copier_rounds,
        large=large if arguments.large is None else arguments.large,
        only=frozenset(only) - absent,
        missing=missing,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200,000 sales orders, one round: a minute")
    parser.add_argument("--orders", type=_at_least(1_000), metavar="N", help="sales orders (5,000,000)")
    parser.add_argument("--rounds", type=_at_least(1), metavar="N", help="rounds (3)")
    parser.add_argument("--dlt-rounds", type=_at_least(0), metavar="N", help="rounds that dlt is in (3)")
    parser.add_argument(
        "--copier-rounds",
        type=_at_least(0),
        default=0,
        metavar="N",
        help="rounds that meltano and ingestr are in (0: they take an hour for five million rows)",
    )
    parser.add_argument(
        "--large",
        type=_at_least(0),
        metavar="N",
        help="sales orders of a second source (20,000,000); 0: none",
    )
    parser.add_argument(
        "--only",
        type=_contenders,
        metavar="A,B",
        help=f"{', '.join(CONTENDERS)}; all of them, with --quick all but far",
    )
    parser.add_argument(
        "--folder", type=Path, default=PROJECT / ".bench", help="where the data lies (.bench)"
    )
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its plot")
    return parser.parse_args()


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (found := int(text)) < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return found

    return number


def _contenders(text: str) -> set[str]:
    try:
        return {CONTENDERS[name] for name in text.split(",")}
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"{error} is none of {', '.join(CONTENDERS)}") from None


if __name__ == "__main__":
    sys.exit(main())
