"""Measured figures, and their comparison with the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

# Who does it.
FLOOR, PIPELINE, EMPTY, PAGE = "floor", "pipeline", "empty flow", "web page"
RELEASED = "release 0.1"
DLT, TUNED, KEYED = "dlt as documented", "dlt, tuned", "dlt, tuned and keyed"
MELTANO, INGESTR = "meltano", "ingestr"
# The work.
FULL, CHANGED, NOTHING = "first full load", "1% changed", "nothing changed"
QUARTER, DELETED, RELINKED = "a quarter changed", "10,000 deleted", "one row gets another reference"
FORGOTTEN, VERIFIED = "a row is forgotten", "lake and warehouse verified"
RESTATED, REBUILT = "a changed fact restated", "a rebuild of everything"
# Who is asked, and what.
READ = "a grouped sum"
CLICKED = "a click on the web page"
BARE, CURRENT, AS_OF, HISTORY = "bare table", "_current", "_as_of", "_history"
NEAR, FAR = "near", "far"
SMALL_FIRST, SMALL_CHANGED, SMALL_NOTHING = (
    f"small shop: {run}" for run in ("first load", "a working day", "nothing changed")
)
DIMENSION, ONE_ROW = "a dimension's million versions", "_history of one row"
LARGE, LARGE_SAME, LARGE_CHANGED = "large: first full load", "large: as many changed", "large: 1% changed"
# What a program keeps of a source that changes; 1 if it does.
KEPT = "kept"
EARLIER, DELETIONS, EDITS = "history", "deletions", "silent edits"
REFERENCES, ONE_MOMENT = "references", "one snapshot"
# What is measured of it, beside the flow's own steps.
SECONDS, MEGABYTES, INSIDE, UNSCANNED = "seconds", "megabytes", "inside the flow", "without scans"

_SAME_MEMORY = 1.1


@dataclass(frozen=True)
class Key:
    """The subject of a figure."""

    work: str
    who: str
    what: str = SECONDS


class Figures:
    """All figures, in the order of the rounds."""

    def __init__(self) -> None:
        """Start without figures."""
        self.all: dict[Key, list[float]] = {}

    def add(self, work: str, who: str, measured: Mapping[str, float]) -> None:
        """Add the figures of one run."""
        for what, figure in measured.items():
            self.all.setdefault(Key(work, who, what), []).append(figure)

    def median(self, key: Key) -> float | None:
        """The median; None if nothing was measured."""
        found = self.all.get(key)
        return median(found) if found else None

    def steps(self, work: str) -> dict[str, float]:
        """The median of each of our own flow's steps."""
        others = {SECONDS, MEGABYTES, INSIDE, UNSCANNED}
        return {
            key.what: median(found)
            for key, found in self.all.items()
            if key.work == work and key.who == PIPELINE and key.what not in others
        }


@dataclass(frozen=True)
class Target:
    """What a figure of ours must reach against another one, or by itself where there is none.

    With ``faster`` the other is to be at least this many times ours, else ours at most so many times it, and
    ``more`` seconds.
    """

    work: str
    ours: Key
    theirs: Key | None
    limit: float
    faster: bool = False
    more: float = 0.0

    def ratio(self, figures: Figures) -> float | None:
        """How many times the other figure ours is, or the other way round where it is to be faster."""
        ours, theirs = figures.median(self.ours), figures.median(self.theirs) if self.theirs else 1.0
        if ours is None or theirs is None:
            return None
        return theirs / ours if self.faster else ours / theirs

    def met(self, figures: Figures) -> bool | None:
        """Whether the target is reached; None if it was not measured."""
        ratio = self.ratio(figures)
        if ratio is None:
            return None
        theirs = figures.median(self.theirs) if self.theirs else 1.0
        return ratio >= self.limit if self.faster else ratio <= self.limit + self.more / (theirs or 1.0)


def targets(orders: int, large: int) -> list[Target]:
    """The targets for a number of sales orders."""
    full, changed = Key(FULL, PIPELINE), Key(CHANGED, PIPELINE)
    nothing = Key(NOTHING, PIPELINE)
    small, same = Key(CHANGED, PIPELINE, UNSCANNED), Key(LARGE_SAME, PIPELINE, UNSCANNED)
    memory, large_memory = Key(FULL, PIPELINE, MEGABYTES), Key(LARGE, PIPELINE, MEGABYTES)
    found = [
        Target("first full load, everything included", full, Key(FULL, FLOOR), 1.5),
        Target("the same", full, Key(FULL, DLT), 6, faster=True),
        Target("the same", full, Key(FULL, TUNED), 6, faster=True),
        Target("the same", full, Key(FULL, KEYED), 6, faster=True),
        Target("1% of rows changed", changed, Key(CHANGED, DLT), 1.5, faster=True),
        Target("the same", changed, Key(CHANGED, TUNED), 1.5, faster=True),
        Target("the same", changed, Key(CHANGED, KEYED), 1.5, faster=True),
        Target("the same", changed, Key(CHANGED, RELEASED), 1.05),
        Target("10,000 rows deleted", Key(DELETED, PIPELINE), changed, 1.5),
        Target("one row of a dimension gets another reference", Key(RELINKED, PIPELINE), changed, 1),
        Target("nothing changed", nothing, Key(NOTHING, EMPTY), 2),
        Target(
            "a changed fact restated over all batches", Key(RESTATED, PIPELINE), Key(REBUILT, PIPELINE), 1
        ),
        Target("a grouped sum over _current", Key(READ, CURRENT), Key(READ, BARE), 1.3),
        Target("the same over _as_of", Key(READ, AS_OF), Key(READ, BARE), 1.5),
        Target("a dimension with a million versions, _as_of", Key(DIMENSION, AS_OF), None, 0.5),
        Target("the same, _history of one row", Key(DIMENSION, ONE_ROW), None, 0.01),
        Target(f"peak memory, {words(orders)} rows", memory, None, 500),
        Target("far away: a working day of a small shop", *_far_and_near(SMALL_CHANGED), 1.5, more=2),
        Target("far away: nothing changed", *_far_and_near(SMALL_NOTHING), 1.2, more=1.5),
    ]
    if large:
        rows = f"{words(orders // 100)} rows changed"
        found += [
            Target(f"peak memory, {words(large)} rows", large_memory, None, 500),
            Target(f"the same, against {words(orders)} rows", large_memory, memory, _SAME_MEMORY),
            Target(f"{rows} of {words(large)}, without scans", same, small, 1.15),
        ]
    return found


def _far_and_near(work: str) -> tuple[Key, Key]:
    return Key(work, FAR), Key(work, NEAR)


def words(number: int) -> str:
    """A number as text."""
    return f"{number / 1e6:g} million" if number >= 1_000_000 else f"{number:,}"
