"""Erase a row's personal values: ``python -m tasks.forget staff 7``; and a task that erases them again.

The command is not a flow, because Prefect would store the key among the flow run's parameters.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import cast

import psycopg
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipeline import settings
from pipeline.erasure import forget as engine
from pipeline.erasure import frozen as without_model
from pipeline.erasure import pending
from pipeline.erasure.declared import Undeclared, newest, the_table
from pipeline.erasure.forget import Findings
from pipeline.erasure.frozen import FrozenTables
from pipeline.errors import SettingsError
from pipeline.lake import erasures
from pipeline.lake.erasures import Entry
from pipeline.lake.manifest import Manifest
from pipeline.lake.manifests import all_manifests
from pipeline.models import library
from pipeline.models.library import Model
from pipeline.models.target import Target, versions_name
from pipeline.postgres import transaction
from pipeline.recovery.replays import Replayer
from pipeline.settings import Settings
from pipeline.source.table_names import of_user
from pipeline.warehouse import catalogue, ledger
from pipeline.words import counted
from tasks import blocks
from tasks.arguments import Parser
from tasks.failures import RETRY_IF_TRANSIENT, clean_failures, print_all


@task(name="forget-again", task_run_name="forget again", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT)
@clean_failures
def forget_again(schema: str, models: dict[str, Model], targets: dict[str, Target], environment: str) -> None:
    """Complete the erasures that a kill interrupted or a restore undid."""
    replayer = Replayer(models, targets, *blocks.buckets(environment))
    url = blocks.database_url(blocks.WAREHOUSE, environment)
    with transaction(url, "warehouse") as connection:
        frozen = without_model.read(connection, schema, models)
    for entry in pending.find(url, schema, replayer.raw, models):
        get_run_logger().warning(
            "A row of %s that was erased is not erased everywhere; erasing it again", entry.table
        )
        try:
            findings = engine.find(url, schema, replayer, all_manifests(replayer.raw), entry, frozen)
        except Undeclared:
            get_run_logger().warning("%s", _left(entry))
            pending.leave(url, schema, replayer, entry)
            continue
        for line in _erase(url, schema, replayer, findings, get_run_logger().info):
            get_run_logger().info("%s", line)


def _left(entry: Entry) -> str:
    return (
        f"A row of {entry.table} was erased, and no model declares a column of this table personal: this"
        " warehouse keeps what it has of the row; if it has personal values, declare their columns"
        " (`-- personal: column`), and the next run erases them"
    )


def _erase(
    url: str, schema: str, replayer: Replayer, findings: Findings, progress: Callable[[str], None]
) -> Iterator[str | Exception]:
    """Erase a row, and tell ``progress`` what was done; yields lines on what the search found."""
    certificate = engine.carry_out(url, schema, replayer, findings, progress)
    searched = cast(dict[str, int], certificate["searched"])
    without = {
        f"warehouse {schema}.{table}" for name in findings.kept for table in (name, versions_name(name))
    }
    hits = cast(list[str], certificate["hits"])
    yield (
        f"searched {', '.join(f'{what}: {number:,}' for what, number in searched.items())} for"
        f" {certificate['texts']} of its texts (texts of others too, or short:"
        f" {certificate['texts of others too, or short']}); found: {len(hits)}"
    )
    for table, rows in findings.left.items():
        yield (
            f"{table}: erased in versions of {counted(rows, 'row')} that the lake lacks, found by key,"
            " reference or value; some may be about another person with an equal value"
        )
    for place in cast(list[str], certificate["in other tables"]):
        yield f"rows of another table contain one of its texts: {place}; erase them too if they are about it"
    for hit in (hit for hit in hits if hit not in without):
        yield SettingsError(
            f"found in {hit}; check whether it is about another person; if not, declare the column personal"
        )
    yield from _kept(findings)


def _kept(findings: Findings) -> Iterator[Exception]:
    """An error for each table without a model that may keep values of the row."""
    for name, reason in findings.kept.items():
        yield SettingsError(
            f"{name} has no model any more, and its values of the row are not erased: {reason}; put its model"
            f' back, run and forget again, or run with ALLOW="drop {name}"'
        )


def _lines(arguments: argparse.Namespace) -> Iterator[str | Exception]:
    config = settings.load()
    environment = config.environment_for(arguments.environment)
    url, schema = blocks.database_url(blocks.WAREHOUSE, environment), config.warehouse_schema
    with ledger.lock(url, schema, config.run_lock_timeout):
        replayer, frozen, in_warehouse, certified = _prepared(config, environment, url, keep=arguments.yes)
        in_lake = erasures.in_lake(replayer.raw, in_warehouse)
        known = {**in_lake, **in_warehouse}
        manifests = all_manifests(replayer.raw)
        for entry in _entries(arguments, replayer, manifests, frozen, list(known.values()), environment):
            try:
                findings = engine.find(url, schema, replayer, manifests, entry, frozen)
            except Undeclared:
                yield _left(entry)
                continue
            if entry.key_hash in certified & in_lake.keys() and not findings.raw:
                erased_on = known[entry.key_hash].forgotten_at
                yield f"this row of {entry.table} is erased already, since {erased_on:%Y-%m-%d %H:%M} UTC"
            else:
                yield findings.summary
                if not (findings.raw or findings.processed or findings.effects):
                    yield "nothing of this row is found: its key may be another"
                yield from () if arguments.yes else _kept(findings)
            if arguments.yes:
                yield from _erase(url, schema, replayer, findings, partial(print, flush=True))
                manifests = all_manifests(replayer.raw)
    if not arguments.yes:
        yield "nothing was changed; ARGS=--yes erases it"


def _prepared(
    config: Settings, environment: str, url: str, *, keep: bool
) -> tuple[Replayer, FrozenTables, Mapping[str, Entry], set[str]]:
    """What computes models again, the tables without a model, and the warehouse's entries.

    And the key hashes of complete entries. With ``keep`` the tables stay prepared, as after a run.
    """
    models = library.load(config.transforms)
    with transaction(url, "warehouse") as connection:
        targets = catalogue.prepare_in(connection, config.warehouse_schema, models, config.transforms)
        frozen = without_model.read(connection, config.warehouse_schema, models)
        in_warehouse = erasures.in_warehouse(connection, config.warehouse_schema)
        certified = erasures.certified(connection, config.warehouse_schema)
        if not keep:
            raise psycopg.Rollback
    replayer = Replayer(catalogue.with_contracts(models, targets), targets, *blocks.buckets(environment))
    return replayer, frozen, in_warehouse, certified


def _entries(
    arguments: argparse.Namespace,
    replayer: Replayer,
    manifests: Sequence[Manifest],
    frozen: FrozenTables,
    known: list[Entry],
    environment: str,
) -> list[Entry]:
    """The entry of the named row; if no row is named, the known ones of all rows that were erased."""
    if not arguments.table:
        if not known:
            raise SettingsError("TABLE: no row was erased yet; name one: make forget TABLE=name KEY=value")
        return known
    name = of_user(arguments.table, newest(manifests))
    _, table, erased = the_table(replayer.models, manifests, name, frozen.models)
    key_values = arguments.key.split(",") if len(table.key) > 1 else [arguments.key]
    key, moment = blocks.hash_key(environment), datetime.now(UTC)
    return [erasures.entry(table.table, erased.key, key_values, known, moment, key)]


def main() -> int:
    """Erase a row, or print what would be erased; returns the exit status, 1 if a trace of it is left."""
    parser = Parser("tasks.forget", __doc__)
    parser.add_argument(
        "table",
        nargs="?",
        default="",
        help="a table of the source, or schema.table; all rows that were erased before if none",
    )
    parser.add_argument(
        "key", nargs="?", default="", help="the row's key, with commas where it has several columns"
    )
    parser.add_argument("--yes", action="store_true", help="erase it")
    parser.add_environment()
    return print_all(_lines(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
