"""What the next run does because models, marts or schema.sql have changed; nothing is changed to find out."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.errors import ModelError, RightMissing
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models.library import SCHEMA_FILE, Model, is_stable, parse
from pipeline.models.output import Loaded
from pipeline.models.renaming import only_renames
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, exists, transaction
from pipeline.recovery import restate
from pipeline.recovery.added_columns import added
from pipeline.recovery.batches import loaded_batches
from pipeline.review import diffs, fitting, other_files
from pipeline.review.costs import WorkDone, read_in_full, table_counts, work_of_batches
from pipeline.review.feeds import Feed, feeds, unfit
from pipeline.review.fitting import future_target
from pipeline.review.table_preview import Effect, Preview, TableChange
from pipeline.warehouse import (
    alterations,
    catalogue,
    declarations,
    dependents,
    dropped_columns,
    evolve,
    ledger,
    mart_changes,
    upgrades,
)
from pipeline.warehouse.alterations import Alterations
from pipeline.warehouse.dependents import Dependent
from pipeline.warehouse.evolve import Change


def preview_if_changed(
    url: str,
    schema: str,
    models: Mapping[str, Model],
    transforms: Path,
    raw: Bucket,
    allow: Collection[str] = (),
) -> list[Preview]:
    """The preview for a run, soon if nothing has changed; empty in a first run and in an upgrade's."""
    try:
        with transaction(url, "warehouse") as connection:
            if upgrades.version(connection) != upgrades.VERSION:
                return []
            is_same = not alterations.may_differ(connection, schema, models, transforms)
            tables = _with_versions(connection, schema, models)
            is_whole = not (
                dropped_columns.lacks_columns(models, tables) or dropped_columns.incomplete_versions(tables)
            )
            if is_same and is_whole and not mart_changes.may_differ(connection, schema, transforms):
                return []
    except RightMissing:
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
    """What the next run does to each table that changes, in the order of the models, and to marts and checks.

    ``alterations.find`` compares tables with what declares them; ``_effects`` says what follows for the rows.
    ``allow`` names changes that somebody consents to.
    """
    with transaction(url, "warehouse") as connection:
        upgrades.check(connection)
        if not exists(connection, "etl.model"):
            return _of_first_run(connection, schema, models, transforms)
        found = alterations.find(connection, schema, models, transforms, allow)
        present = [found.under_former_names(change) for change in found.changes]
        breaks = dependents.of_changes(connection, schema, present)
        work = work_of_batches(connection, schema)
        beside = other_files.of_marts(connection, schema, transforms, found)
        beside += other_files.of_repeated_file(connection, found)
        emptied = dropped_columns.incomplete_versions(_with_versions(connection, schema, models)) | {
            *found.replaced
        }
    targets = catalogue.targets(url, schema, _under_present_names(models, found))
    loaded = ledger.fetch_loaded_models(url, schema)
    effects = _effects(catalogue.with_contracts(models, targets), targets, loaded, found, emptied)
    beside += other_files.of_seeds(url, schema, models, raw)
    beside += other_files.of_checks(url, schema, transforms, targets, found, effects)
    if all(effect == "unchanged" for effect in effects.values()) and not found.changes:
        return [*other_files.of_file(found), *beside]
    counts = _counts(url, schema, targets, found)
    manifests = loaded_batches(url, schema, raw).manifests
    of_tables = [
        _of_table(name, best, found, models, manifests, counts, work.get(name), breaks)
        for name, best in effects.items()
    ]
    changing = [each for each in of_tables if each.effect != "unchanged" or each.changes]
    after = fitting.altered(targets, found)
    return [*_on_last_batch(changing, found, models, after, manifests, transforms), *beside]


def _with_versions(connection: Connection, schema: str, models: Mapping[str, Model]) -> declarations.Tables:
    """The columns of the models' tables, and of those of their versions."""
    beside = [versions_name(name) for name, model in models.items() if model.kind != "fact"]
    return declarations.read(connection, schema, [*models, *beside])


def _counts(url: str, schema: str, targets: Collection[str], found: Alterations) -> dict[str, int]:
    """The row counts of the tables and of their versions, also under their new names."""
    names = [*targets, *found.frozen, *found.new_tables, *evolve.remade(found.changes)]
    counts = table_counts(url, schema, names)
    for old, new in found.new_tables.items():
        counts[new], counts[versions_name(new)] = counts[old], counts.get(versions_name(old), counts[old])
    return counts


def _of_first_run(
    connection: Connection, schema: str, models: Mapping[str, Model], transforms: Path
) -> list[Preview]:
    """All tables, which the first run creates."""
    declared = alterations.declare(connection, schema, transforms / SCHEMA_FILE, list(models))
    return [
        Preview(table=name, effect="created", error=_undeclared(name, transforms, declared))
        for name in models
    ]


def _undeclared(name: str, transforms: Path, declared: Collection[str]) -> str:
    """Why a table cannot be created, if that is so."""
    if name in declared:
        return ""
    return f"the run fails: no table {name} is declared; add it to {transforms / SCHEMA_FILE}"


def _on_last_batch(
    changing: Sequence[Preview],
    found: Alterations,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    manifests: Sequence[Manifest],
    transforms: Path,
) -> list[Preview]:
    """The previews with what feeds these tables differently from before, and why a run fails for them."""
    names = {each.table for each in changing} & models.keys()
    fed: Mapping[str, tuple[Feed, ...]] = {}
    misfits: Mapping[str, str] = {}
    if manifests:
        last = manifests[-1]
        fed = feeds(models, found.texts, targets, last.columns, last.primary_keys, names)
        future = {name: future_target(models[name], found) for name in names}
        misfits = unfit(models, targets, last.columns, last.primary_keys, future, last.source_schema)
    lacking = {
        each.table: _undeclared(each.table, transforms, found.declared)
        for each in changing
        if each.effect == "created"
    }
    return [
        each.model_copy(
            update={
                "feeds": fed.get(each.table, ()),
                "error": lacking.get(each.table) or misfits.get(each.table, ""),
            }
        )
        for each in changing
    ]


def _under_present_names(models: Mapping[str, Model], found: Alterations) -> dict[str, Model]:
    """The models of tables that exist and stay, with the present names of their keys."""
    present, others = dict[str, Model](), {*found.new_tables.values(), *evolve.remade(found.changes)}
    for name, model in models.items():
        if name not in others:
            former = {new: old for old, new in found.new_columns.get(name, {}).items()}
            present[name] = replace(model, key=tuple(former.get(column, column) for column in model.key))
    return present


def _of_table(
    name: str,
    best: Effect,
    found: Alterations,
    models: Mapping[str, Model],
    manifests: Sequence[Manifest],
    counts: Mapping[str, int],
    work: WorkDone | None,
    breaks: Mapping[str, tuple[Dependent, ...]],
) -> Preview:
    effect = "compared" if best == "restated" and not manifests else best
    again = effect in {"restated", "refilled", "compared"}
    done = work or WorkDone(table_name=name)
    has_history = again or (effect in {"created", "filled"} and is_stable(models, name))
    return Preview(
        table=name,
        effect=effect,
        changes=tuple(_change(change) for change in found.changes if change.table == name),
        model_diff=tuple(diffs.of_model(name, found, models)),
        table_diff=tuple(diffs.of_table(name, found)),
        batches=len(manifests) if has_history and effect != "compared" else 0,
        rows=counts.get(name, 0),
        versions=counts.get(versions_name(name), counts.get(name, 0)),
        rows_read=done.rows if again else 0,
        in_place=added(found.texts.get(name), models[name]) if effect == "restated" else (),
        seconds=done.seconds * done.rows / done.timed_rows if again and done.timed_rows else None,
        read_by=tuple(other for other in models if name in models[other].reads),
        breaks=breaks.get(found.former_name(name), ()),
        read_in_full=tuple(read_in_full(name, effect, models, manifests)),
    )


def _change(change: Change) -> TableChange:
    return TableChange(
        kind=change.kind,
        column=change.column,
        summary=change.summary,
        sql=tuple(each.as_string() for each in (*change.statements, *change.references)),
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
    emptied: AbstractSet[str],
) -> dict[str, Effect]:
    """What happens to each table if the lake has all batches; to those whose models are gone, too.

    ``emptied`` are tables of which somebody has emptied a column.
    """
    loaded = {found.new_tables.get(name, name): each for name, each in loaded.items()}
    remade = evolve.remade(found.changes)
    altered = {change.table for change in found.changes if change.is_meant and change.kind != "renamed"}
    renamed = _only_renamed(found, altered | remade)
    restated = altered | set(restate.changed(models, loaded))
    restated |= {name for name in emptied & models.keys() if is_stable(models, name)}
    effects: dict[str, Effect] = {}
    for name, model in models.items():
        if name not in {*targets, *found.new_tables.values(), *remade}:
            effects[name] = "created"
        elif name not in loaded:
            effects[name] = "filled"
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


def _only_renamed(found: Alterations, altered: Collection[str]) -> set[str]:
    """The tables that only get new names, and those of models that read them and have not changed.

    ``altered`` are tables with other changes.
    """
    renamed = set[str]()
    for name, model in found.models.items():
        text, names = found.texts.get(name), found.new_columns.get(name, {})
        if text is None or name in altered or model.names is not None:
            continue
        if names or name in found.new_tables.values():
            with suppress(ModelError):
                if only_renames(parse(model.path, text), model, names):
                    renamed.add(name)
        elif text == model.sql and model.reads & renamed:
            renamed.add(name)
    return renamed
