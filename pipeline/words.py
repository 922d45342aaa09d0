"""Numbers, names and places in text."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import ModelError


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 row``, ``2,000 rows``; ``plural`` is needed if it is not noun + s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def line_of(text: str | bytes, place: int) -> int:
    """The number of the line with a place in a text, counted from 0: in signs of a str, in bytes of bytes.

    DuckDB's places are bytes, those of Postgres signs, counted from 1.
    """
    before = text[:place]
    return 1 + (before.count("\n") if isinstance(before, str) else before.count(b"\n"))


def text_of(path: Path, *, keeps_line_ends: bool = False) -> str:
    """The text of a file that a person has written, without the mark that some editors put before it.

    Its lines end in a line feed, so that a checkout on Windows is the same text. Raises ModelError with the
    line where it is not UTF-8, or has a NUL, which Postgres cannot store.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}:{line_of(content, error.start)}: is not UTF-8; save it as UTF-8") from None
    if (place := text.find("\0")) >= 0:
        raise ModelError(f"{path}:{line_of(text, place)}: has a NUL character; remove it")
    return text if keeps_line_ends else text.replace("\r\n", "\n").replace("\r", "\n")


def head_of(text: str) -> Iterator[tuple[int, str]]:
    """The comment lines before the SQL of a file, with their numbers."""
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and not line.startswith("--"):
            return
        if line:
            yield number, line


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause with the known name that is nearest to this one; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def unused(name: str, others: Iterable[str]) -> str:
    """The name, longer if one of the others is the same without case."""
    taken = {other.lower() for other in others}
    while name in taken:
        name += "_"
    return name
