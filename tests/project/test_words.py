"""Numbers in messages."""

from __future__ import annotations

import re

import pytest

from demo.home import PROJECT
from pipeline.words import counted, line_of

ROOT = PROJECT


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234567, "1,234,567 rows")]
)
def test_one_is_singular(number: int, words: str) -> None:
    assert counted(number, "row") == words


def test_an_irregular_plural_is_used() -> None:
    assert [counted(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [("a\nb", 0, 1), ("a\nb", 1, 1), ("a\nb", 2, 2), ("é\nb", 2, 2), ("é\nb".encode(), 2, 1), (b"", 7, 1)],
)
def test_the_line_of_a_place(text: str | bytes, place: int, line: int) -> None:
    assert line_of(text, place) == line


def test_no_message_writes_a_plural_by_itself() -> None:
    """A number that a message fills in, and a plural of what is counted in this project behind it."""
    nouns = "rows|tables|batches|objects|models|versions|payments|orders|edits|sales|purchases|reasons|days"
    plural = re.compile(rf"""(?:[}}]|%[ds]) (?:[a-z]+ )?(?:{nouns})\b""")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("pipeline", "tasks", "flows", "demo")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if plural.search(line)
    ]
    assert found == []
