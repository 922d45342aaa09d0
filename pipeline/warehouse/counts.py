"""How many rows a load changes."""

from typing import NamedTuple

from pipeline.columns import Frozen

NOTHING_NEW = "nothing new"


class Counts(Frozen):
    """What a load did to one warehouse table, in rows; ``changed`` counts versions or updates.

    ``missed`` are changes that earlier ordinary runs should have loaded.
    """

    table: str
    read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    rejected: int = 0
    missed: int = 0

    @property
    def summary(self) -> str:
        """The counts that are not 0, in words."""
        names = ("added", "changed", "deleted", "rejected")
        parts = [f"{number:,} {name}" for name in names if (number := getattr(self, name))]
        return ", ".join(parts) or NOTHING_NEW


class Growth(NamedTuple):
    """How many rows a table has gained or, as a bridge, lost, and versions beside a dimension."""

    rows: int = 0
    versions: int = 0


class Merged(NamedTuple):
    """The rows of one step: new ones, changed ones and rejected ones, and new versions of a dimension."""

    added: int = 0
    changed: int = 0
    rejected: int = 0
    versions: int = 0
