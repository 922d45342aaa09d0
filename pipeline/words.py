"""Numbers, names and places in text."""

import difflib
from collections.abc import Iterable


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``; ``plural`` is needed if it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def line_of(text: str | bytes, place: int) -> int:
    """The number of the line with a place in a text, counted from 0: in signs of a str, in bytes of bytes.

    DuckDB's places are bytes, those of Postgres signs, counted from 1.
    """
    before = text[:place]
    return 1 + (before.count("\n") if isinstance(before, str) else before.count(b"\n"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause with the known name that is nearest to this one; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
