"""The page with the results: ``docs/performance.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.figures import (
    CHANGED,
    FULL,
    INSIDE,
    LARGE,
    LARGE_CHANGED,
    LARGE_SAME,
    MEGABYTES,
    SECONDS,
    UNSCANNED,
    Figures,
    Target,
    targets,
)
from bench.plan import DLTS, Options

_PLOT = "images/performance.svg"
_HOW = """\
- All take turns in one run, round by round, each into a fresh warehouse; the table has the middle one of
  each one's figures. Source and warehouses are databases of one Postgres server, with the source in the
  cache. Its `fsync` is off, so that nobody waits for the disk, and autovacuum too: everything is vacuumed
  and analyzed between the runs.
- After each run, number and sums of the sales orders in the warehouse must equal the source's.
- **floor**: `psql` with `COPY … TO STDOUT (FORMAT binary)` out of the source, which converts to the
  warehouse's types, piped into `COPY … FROM STDIN (FORMAT binary)`; then primary key, index and foreign keys.
  Dimensions and tables stand there before it begins.
- **pipeline**: `python -m flows` as a process of its own, from its start to its end, interpreter and imports
  included, on a Prefect server that is up. Buckets are folders. All tables, dimensions and history included.
- **dlt as documented** and **dlt, tuned**: `bench/dlt_job.py`, Postgres to Parquet files, the same models in
  DuckDB, then Postgres. The first with the `pyarrow` backend and CSV by COPY, all settings as they come; the
  second with what was fastest: the `connectorx` backend, 100,000 rows a file, CSV not compressed. Neither
  has keys, indexes, references or history in its warehouse. Changes are found by `last_updated` and merged
  by key.
- **dlt, tuned and keyed**: the same, and after its first load its tables get primary keys and the warehouse's
  references, so that it merges into what the pipeline merges into, history aside (by `upsert`;
  `delete-insert` would delete what others refer to).
- **empty flow**: `python -c` with a flow that does nothing, on the same server, also without Prefect's wait
  for its heartbeat at the end, which costs up to a second.
- **a grouped sum**: what each of the staff has sold in each month, over the present rows, after a quarter of
  the orders have changed and 10,000 were deleted; the bare table holds the present rows and nothing else.
- **a row is forgotten**: `python -m tasks.forget --yes staff 1`, then `counterparty 1`, each a process of its
  own, with its search through all objects and tables; **verified**: `python -m tasks.verify` afterwards,
  which ends with an error where a rebuild would not equal the warehouse.
- **a changed fact restated**: a run after `units_sold + 1` was written into the model of the sales orders, so
  that each of their versions changes; **a rebuild**: the same batches and models into an empty warehouse.
- Memory is the most that the flow's process and its children held at once.
- The scans aside: seconds inside the flow, less twice those of its step `plan`, which finds changed rows by
  the same scan of the source that `extract` then reads them by. The number of changed rows is the same in
  both tables."""


def rendered(figures: Figures, options: Options, machine: Mapping[str, str]) -> str:
    """The whole page, in Markdown."""
    parts = [
        "# Performance",
        "`make bench` measures this and writes this page; `make bench-quick` prints a table in a minute.",
        f"![Seconds that each took]({_PLOT})",
        table(figures, options),
        "What falls short, why, and what was tried: [scale.md](scale.md#what-falls-short-and-why).",
        "## Where the time goes",
        _steps(figures),
        "## How it was measured",
        _HOW,
        "## On what",
        _lines(("", ""), [(name, words) for name, words in machine.items()]),
        "## Every figure",
        _every_figure(figures),
    ]
    return "\n\n".join(parts) + "\n"


def table(figures: Figures, options: Options) -> str:
    """The targets, and what was reached."""
    rows = [_row(target, figures, options.missing) for target in targets(options.orders, options.large)]
    return _lines(("work", "pipeline", "against", "ratio", "to reach", "reached"), rows)


def _row(target: Target, figures: Figures, missing: str) -> tuple[str, ...]:
    ratio, met = target.ratio(figures), target.met(figures)
    unit = "MB" if target.ours.what == MEGABYTES else "s"
    ours = _shown(figures.median(target.ours), unit)
    sign, times = ("≥", " × faster") if target.faster else ("≤", " ×")
    if target.theirs is None:
        against, shown, limit = "", "", f"≤ {target.limit:g} {unit}"
    else:
        other = figures.median(target.theirs)
        of_whom = target.theirs.work if target.theirs.who == target.ours.who else target.theirs.who
        against = f"{of_whom} {_shown(other, unit)}"
        shown = _in_words(ratio, target) if ratio is not None else ""
        limit = f"{sign} {target.limit:g}{times}"
    unknown = missing if target.theirs and target.theirs.who in DLTS and missing else "not measured"
    return target.work, ours, against, shown, limit, {True: "yes", False: "**no**", None: unknown}[met]


def _in_words(ratio: float, target: Target) -> str:
    """A ratio as text; less than 1 time as fast is slower."""
    if not target.faster:
        return f"{ratio:.2f} ×"
    return f"{1 / ratio:.2f} × slower" if ratio < 1 else f"{ratio:.2f} × faster"


def _steps(figures: Figures) -> str:
    """Seconds of the flow's own steps."""
    works = [work for work in (FULL, CHANGED, LARGE, LARGE_SAME, LARGE_CHANGED) if figures.steps(work)]
    steps = list(dict.fromkeys(step for work in works for step in figures.steps(work)))
    rows = [
        (work, *(f"{figures.steps(work)[step]:.2f}" if step in figures.steps(work) else "" for step in steps))
        for work in works
    ]
    return _lines(("seconds inside the flow", *steps), rows)


def _every_figure(figures: Figures) -> str:
    """All values, in the order of the rounds."""
    rows = [
        (key.work, key.who, key.what, " ".join(_number(figure) for figure in found), _number(median(found)))
        for key, found in figures.all.items()
        if key.what in {SECONDS, MEGABYTES, INSIDE} or (key.what == UNSCANNED and key.work != FULL)
    ]
    return _lines(("work", "who", "what", "each", "middle"), rows)


def _lines(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(figure: float | None, unit: str) -> str:
    return "-" if figure is None else f"{_number(figure)} {unit}"


def _number(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
