"""What a benchmark is asked to do, how long that takes and how much room it needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.figures import DLT, EMPTY, FAR, FLOOR, INGESTR, KEYED, MELTANO, PAGE, PIPELINE, RELEASED, TUNED

CONTENDERS = {
    "floor": FLOOR,
    "pipeline": PIPELINE,
    "release": RELEASED,
    "dlt": DLT,
    "dlt-tuned": TUNED,
    "dlt-keyed": KEYED,
    "meltano": MELTANO,
    "ingestr": INGESTR,
    "empty": EMPTY,
    "far": FAR,
    "page": PAGE,
}
DLTS = frozenset({DLT, TUNED, KEYED})
COPIERS = frozenset({MELTANO, INGESTR})
# Seconds a million rows and seconds a run, on two quiet cores; checks and tidying included.
_PACES = {
    "source": (6.0, 2.0),
    FLOOR: (4.0, 1.0),
    PIPELINE: (14.0, 32.0),
    RELEASED: (5.0, 14.0),
    DLT: (55.0, 14.0),
    TUNED: (12.0, 14.0),
    KEYED: (14.0, 16.0),
    MELTANO: (600.0, 60.0),
    INGESTR: (200.0, 200.0),
    EMPTY: (0.0, 2.0),
    FAR: (0.0, 60.0),
    PAGE: (80.0, 120.0),
}
# A row in the source, in the warehouse and in the buckets; dlt's files are larger.
_BYTES_A_ROW = 700
_BYTES_A_ROW_OF_DLT = 900
_BYTES_OF_POSTGRES = 5_000_000_000


@dataclass(frozen=True)
class Options:
    """What to measure; ``large`` is the second number of sales orders, 0 for none.

    ``missing`` says why dlt takes no part, where it is missing.
    """

    orders: int
    rounds: int
    dlt_rounds: int
    copier_rounds: int
    large: int
    only: frozenset[str]
    missing: str = ""

    def rounds_of(self, who: str) -> int:
        """How often a contender runs."""
        if who not in self.only:
            return 0
        if who == PAGE:
            return 1
        if who in COPIERS:
            return min(self.rounds, self.copier_rounds)
        return min(self.rounds, self.dlt_rounds) if who in DLTS else self.rounds

    @property
    def seconds(self) -> float:
        """About how long all of it takes."""
        known = [(self.orders, "source", 1), (self.large, "source", 1)]
        known += [(self.orders, who, self.rounds_of(who)) for who in self.only]
        known += [(self.large, PIPELINE, self.rounds_of(PIPELINE))]
        paces = ((rows, _PACES[what], times) for rows, what, times in known if rows)
        return sum(times * (rows / 1e6 * a_million + a_run) for rows, (a_million, a_run), times in paces)

    @property
    def minutes(self) -> int:
        """The same, for a person."""
        return max(1, round(self.seconds / 60))

    @property
    def bytes(self) -> int:
        """About how much room it needs at once."""
        dlt = len(self.only & (DLTS | COPIERS)) * self.orders * _BYTES_A_ROW_OF_DLT
        # Its shop has payments and transactions, too.
        page = 4 * self.orders * _BYTES_A_ROW if PAGE in self.only else 0
        return max((self.orders + self.large) * _BYTES_A_ROW + dlt, page) + _BYTES_OF_POSTGRES


def check_room(options: Options, *folders: Path) -> None:
    """Raise BenchError where a folder's disk has too little room."""
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < options.bytes:
            raise BenchError(
                f"{folder} has {free / 1e9:.0f} GB free and about {options.bytes / 1e9:.0f} GB are needed:"
                " name another with --folder, or fewer rows with --orders and --large"
            )
