"""Options of a benchmark in which everybody takes part."""

from __future__ import annotations

from bench.plan import CONTENDERS, Options


def options(**changed: object) -> Options:
    known = {
        "orders": 5_000_000,
        "rounds": 3,
        "dlt_rounds": 3,
        "copier_rounds": 1,
        "large": 20_000_000,
        "only": frozenset(CONTENDERS.values()),
    }
    return Options(**known | changed)  # type: ignore[arg-type]
