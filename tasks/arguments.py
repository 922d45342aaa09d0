"""Arguments of commands: what several of them take, and mistakes in one line."""

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn, TypeVar

from pipeline.errors import SettingsError

# How old a warehouse may be, unless --max-age says something else.
MAX_AGE = timedelta(minutes=30)
_Number = TypeVar("_Number", int, float)
_WORDS: dict[type, str] = {int: "a whole number", float: "a number"}


class Parser(argparse.ArgumentParser):
    """The parser of ``python -m <module>``; a mistake ends the command with one line and status 1."""

    def __init__(self, module: str, description: str | None) -> None:
        """Begin with no options."""
        super().__init__(prog=f"python -m {module}", description=description)

    def add_environment(self) -> None:
        """Add the option that says whose blocks the command uses."""
        self.add_argument(
            "--environment", default="", metavar="NAME", help="whose blocks; TOTESYS_ENVIRONMENT by default"
        )

    def add_max_age(self) -> None:
        """Add the option that says how many minutes old the warehouse may be."""
        self.add_minutes("--max-age", MAX_AGE // timedelta(minutes=1), "how old the warehouse may be")

    def add_minutes(self, option: str, default: float, meaning: str) -> None:
        """Add an option that takes a number of minutes."""
        self.add_argument(
            option,
            type=number(float, 0, 1_000_000),
            default=default,
            metavar="MINUTES",
            help=f"{meaning}; {default} by default",
        )

    def error(self, message: str) -> NoReturn:
        """Print the mistake alone: of some commands, status 2 says that something was found."""
        self.exit(1, f"error: {message}; `{self.prog} --help` lists the options\n")


def number(kind: type[_Number], least: _Number, most: float = math.inf) -> Callable[[str], _Number]:
    """What parses a number of this range."""
    limits = f"of at least {least}" if math.isinf(most) else f"from {least} to {most}"

    def parse(text: str) -> _Number:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:  # NaN is in no range
            raise argparse.ArgumentTypeError(f"{text!r} is not {_WORDS[kind]} {limits}")
        return value

    return parse


def time(text: str) -> datetime:
    """A time with its zone, as ``2026-11-20T12:00:00Z``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time with its zone; write it like 2026-11-20T12:00:00Z"
        )
    return moment


@contextmanager
def written_to(option: str, path: Path) -> Iterator[None]:
    """Name the option if what it names cannot be written: no storage of the pipeline has failed."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{option}: {path} cannot be written: {error.strerror}; name another") from None
