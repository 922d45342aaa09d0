"""What changes because models or schema.sql have changed, as text: of a plan, and of a run."""

import re
from collections.abc import Iterable, Iterator

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from pipeline.errors import SettingsError
from pipeline.redaction import safe
from pipeline.review.feeds import Feed
from pipeline.review.table_preview import Preview, TableChange
from pipeline.warehouse.evolve import CONSENTS, unmatched
from pipeline.words import counted
from tasks.failures import clean_failures

_ARTIFACT = "totesys-changes"
# Effects on a table that a model computes for the first time, or again for the first time.
_FIRST = ("created", "filled")
# How effects on other things than tables begin.
_OF_FILES = ("schema", "seed", "mart", "check")
EFFECTS = {
    "created": "is created and filled",
    "filled": "is filled",
    "restated": "is computed again over {batches}; versions keep their times, and what differs is written",
    "compared": "is computed again for the next batch: rows that differ get a new version",
    "refilled": "is made again, and filled from {batches} with its history",
    "altered": "is altered in place, and nothing is computed again",
    "unchanged": "stays as it is",
    "frozen": "has no model any more; it stays as it is, and no batch is loaded into it",
    "dropped": "is dropped with its history",
    "executed": "is executed; no table gets other columns",
    "schema broken": "cannot be executed again, so the run fails",
    "seed gone": "is gone",
    "mart created": "is a new mart",
    "mart replaced": "is made again, as its file has changed",
    "mart dropped": "is dropped, as its file is gone",
    "mart broken": "breaks, so the run fails",
    "check broken": "breaks, so the run fails",
}


# What a run that loads no batch did because of them; of any other effect, it may have altered the table.
_DONE = {
    "created": "created",
    "refilled": "refilled",
    "frozen": "froze",
    "dropped": "dropped",
    "executed": "executed",
    "mart created": "created",
    "mart replaced": "replaced",
    "mart dropped": "dropped",
}


def done_to(each: Preview) -> str:
    """What a run did to a table in one word; empty if nothing."""
    return _DONE.get(each.effect) or ("altered" if each.altered or each.effect == "altered" else "")


def effect_of(each: Preview) -> str:
    """What a run does to a table."""
    batches = counted(each.batches, "batch", "batches")
    history = f" from {batches}, with its history" if each.batches else ""
    return EFFECTS[each.effect].format(batches=batches) + (history if each.effect in _FIRST else "")


def consents(texts: Iterable[str]) -> list[str]:
    """The changes that somebody consents to, from texts that list them with commas.

    A comma in a name is none of these. Raises SettingsError for a text that is no change.
    """
    words = sorted(set(CONSENTS.values()))
    comma = re.compile(rf" ?, ?(?=(?:{'|'.join(words)}) |\w+ \w+\.|$)")
    found = [part for text in texts for part in comma.split(" ".join(text.split())) if part]
    for each in found:
        if each.partition(" ")[0] not in words or " " not in each:
            raise SettingsError(
                f"allow: {each!r} names no change; write one of {', '.join(words)} and what it changes,"
                " as `make plan` prints it, e.g. drop dim_shop.manager"
            )
    return found


def lines(found: Iterable[Preview], allow: Iterable[str] = ()) -> Iterator[str]:
    """The plan for people; ``allow`` names the changes that somebody consents to."""
    tables = list(found)
    for each in tables:
        yield from _of_table(each)
    if refused := [change.consent for each in tables for change in each.changes if change.is_refused]:
        yield f'the run fails without consent: make run ALLOW="{", ".join(refused)}"'
    of_tables = [change.consent for each in tables for change in each.changes]
    yield from unmatched(allow, [*of_tables, *(f"drop {each.table}" for each in tables)])
    if not tables:
        yield "no table changes: models and schema.sql are those that the warehouse was loaded with"


def _of_table(each: Preview) -> Iterator[str]:
    yield from _head(each)
    for change in each.changes:
        yield from _of_change(change)
    for broken in each.breaks:
        yield f"  {'stands in the way' if broken.blocks else 'is dropped with it'}: {broken.name}"
    if each.effect == "frozen":
        yield f"  if its model has a new name, write `-- renamed: {each.table} -> new name` at its head"
        yield f'  to drop it: make run ALLOW="drop {each.table}"'
    for feed in each.feeds:
        yield f"  {_of_feed(feed)}"
    if each.read_by:
        yield f"  read by {', '.join(each.read_by)}"
    for line in (*each.model_diff, *each.table_diff):
        yield f"    {line}"


def _of_feed(feed: Feed) -> str:
    what = f"{feed.column} is computed from" if feed.column else "which rows there are depends on"
    before = "" if feed.before is None else f"; before, {_or_nothing(feed.before)}"
    return f"{what} {_or_nothing(feed.sources)}{before}"


def _or_nothing(sources: Iterable[str]) -> str:
    return ", ".join(sources) or "no column of the source"


def _head(each: Preview) -> Iterator[str]:
    effect = effect_of(each)
    size = counted(each.rows, "row")
    if each.versions != each.rows:
        size += f", {counted(each.versions, 'version')}"
    if each.in_place:
        effect += f"; only {', '.join(each.in_place)} is written, in place if no row was ever rejected"
    has_rows = each.effect != "executed" and not each.effect.startswith(_OF_FILES)
    yield f"{each.table} ({size}): {effect}" if has_rows else f"{each.table}: {effect}"
    yield from (f"  {line}" for line in each.error.splitlines())
    if each.rows_read:
        seconds = "" if each.seconds is None else f", about {max(1, round(each.seconds)):,} s"
        yield f"  computes {counted(each.rows_read, 'row')}{seconds}"
    if each.read_in_full:
        names = ", ".join(each.read_in_full)
        yield f"  reads all of {names} in the source"
        if each.effect == "restated" and each.versions:
            yield f"  no batch has read {names} yet, so versions that come from there begin with the next one"


def _of_change(change: TableChange) -> Iterator[str]:
    yield f"  {change.summary}"
    if change.happens:
        for statement in change.sql:
            yield f"    the run executes: {statement}"
    else:
        fate = "needs consent" if change.is_refused else "not done without consent"
        yield f"    {fate}, as {change.risk}: {change.consent}"


@task(name="report", task_run_name="report changes", cache_policy=NO_CACHE)
@clean_failures
def report_changes(found: list[Preview]) -> None:
    """Publish what a run has changed in the warehouse as a Markdown artifact."""
    text = safe("\n".join(lines(found)), keep="\n")
    tables = ", ".join(each.table for each in found)
    create_markdown_artifact(
        f"# Changes of models and schema.sql\n```\n{text}\n```", key=_ARTIFACT, description=safe(tables)
    )
