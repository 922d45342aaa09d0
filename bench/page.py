"""The page with the results: ``docs/performance.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.figures import (
    CHANGED,
    CLICKED,
    DELETIONS,
    EARLIER,
    EDITS,
    FULL,
    INSIDE,
    KEPT,
    LARGE,
    LARGE_CHANGED,
    LARGE_SAME,
    MEGABYTES,
    NOTHING,
    ONE_MOMENT,
    PIPELINE,
    REFERENCES,
    SECONDS,
    UNSCANNED,
    Figures,
    Key,
    Target,
    targets,
)
from bench.plan import CONTENDERS, COPIERS, DLTS, Options

_PLOT = "images/performance.svg"
_HOW = """\
- The programs take turns, round by round, and each load starts with an empty warehouse. The table shows the
  median of each program's figures. Source and warehouses are databases of one Postgres server, and the source
  is cached. `fsync` is off, so that no program waits for the disk; autovacuum is off, and everything is
  vacuumed and analyzed between the runs.
- After each run, number and sums of the sales orders in the warehouse must equal the source's.
- **floor**: `psql` with `COPY … TO STDOUT (FORMAT binary)` from the source, which converts to the
  warehouse's types, piped into `COPY … FROM STDIN (FORMAT binary)`; then primary key, index and foreign keys.
  Tables and dimensions exist before the measurement starts.
- **pipeline**: `python -m flows` as a separate process, from its start to its end, including interpreter and
  imports, on a running Prefect server. Buckets are folders. It loads all tables, with dimensions and history.
- **dlt as documented** and **dlt, tuned**: `bench/dlt_job.py`, Postgres to Parquet files, the same models in
  DuckDB, then Postgres. The first uses the `pyarrow` backend, CSV by COPY and default settings. The second
  uses the fastest settings that were found: the `connectorx` backend, 100,000 rows per file, plain CSV.
  Neither has keys, indexes, references or history in its warehouse. Changes are found by `last_updated` and
  merged by key.
- **dlt, tuned and keyed**: the same; after the first load its tables get primary keys and the warehouse's
  references, so that it merges into the same tables as the pipeline, but without history (by `upsert`;
  `delete-insert` would delete rows that others refer to).
- **small shop**: 300 orders, then a working day on which most tables change; buckets are on an S3 server of
  this machine. **far**: the same through proxies that add a round trip of 80 ms to Prefect's API, 20 ms to S3
  and 2 ms to the databases.
- **release 0.1**: the code of that release from git's history, on the packages of this one: its first load
  and its load of 1% changed, in the same rounds.
- **meltano** and **ingestr** copy the source's tables and have no models, so they do less than the others.
  Both read by `last_updated` and merge by key, as documented. Meltano is `tap-postgres | target-postgres`,
  with the target's `COPY`; ingestr is a process per table, and the last version that is a Python package.
  They run in one round only, because they take long.
- **What a program keeps** is checked after the timed runs: an application edits a sales order, somebody edits
  another one without `last_updated`, a third one is deleted. The program runs once more, while transactions
  write the same number to a design and to a member of staff every few milliseconds. It is *history* if the
  warehouse has the earlier version of the first order, *silent edits* if it has the new value of the second,
  *deletions* if it lacks the third, *one snapshot* if both rows have the same number, and *references* if the
  sales orders have validated foreign keys.
- **empty flow**: `python -c` with a flow that does nothing, on the same server. Prefect's wait for its
  heartbeat at the end, up to a second, is switched off here and for the pipeline.
- **a grouped sum**: the sales of each member of staff in each month, over the present rows, after a quarter
  of the orders have changed and 10,000 were deleted. The bare table contains only the present rows.
- **a dimension's million versions**: `dim_design` with 100,000 more keys of ten versions each; the number
  of designs in each location as of the last batch, and all versions of one design.
- **a row is forgotten**: `python -m tasks.forget --yes staff 1`, then `counterparty 1`, each as a separate
  process, including the search of all objects and tables. **verified**: `python -m tasks.verify` after that,
  which fails if a rebuild would not equal the warehouse.
- **a changed fact restated**: a run after `units_sold + 1` was written into the model of the sales orders, so
  that each of their versions changes. **a rebuild**: the same batches and models, into an empty warehouse.
- Memory is the peak of the flow's process and its children together.
- Without scans: the seconds inside the flow minus twice the seconds of its step `plan`. This step finds
  changed rows by a scan of the source, and `extract` repeats the scan to read them. The number of changed
  rows is the same in both tables."""

CLICK_SECONDS = 2
_PAGE = (
    f"Each click on [the web page](dashboard.md) is to answer within {CLICK_SECONDS} s. Its shop has"
    " purchases, transactions and payments beside its sales orders, of which 1% have changed. The figures are"
    " the quickest of three tries."
)


def rendered(figures: Figures, options: Options, machine: Mapping[str, str]) -> str:
    """The whole page, in Markdown."""
    parts = [
        "# Performance",
        "`make bench` measures this and writes this page; `make bench-quick` prints a table in a minute.",
        f"![Seconds per program, by kind of run]({_PLOT})",
        table(figures, options),
        (
            "Targets that are not reached, the reasons, and what was tried:"
            " [scale.md](scale.md#targets-that-are-not-reached)."
        ),
        "## What else a team would take, and what it keeps",
        kept(figures),
        "## Where the time goes",
        _steps(figures),
        *_clicks(figures),
        "## How it was measured",
        _HOW,
        "## Environment",
        _lines(("", ""), [(name, words) for name, words in machine.items()]),
        "## All figures",
        _every_figure(figures),
    ]
    return "\n\n".join(parts) + "\n"


def table(figures: Figures, options: Options) -> str:
    """The targets, and whether they were reached."""
    rows = [_row(target, figures, options.missing) for target in targets(options.orders, options.large)]
    return _lines(("run", "pipeline", "compared with", "ratio", "target", "reached"), rows)


def kept(figures: Figures) -> str:
    """The seconds of each program beside what it keeps; programs without figures are left out."""
    promises = (EARLIER, DELETIONS, EDITS, REFERENCES, ONE_MOMENT)
    works = (FULL, CHANGED, NOTHING)
    rows = [
        (
            who,
            "copies of tables" if who in COPIERS else "star schema",
            *(_shown(figures.median(Key(work, who)), "s") for work in works),
            *(_answered(figures.median(Key(KEPT, who, promise))) for promise in promises),
        )
        for who in CONTENDERS.values()
        if who in {PIPELINE} | DLTS | COPIERS and figures.median(Key(FULL, who)) is not None
    ]
    return _lines(("program", "loads", *works, *promises), rows)


def _answered(figure: float | None) -> str:
    return "-" if figure is None else "yes" if figure == 1 else "**no**"


def _row(target: Target, figures: Figures, missing: str) -> tuple[str, ...]:
    ratio, met = target.ratio(figures), target.met(figures)
    unit = "MB" if target.ours.what == MEGABYTES else "s"
    ours = _shown(figures.median(target.ours), unit)
    sign, times = ("≥", " × faster") if target.faster else ("≤", " ×")
    if target.theirs is None:
        against, shown, limit = "", "", f"≤ {target.limit:g} {unit}"
    else:
        other = figures.median(target.theirs)
        subject = target.theirs.work if target.theirs.who == target.ours.who else target.theirs.who
        against = f"{subject} {_shown(other, unit)}"
        shown = _in_words(ratio, target) if ratio is not None else ""
        limit = f"{sign} {target.limit:g}{times}" + (f" + {target.more:g} s" if target.more else "")
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


def _clicks(figures: Figures) -> list[str]:
    """The seconds of each click on the web page, if they were measured."""
    rows = [
        (f"`{key.who}`", _number(median(found)), "yes" if median(found) < CLICK_SECONDS else "**no**")
        for key, found in figures.all.items()
        if key.work == CLICKED
    ]
    return ["## The web page", _PAGE, _lines(("click", "seconds", "reached"), rows)] if rows else []


def _every_figure(figures: Figures) -> str:
    """All values, in the order of the rounds."""
    rows = [
        (key.work, key.who, key.what, " ".join(_number(figure) for figure in found), _number(median(found)))
        for key, found in figures.all.items()
        if key.what in {SECONDS, MEGABYTES, INSIDE} or (key.what == UNSCANNED and key.work != FULL)
    ]
    return _lines(("run", "program", "measured", "figures", "median"), rows)


def _lines(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(figure: float | None, unit: str) -> str:
    return "-" if figure is None else f"{_number(figure)} {unit}"


def _number(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
