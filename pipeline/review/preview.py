"""What the next run does because models, marts or schema.sql have changed; nothing is changed to find out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal

import psycopg
from pydantic import ConfigDict, Field

from pipeline.columns import Frozen
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models.library import Model
from pipeline.models.output import Loaded
from pipeline.models.target import Target, versions_name
from pipeline.postgres import exists, transaction
from pipeline.recovery import restate
from pipeline.recovery.added_columns import added
from pipeline.recovery.batches import loaded_batches
from pipeline.review import diffs
from pipeline.review.costs import Work, read_in_full, table_counts, work_of_batches
from pipeline.review.feeds import Feed, feeds
from pipeline.warehouse import (
    alterations,
    catalogue,
    dependents,
    ledger,
    mart_changes,
    upgrades,
)
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.dependents import Dependent
from pipeline.warehouse.evolve import Change
from pipeline.warehouse.schemas import reporting_schema

Effect = Literal[
    "created", "restated", "compared", "refilled", "altered", "unchanged", "frozen", "dropped", "executed",
    "mart created", "mart replaced", "mart dropped", "mart broken",
]  # fmt: skip

_OF_MARTS: Mapping[str, Effect] = {
    "created": "mart created",
    "replaced": "mart replaced",
    "dropped": "mart dropped",
    "broken": "mart broken",
}


class TableChange(Frozen):
    """A change of a table, or of its ``column`` if that is not empty.

    ``sql`` are the statements. ``consent`` is what has to be allowed, if anything; ``is_refused``: a run
    fails until it is; ``happens``: the run makes the change, and then allows itself the ``follow_up``.
    """

    kind: str
    column: str
    summary: str
    sql: tuple[str, ...]
    risk: str
    consent: str
    is_refused: bool
    happens: bool
    follow_up: str = ""


class Preview(Frozen):
    """What happens to a table.

    ``restated`` over ``batches``, so that no version is made; ``compared`` where the lake or the model
    does not allow that: rows that differ get new versions. ``refilled`` if the table is made again, and
    ``frozen`` if its model was removed. The table ``schema.sql`` stands for the file, which is ``executed``
    for the sake of indexes, comments and the like if no table has other columns.

    ``model_diff`` and ``table_diff`` are the lines of unified diffs of the model and of the table's
    declaration, empty where the former text is not known. ``rows`` and ``versions`` are those of the table,
    ``rows_read`` the rows that are computed again, which takes about ``seconds`` (None if no batch was
    timed). ``in_place``: the model only gained these columns, so that no more than they is written.
    ``breaks`` are objects of others that the change drops or that stand in its way. ``read_in_full``
    are source tables; in JSON they are ``read_whole``, which programs know. ``feeds`` are columns that other
    columns of the source feed than before. ``error`` is why a mart breaks.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    table: str
    effect: Effect
    changes: tuple[TableChange, ...] = ()
    model_diff: tuple[str, ...] = ()
    table_diff: tuple[str, ...] = ()
    batches: int = 0
    rows: int = 0
    versions: int = 0
    rows_read: int = 0
    in_place: tuple[str, ...] = ()
    seconds: float | None = None
    read_by: tuple[str, ...] = ()
    breaks: tuple[Dependent, ...] = ()
    read_in_full: tuple[str, ...] = Field(default=(), serialization_alias="read_whole")
    feeds: tuple[Feed, ...] = ()
    error: str = ""

    @property
    def altered(self) -> tuple[str, ...]:
        """The statements that the run executes."""
        return tuple(text for change in self.changes if change.happens for text in change.sql)

    @property
    def by_hand(self) -> tuple[str, ...]:
        """The statements of changes that nobody has allowed."""
        return tuple(text for change in self.changes if not change.happens for text in change.sql)

    @property
    def consents(self) -> tuple[str, ...]:
        """What has to be allowed."""
        return tuple(change.consent for change in self.changes if not change.happens)


def preview_if_changed(
    url: str,
    schema: str,
    models: Mapping[str, Model],
    transforms: Path,
    raw: Bucket,
    allow: Collection[str] = (),
) -> list[Preview]:
    """The same for a run, by one query if no text has changed; nothing in a first run and in an upgrade's."""
    try:
        with transaction(url, "warehouse") as connection:
            if upgrades.version(connection) != upgrades.VERSION:
                return []
            is_same = not alterations.may_differ(connection, schema, models, transforms)
            if is_same and not mart_changes.may_differ(connection, schema, transforms):
                return []
    except psycopg.errors.InsufficientPrivilege:
        return []  # the run fails with the privilege that its role lacks
    return preview(url, schema, models, transforms, raw, allow)


def preview(
    url: str,
    schema: str,
    models: Mapping[str, Model],
    transforms: Path,
    raw: Bucket,
    allow: Collection[str] = (),
) -> list[Preview]:
    """What the next run does to each table that changes, in the order of the models.

    ``allow`` names changes that somebody consents to.
    """
    with transaction(url, "warehouse") as connection:
        upgrades.check(connection)
        if not exists(connection, "etl.model"):
            return [Preview(table=name, effect="created") for name in models]
        found = alterations.find(connection, schema, models, transforms, allow)
        breaks = {
            change.table: tuple(dependents.dependents(connection, schema, change)) for change in found.changes
        }
        work = work_of_batches(connection, schema)
        of_marts = [
            Preview(
                table=f"{reporting_schema(schema)}.{each.name}",
                effect=_OF_MARTS[each.effect],
                error=each.error,
            )
            for each in mart_changes.changes(connection, schema, transforms, found)
        ]
    targets = catalogue.targets(url, schema, _under_present_names(models, found))
    loaded = ledger.fetch_loaded_models(url, schema)
    effects = _effects(catalogue.with_contracts(models, targets), targets, loaded, found)
    if all(effect == "unchanged" for effect in effects.values()) and not found.changes:
        return [*_of_file(found), *of_marts]
    counts = table_counts(url, schema, [*targets, *found.frozen])
    chain = loaded_batches(url, schema, raw)
    of_tables = [
        each
        for name, best in effects.items()
        for each in [
            _of_table(
                name, best, found, models, chain.manifests, counts, work.get(name), breaks.get(name, ())
            )
        ]
        if each.effect != "unchanged" or each.changes
    ]
    names = {each.table for each in of_tables} & models.keys()
    fed = _feeds(found, models, targets, chain.manifests, names)
    return [*(each.model_copy(update={"feeds": fed.get(each.table, ())}) for each in of_tables), *of_marts]


def _feeds(
    found: Alterations,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifests: Sequence[Manifest],
    names: AbstractSet[str],
) -> dict[str, tuple[Feed, ...]]:
    """What feeds these tables differently from before, by the last batch's columns of the source."""
    if not manifests:
        return {}
    tables = manifests[-1].tables
    columns = {name: table.columns for name, table in tables.items()}
    keys = {name: table.key for name, table in tables.items()}
    return feeds(models, found.texts, targets, columns, keys, names)


def _of_file(found: Alterations) -> Iterator[Preview]:
    """The file schema.sql, if more than its comments has changed."""
    if found.is_new and found.old_text is not None and (diff := diffs.of_file(found.old_text, found.text)):
        yield Preview(table="schema.sql", effect="executed", table_diff=tuple(diff))


def _under_present_names(models: Mapping[str, Model], found: Alterations) -> dict[str, Model]:
    return {name: model for name, model in models.items() if name not in found.new_tables.values()}


def _of_table(
    name: str,
    best: Effect,
    found: Alterations,
    models: Mapping[str, Model],
    manifests: Sequence[Manifest],
    counts: Mapping[str, int],
    work: Work | None,
    breaks: tuple[Dependent, ...],
) -> Preview:
    effect = "compared" if best == "restated" and not manifests else best
    again = effect in {"restated", "refilled", "compared"}
    done = work or Work()
    return Preview(
        table=name,
        effect=effect,
        changes=tuple(_change(change) for change in found.changes if change.table == name),
        model_diff=tuple(diffs.of_model(name, found, models)),
        table_diff=tuple(diffs.of_table(name, found)),
        batches=len(manifests) if effect in {"restated", "refilled"} else 0,
        rows=counts.get(name, 0),
        versions=counts.get(versions_name(name), counts.get(name, 0)),
        rows_read=done.rows if again else 0,
        in_place=added(found.texts.get(name), models[name]) if effect == "restated" else (),
        seconds=done.seconds * done.rows / done.timed_rows if again and done.timed_rows else None,
        read_by=tuple(other for other in models if name in models[other].reads),
        breaks=breaks,
        read_in_full=tuple(read_in_full(name, effect, models, manifests)),
    )


def _change(change: Change) -> TableChange:
    return TableChange(
        kind=change.kind,
        column=change.column,
        summary=change.summary,
        sql=tuple(each.as_string() for each in change.statements),
        risk=change.risk,
        consent=change.consent,
        is_refused=change.is_refused,
        happens=change.happens,
        follow_up=change.follow_up,
    )


def _effects(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    loaded: Mapping[str, Loaded],
    found: Alterations,
) -> dict[str, Effect]:
    """What happens to each table if the lake has all batches; to those whose models are gone, too."""
    loaded = {found.new_tables.get(name, name): each for name, each in loaded.items()}
    remade = {change.table for change in found.changes if change.remakes}
    asked = [change for change in found.changes if change.is_asked or change.happens]
    altered = {change.table for change in asked if change.kind != "renamed"}
    renamed = alterations.only_renamed(found, altered | remade)
    restated = altered | set(restate.changed(models, loaded))
    effects: dict[str, Effect] = {}
    for name, model in models.items():
        if name not in targets and name not in found.new_tables.values():
            effects[name] = "created"
        elif name in remade:
            effects[name] = "refilled"
        elif name in renamed:
            effects[name] = "altered"
        elif name in restated:
            effects[name] = "restated"
        elif name in loaded and loaded[name].fingerprint != model.fingerprint:
            effects[name] = "compared"
        else:
            effects[name] = "unchanged"
    dropped = {change.table for change in found.changes if change.kind == "dropped"}
    for name, since in found.frozen.items():
        if name in dropped or since is None:
            effects[name] = "dropped" if name in dropped else "frozen"
    return effects
