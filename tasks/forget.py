"""Forget a row of the source: ``python -m tasks.forget staff 7``, and a task that does so after a restore.

The command is no flow, because Prefect would keep the key among the flow run's parameters.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import cast

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import settings
from pipeline.erasure import forget as engine
from pipeline.errors import SettingsError
from pipeline.lake import erasures
from pipeline.lake.erasures import Entry
from pipeline.models import library
from pipeline.models.library import Model
from pipeline.models.target import Target
from pipeline.recovery.refill import Lake
from pipeline.settings import Settings
from pipeline.warehouse import catalogue, ledger
from tasks import blocks
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures, print_all

_PATIENCE = 30


@task(name="forget-again", task_run_name="forget again", cache_policy=NO_CACHE, **ON_TRANSIENT_FAULTS)
@clean_failures
def forget_again(schema: str, known: dict[str, Model], targets: dict[str, Target], environment: str) -> None:
    """Carry out what the ledger has and the lake or the warehouse lacks, as after a restore or a kill."""
    lake, url = _lake(known, targets, environment), blocks.database_url(blocks.WAREHOUSE, environment)
    for entry in engine.pending(url, schema, lake.raw):
        get_run_logger().warning(
            "A row of %s that was forgotten is not forgotten everywhere; erasing it again", entry.table
        )
        for line in _carried_out(url, schema, lake, entry):
            get_run_logger().info("%s", line)


def _lake(known: Mapping[str, Model], targets: Mapping[str, Target], environment: str) -> Lake:
    raw, processed = (blocks.bucket(name, environment) for name in (blocks.RAW, blocks.PROCESSED))
    return Lake(known, targets, raw, processed)


def _carried_out(url: str, schema: str, lake: Lake, entry: Entry) -> Iterator[str]:
    """Erase a row, and say what was done and what the search found."""
    lines: list[str] = []
    found = engine.find(lake, engine.sealed(lake.raw), entry)
    certificate = engine.carry_out(url, schema, lake, found, lines.append)
    yield from lines
    searched = cast(dict[str, int], certificate["searched"])
    hits = cast(list[str], certificate["hits"])
    yield (
        f"searched {', '.join(f'{what}: {number:,}' for what, number in searched.items())} for"
        f" {certificate['texts']} of its texts (texts of others too, or short:"
        f" {certificate['texts of others too, or short']}); found: {len(hits)}"
    )
    for place in cast(list[str], certificate["in other tables"]):
        yield f"rows of another table have one of its texts: {place}; forget them too if they are about it"
    for hit in hits:
        yield f"found in {hit}; it may be another's: look, and declare the column personal if it is not"


def _lines(arguments: argparse.Namespace) -> Iterator[str | Exception]:
    config = settings.load()
    environment = config.environment_for(arguments.environment)
    url, schema = blocks.database_url(blocks.WAREHOUSE, environment), config.warehouse_schema
    with ledger.lock(url, schema, _PATIENCE):
        lake = _prepared(config, environment, url)
        manifests = engine.sealed(lake.raw)
        for entry in _entries(arguments, url, schema, lake, environment):
            found = engine.find(lake, manifests, entry)
            yield found.story
            if arguments.yes:
                yield from _judged(_carried_out(url, schema, lake, entry))
    if not arguments.yes:
        yield "nothing was changed; ARGS=--yes erases it"


def _judged(lines: Iterator[str]) -> Iterator[str | Exception]:
    """The lines, those that tell of something found as what it is: an error."""
    for line in lines:
        yield SettingsError(line) if line.startswith("found in ") else line


def _prepared(config: Settings, environment: str, url: str) -> Lake:
    known = library.load(config.transforms)
    targets = catalogue.prepare(url, config.warehouse_schema, known, config.transforms)
    return _lake(catalogue.with_contracts(known, targets), targets, environment)


def _entries(
    arguments: argparse.Namespace, url: str, schema: str, lake: Lake, environment: str
) -> list[Entry]:
    """The row that is named, or all of the ledger where none is."""
    known = list((erasures.in_lake(lake.raw) | erasures.in_warehouse(url, schema)).values())
    if not arguments.table:
        return known
    _, table, erased = engine.the_table(lake.models, engine.sealed(lake.raw), arguments.table)
    given = arguments.key.split(",") if len(table.key) > 1 else [arguments.key]
    key, moment = blocks.hash_key(environment), datetime.now(UTC)
    return [erasures.entry(table.table, erased.key, given, known, moment, key)]


def main() -> int:
    """Forget a row, or say what would be erased; status 1 where something of it is found afterwards."""
    parser = argparse.ArgumentParser(prog="python -m tasks.forget", description=__doc__)
    parser.add_argument(
        "table", nargs="?", default="", help="a table of the source; the whole ledger if none"
    )
    parser.add_argument(
        "key", nargs="?", default="", help="the row's key, with commas where it has several columns"
    )
    parser.add_argument("--yes", action="store_true", help="erase it")
    parser.add_argument("--environment", default="", metavar="NAME", help="whose blocks")
    return print_all(_lines(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
