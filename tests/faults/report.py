"""A campaign's figures, in the terminal and as a page of docs/."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.faults.campaign import Figures, Result
from tests.faults.kinds import NAMES

_PAGE = """# Failure tests

`make campaign` runs the pipeline while processes are killed, connections are cut, servers restart, disks
are full, clocks are wrong, and databases and buckets are lost or restored. After every run it compares the
whole warehouse with plain SQL on the source.

The table below is the output of

```
python -m tests.faults --failures {failures} --seed {seed}
```

`make campaign` draws a new seed each time and prints it; `--seed` repeats a campaign. A short form with a
new seed, on the engine without Prefect, is a part of `make test` (`tests/faults/test_short.py`).

## What it does
The campaign consists of scenarios of about {rounds} rounds. Each has two Postgres servers, a Prefect server
and a shop of its own: Totesys, or a database with domains, enums, partitions and inheritance. The buckets are
folders or on an S3 server. In half of the scenarios the pipeline reads a standby of the source, which is
promoted during some runs.

In every round
1. the shop trades: inserts, updates, most of which leave `last_updated` alone, and deletions;
2. a run meets one failure, of a kind drawn at random. During half of these runs the shop goes on trading,
   with a transaction that commits only after the run;
3. after half of the rounds a second run follows that nothing disturbs. After the others none does, so that
   several failures come one after the other.

Each scenario ends with such a run, and with a rebuild where the raw bucket still has all batches: the
warehouse is dropped and filled again from the raw bucket, with the source down and the process killed on
the way.

## What it checks
After every run, also one that failed:
- every state of a row that a batch saw is in the warehouse once, with that batch's time, in facts and in
  dimensions;
- the batches form one chain without gaps, and the watermark is at its end;
- a run that fails says why in one line.

After every run that nothing disturbed, also:
- the run succeeded, and the present rows are those of the source;
- no sealed batch is left over.

After a restore the warehouse is compared once a run has succeeded.

## What came of it
{date}, {minutes:.0f} minutes. "Killed", "failed" and "succeeded" are about the run with the failure.

{figures}

| compared | |
|---|--:|
| failures that happened | {tried:,} |
| runs without a failure after them | {clean:,} |
| times that the warehouse was compared | {checks:,} |
| rows compared | {compared:,} |
| versions of facts compared | {versions:,} |
| **rows or versions lost** | **{lost:,}** |
| **rows or versions doubled** | **{doubled:,}** |
| otherwise broken | {broken:,} |

## What campaigns have found
- The tables of the warehouse were restored to an earlier day, without the schema `etl`, and since that day
  the source had only deleted rows of a dimension. Its history was not refilled: it was compared by the number
  of its versions, and a deletion ends a version and adds none. The history of a table that was replaced is
  now always refilled (`test_tables_older_than_etl_whose_history_has_as_many_versions`).
"""
_COLUMNS = ("tried", "killed", "failed", "succeeded", "lost", "doubled", "broken")
_ALWAYS = {"tried", "lost", "doubled", "broken"}


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
    return f"lost {tally.lost}, doubled {tally.doubled}, otherwise broken {result.otherwise}"


def page(result: Result, failures: int, seed: int, seconds: float) -> str:
    """The page in Markdown."""
    return _PAGE.format(
        failures=failures,
        seed=seed,
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
        doubled=result.tally.doubled,
        broken=result.otherwise,
    ) + "".join(f"\n- broken: {line}\n" for line in result.broken)


def _table(result: Result) -> str:
    names = [name for name in NAMES if result.kinds[name].tried]
    whole = Figures()
    for figures in result.kinds.values():
        whole.add(figures)
    return "\n".join(
        [
            "| failure | happened | killed | failed | succeeded | lost | doubled | otherwise broken |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            *(_row(name, result.kinds[name]) for name in names),
            _row("**all**", whole),
        ]
    )


def _row(name: str, figures: Figures) -> str:
    numbers = vars(figures)
    cells = [str(numbers[each] if numbers[each] or each in _ALWAYS else "") for each in _COLUMNS]
    return f"| {name} | {' | '.join(cells)} |"
