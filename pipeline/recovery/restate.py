"""Compute tables over all batches that the lake holds, whose models have changed, are new or are back.

A changed model does not mean that the source has changed. So each version becomes what the new model makes
of its batch: no version begins at the change, an old one can be split at a batch, and equal ones are merged.
The tables are rebuilt beside the live ones and the differences are applied in one transaction, so that
readers see the tables of before or those of after, and views, grants, indexes and references stay.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from tempfile import TemporaryDirectory

from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import SettingsError
from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.models.library import FINGERPRINT, Model, closure, is_stable
from pipeline.models.output import Loaded
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, identifiers, statement, transaction
from pipeline.recovery import checkpoints, rejections, table_copies
from pipeline.recovery.added_columns import fill_added
from pipeline.recovery.batches import Batches, loaded_batches
from pipeline.recovery.checkpoints import Checkpoints
from pipeline.recovery.lost_tables import lost_tables
from pipeline.recovery.rebuilt_tables import delete_missing, rebuilt_tables, write
from pipeline.recovery.replays import Replayer
from pipeline.recovery.table_copies import TableCopies
from pipeline.warehouse import bindings, ledger
from pipeline.warehouse.limits import DEFAULT, Limits
from pipeline.warehouse.referring import load_order
from pipeline.warehouse.table import Table
from pipeline.words import counted, did_you_mean

_logger = logging.getLogger(__name__)


class Restated(Frozen):
    """What restating a table has changed: versions of a fact, rows of another table with their versions."""

    table: str
    updated: int
    added: int
    deleted: int


def changed(models: Mapping[str, Model], loaded: Mapping[str, Loaded]) -> list[str]:
    """The models that did not compute what their tables hold, and can be restated.

    They have changed, are new, or had been removed; or they were and a killed run has not restated them.

    An unstable model would give versions of the past other values without reason. A fingerprint of an
    earlier release does not tell whether its model has changed.
    """
    return [
        name
        for name, model in models.items()
        if _differs(model, loaded.get(name)) and is_stable(models, name)
    ]


def _differs(model: Model, loaded: Loaded | None) -> bool:
    if loaded is None or loaded.to_restate:
        return True
    return loaded.fingerprint != model.fingerprint and loaded.fingerprint.startswith(FINGERPRINT)


def requested(models: Mapping[str, Model], names: Iterable[str]) -> list[str]:
    """These models and those that read them; raises SettingsError for one that cannot be restated."""
    wanted = set(names)
    for name in sorted(wanted):
        if name not in models:
            hint = did_you_mean(name, models) or f"; there are {', '.join(models)}"
            raise SettingsError(f"restate: there is no model {name}{hint}")
    found = [name for name in models if wanted & closure(models, name).keys()]
    for name in found:
        if unstable := [below.name for below in closure(models, name).values() if below.unstable]:
            raise SettingsError(
                f"restate: {name} cannot be restated, because {unstable[0]} is unstable: it would give"
                " versions of the past other values without reason"
            )
    return found


def restate(
    url: str, schema: str, replayer: Replayer, names: Sequence[str], limits: Limits = DEFAULT
) -> list[Restated]:
    """Compute these tables again over all batches; returns those that the lake and the models allow it for.

    Raises ConcurrentRunError where another run has loaded a batch meanwhile, and WarehouseError where the
    changed models would lose more rows than the limits allow.
    """
    known, models, targets = loaded_batches(url, schema, replayer.raw), replayer.models, replayer.targets
    if not known.manifests:
        _logger.warning("warehouse: %s cannot be restated: the raw bucket lacks batches", ", ".join(names))
        return []
    with TemporaryDirectory() as outputs, transaction(url, "warehouse") as connection:
        known.lock_for_load(connection, schema)
        waiting = rejections.waited_for(connection, schema, targets, names)
        wanted = {*names, *(name for name in waiting if is_stable(models, name))}
        names = [name for name in models if name in wanted]
        lost = lost_tables(connection, schema, known, models, [targets[name] for name in names])
        aside = replace(replayer, processed=folder(outputs))
        filled = fill_added(connection, schema, aside, known, names)
    done = [Restated(table=name, updated=rows, added=0, deleted=0) for name, rows in filled.items()]
    rest = [name for name in names if name not in {*lost, *filled}]
    return [*done, *_restate(url, schema, replayer, known, rest, limits)]


def _restate(
    url: str, schema: str, replayer: Replayer, known: Batches, names: Sequence[str], limits: Limits
) -> list[Restated]:
    """Restate tables together, so that what several read is computed once; those that fail hold none back."""
    if not names:
        return []
    place, done = checkpoints.place(ledger.destination(url, schema)), list[Restated]()
    try:
        done = _rebuild(url, schema, replayer, known, names, limits, place)
    except _Refused as refused:
        if len(names) > 1:
            alone = [_restate(url, schema, replayer, known, [name], limits) for name in names]
            done = [each for some in alone for each in some]
        else:
            _logger.info("%s is not restated: %s", names[0], refused)
    checkpoints.remove(replayer.processed, place)
    return done


def _rebuild(
    url: str,
    schema: str,
    replayer: Replayer,
    known: Batches,
    names: Sequence[str],
    limits: Limits,
    place: str,
) -> list[Restated]:
    models, targets = replayer.models, replayer.targets
    with TemporaryDirectory() as outputs, transaction(url, "warehouse") as connection:
        last = known.lock_for_load(connection, schema)
        table_copies.take_memory(connection)
        needed = needed_tables(models, targets, names)
        copy_tables(connection, schema, [targets[name] for name in load_order(needed.values())])
        buckets = {name: replayer.processed if name in names else folder(outputs) for name in needed}
        below = {name: model for name, model in models.items() if name in needed}
        rebuilt = table_copies.create(
            connection, schema, below, models[names[0]].path.parent, replayer.raw, buckets
        )
        copy_rows_of_others(connection, schema, rebuilt, known.manifests[0].snapshot_at)
        kept = Checkpoints(rebuilt, replayer.processed, place, frozenset(names), known.manifests)
        if done := kept.restore():
            had = counted(done, "batch", "batches")
            _logger.info("%s: an earlier attempt has computed %s", ", ".join(names), had)
        for number, manifest in enumerate(known.manifests[done:], done + 1):
            _logger.info("%s: restating, batch %d of %d", ", ".join(names), number, len(known.manifests))
            try:
                rebuilt.load(manifest)
            except table_copies.PERMANENT as error:
                raise _Refused(str(error)) from None
            kept.save(number)
        before = rejections.unresolved(connection, schema)
        rejections.check_share(
            connection, rebuilt.schema, [rebuilt.targets[name] for name in names], before, limits
        )
        live = {name: targets[name] for name in load_order(needed.values()) if name in names}
        return _apply(connection, schema, rebuilt, models, live, last, known.manifests)


class _Refused(Exception):
    """A batch cannot be computed by these models, or not be loaded into their tables."""


def needed_tables(
    models: Mapping[str, Model], targets: Mapping[str, Target], names: Iterable[str]
) -> dict[str, Target]:
    """The tables that these ones are computed with: models that they read, and tables that they refer to."""
    found, new = dict[str, Target](), set(names)
    while new:
        found |= {name: targets[name] for name in new}
        below = {other for name in new for other in closure(models, name)}
        referred = {reference.to_table for name in new for reference in targets[name].references}
        new = ((below | referred) & targets.keys()) - found.keys()
    return found


def copy_tables(
    connection: Connection, schema: str, targets: Sequence[Target], into: str = "pg_temp"
) -> None:
    """Create empty tables like the live ones, which somebody may have altered, with their references."""
    names = {target.name for target in targets}
    for target in targets:
        connection.execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(
                sql.Identifier(into, target.name), sql.Identifier(schema, target.name)
            )
        )
        for reference in target.references:
            if reference.to_table in names:
                connection.execute(
                    sql.SQL("ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({})").format(
                        sql.Identifier(into, target.name),
                        identifiers(reference.columns),
                        sql.Identifier(into, reference.to_table),
                        identifiers(reference.to_columns),
                    )
                )


def copy_rows_of_others(connection: Connection, schema: str, rebuilt: TableCopies, base: datetime) -> None:
    """Copy the rows of dimensions that no batch from the time ``base`` on brings: facts may refer to them."""
    for target in rebuilt.targets.values():
        if target.fact or target.bridge:
            continue
        columns = identifiers([column.name for column in target.columns if not column.generated])
        query = statement("warehouse/copy_rows_of_others.sql").format(
            table=sql.Identifier(schema, target.name),
            rebuilt=sql.Identifier(rebuilt.schema, target.name),
            versions=sql.Identifier(schema, versions_name(target.name)),
            same_key=target.same_key("t", "s"),
            columns=columns,
            keeps_rows=sql.Literal(rebuilt.models[target.name].keeps_rows),
        )
        with table_copies.without_references(connection, rebuilt.schema, target):
            connection.execute(query, {"base": base})
        table_copies.go_on_numbering(connection, sql.Identifier(rebuilt.schema, target.name), target)


def _apply(
    connection: Connection,
    schema: str,
    rebuilt: TableCopies,
    models: Mapping[str, Model],
    live: Mapping[str, Target],
    last: str,
    manifests: Sequence[Manifest],
) -> list[Restated]:
    """Give the live tables what the rebuilt ones have, and write down what they are computed with now.

    The rebuilt ones have loaded these batches. The live ones come after those that they refer to.
    """
    filled, base = rebuilt.as_filled(manifests[-1]), manifests[0].snapshot_at
    targets = {name: filled[name] for name in live}
    counts: dict[str, tuple[int, int]] = {}
    for name, target in targets.items():
        _logger.info("%s: writing the versions that differ", name)
        rows, *versions = rebuilt_tables(connection, schema, rebuilt.schema, target, base)
        columns = tuple(column.name for column in target.columns)
        counts[name] = write(rows, Table(connection, schema, live[name], columns, manifests[-1]))
        for table in versions:
            table.insert_and_update()
    # Rows that facts referred to can be deleted once these are restated.
    deleted = {
        name: delete_missing(connection, schema, rebuilt.schema, targets[name], base)
        for name in reversed(targets)
    }
    _move_rejected(connection, schema, rebuilt.schema, list(targets))
    for name, target in targets.items():
        kept = rebuilt.loaded.get(name)
        loaded = Loaded(fingerprint=models[name].fingerprint, result=kept.result if kept else None)
        ledger.record_model(connection, schema, last, target, loaded)
    bindings.bind(connection, schema, last, targets, dict.fromkeys(targets))
    # Behind a pooler the session goes on.
    connection.execute("DISCARD TEMP")
    return [
        Restated(table=name, added=added, updated=updated, deleted=deleted[name])
        for name, (added, updated) in counts.items()
    ]


def _move_rejected(connection: Connection, schema: str, copy_schema: str, names: Sequence[str]) -> None:
    """Take over the rejected rows of the rebuilt tables."""
    values = {"schema": schema, "copies": copy_schema, "tables": list(names)}
    for query in (
        "DELETE FROM etl.rejected WHERE schema_name = %(schema)s AND table_name = ANY(%(tables)s)",
        (
            "UPDATE etl.rejected SET schema_name = %(schema)s"
            " WHERE schema_name = %(copies)s AND table_name = ANY(%(tables)s)"
        ),
        "DELETE FROM etl.rejected WHERE schema_name = %(copies)s",
    ):
        connection.execute(query, values)
