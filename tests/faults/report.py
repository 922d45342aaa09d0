"""A campaign's figures as a page of docs/."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.faults.campaign import Result

_PAGE = """# What was done to it, and what came of that

`{command}` opens made-up shops, each with a pipeline,
Postgres servers, an S3 server and a Prefect server of its own; some of the shops are other
people's habits: domains, enums, partitions, inheritance. In every round the shop trades
and a run meets one fault, half of them while the shop goes on trading, with a sale that is
committed only afterwards. After half of the rounds, and at the end, one run with nothing in its
way follows, so that faults also come on top of each other. At last the warehouse is dropped,
and brought back from the raw bucket with the source down and a kill half-way.

After every run, failed ones too, the whole warehouse is compared with what plain SQL on the
source said at the snapshot of each loaded batch: every distinct state of a row once, with its
batch's time, in facts and in dimensions. After each clean run the present rows are those of the
source, too. The batches have to form one chain without gaps, the watermark has to be at its end,
no sealed batch may be left out, and a run that fails has to say why in one line. "Killed",
"failed" and "came through" are about the run with the fault; every clean run succeeded and made
good, or it would be listed as broken.

{date}, {minutes:.0f} minutes:

| fault | tried | killed | failed | came through |
|---|--:|--:|--:|--:|
{rows}

| compared | |
|---|--:|
| faults that happened | {tried:,} |
| clean runs after them | {clean:,} |
| times the warehouse was compared | {checks:,} |
| rows compared | {compared:,} |
| versions of facts compared | {versions:,} |
| **rows or versions lost** | **{lost:,}** |
| **rows or versions doubled** | **{doubled:,}** |
| promises broken in any other way | {broken:,} |
"""


def page(result: Result, rounds: int, seed: int, seconds: float) -> str:
    """The page in Markdown."""
    rows = [
        f"| {kind} | {one.tried} | {one.killed or ''} | {one.failed or ''} | {one.came_through or ''} |"
        for kind, one in sorted(result.kinds.items())
    ]
    whole = [result.tried, *(sum(getattr(one, name) for one in result.kinds.values()) for name in
             ("killed", "failed", "came_through"))]  # fmt: skip
    rows.append("| **all** | " + " | ".join(f"**{number}**" for number in whole) + " |")
    return _PAGE.format(
        command=f"python -m tests.faults --rounds {rounds} --seed {seed}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        minutes=seconds / 60,
        rows="\n".join(rows),
        tried=result.tried,
        clean=result.clean_runs,
        checks=result.tally.checks,
        compared=result.tally.rows,
        versions=result.tally.versions,
        lost=result.tally.lost,
        doubled=result.tally.doubled,
        broken=len(result.broken),
    ) + "".join(f"\n- broken: {words}\n" for words in result.broken)
