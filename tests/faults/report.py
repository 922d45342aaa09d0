"""A campaign's figures, in the terminal and as a page of docs/."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.faults.campaign import Figures, Result
from tests.faults.kinds import NAMES

_PAGE = """# Failure tests

`make campaign` runs the pipeline while processes are killed, connections are cut, servers restart, disks
are full, clocks are wrong, and databases and buckets are lost or restored. After every run it compares the
whole warehouse with plain SQL on the source.

The tables below are the output of

```
{command}
```

`make campaign` draws a new seed each time and prints it; `--seed` repeats a campaign. A short form with a
new seed, on the engine without Prefect, is part of `make test` (`tests/faults/test_short.py`).

## What it does
The campaign consists of scenarios of about {rounds} rounds. Each has two Postgres servers, a Prefect server
and its own shop: Totesys, or a database with domains, enums, partitions and inheritance. The buckets are
folders or on an S3 server. In half of the scenarios the pipeline reads a standby of the source, which is
promoted during some runs.

Every round has these steps:
1. The shop trades: it inserts, deletes and updates rows. Most updates leave `last_updated` unchanged.
2. The pipeline runs, and one failure is injected into the run; its kind is drawn at random. During half of
   these runs the shop continues to trade, with a transaction that commits only after the run.
3. In half of the rounds a second run follows, without a failure. In the others none follows, so that several
   failures occur one after the other.

Each scenario ends with a run without a failure. If the raw bucket then has all batches, the warehouse is
dropped and rebuilt from the raw bucket while the source is down, and the rebuild is killed and continued.

## What it checks
After every run, also after one that failed:
- every state of a row that a batch read is in the warehouse once, with the batch's time, in facts and in
  dimensions;
- the batches form one chain without gaps, and the watermark is at its end;
- the error of a run that failed has one line.

After every run without a failure, also:
- the run succeeded, and the present rows equal those of the source;
- no sealed batch is left that is not loaded.

After a restore, the warehouse is compared as soon as a run has succeeded.

## Results
{date}: {tried:,} failures happened in {minutes:.0f} minutes. "Killed", "failed" and "succeeded" describe the
run with the failure.

{figures}

| compared | |
|---|--:|
| failures that happened | {tried:,} |
| runs without a failure after them | {clean:,} |
| times that the warehouse was compared | {checks:,} |
| rows compared | {compared:,} |
| versions of facts compared | {versions:,} |
| **rows or versions lost** | **{lost:,}** |
| **rows or versions duplicated** | **{duplicated:,}** |
| other errors | {broken:,} |

## Defects that campaigns have found
- The tables of the warehouse were restored to an earlier day, without the schema `etl`, and since that day
  the source had only deleted rows of a dimension. The dimension's history was not refilled: it was compared
  by its number of versions, and a deletion ends a version but adds none. The history of a table that was
  replaced is now always refilled (`test_tables_older_than_etl_whose_history_has_as_many_versions`).
"""
_COLUMNS = ("tried", "killed", "failed", "succeeded", "lost", "duplicated", "broken")
_ALWAYS = {"tried", "lost", "duplicated", "broken"}


def summary(result: Result, seconds: float) -> str:
    """What a person reads at the end."""
    never = [name for name in NAMES if not result.kinds[name].tried]
    return "\n".join(
        [
            _table(result),
            f"{result.tried} failures in {seconds / 60:.0f} min: {_verdict(result)}",
            *([f"did not happen: {', '.join(never)} (small disks need root on Linux)"] if never else []),
            *(f"broken: {line}" for line in result.broken),
        ]
    )


def _verdict(result: Result) -> str:
    tally = result.tally
    return f"lost {tally.lost}, duplicated {tally.duplicated}, other errors {result.otherwise}"


def page(result: Result, command: str, seconds: float) -> str:
    """The page in Markdown; ``command`` repeats the campaign."""
    return _PAGE.format(
        command=command,
        rounds=25,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        minutes=seconds / 60,
        figures=_table(result),
        tried=result.tried,
        clean=result.clean_runs,
        checks=result.tally.checks,
        compared=result.tally.rows,
        versions=result.tally.versions,
        lost=result.tally.lost,
        duplicated=result.tally.duplicated,
        broken=result.otherwise,
    ) + "".join(f"\n- other error: {line}\n" for line in result.broken)


def _table(result: Result) -> str:
    names = [name for name in NAMES if result.kinds[name].tried]
    whole = Figures()
    for figures in result.kinds.values():
        whole.add(figures)
    return "\n".join(
        [
            "| failure | happened | killed | failed | succeeded | lost | duplicated | other errors |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            *(_row(name, result.kinds[name]) for name in names),
            _row("**all**", whole),
        ]
    )


def _row(name: str, figures: Figures) -> str:
    numbers = vars(figures)
    cells = [str(numbers[each] if numbers[each] or each in _ALWAYS else "") for each in _COLUMNS]
    return f"| {name} | {' | '.join(cells)} |"
