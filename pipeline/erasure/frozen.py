"""Tables whose models were removed: the models that etl.model records tell where they show a row's values.

Such a table is erased row by row or not at all: to refill it would load batches that it never had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.erasure.fed_tables import Fed, fed_tables
from pipeline.errors import ModelError
from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import TableBatch
from pipeline.models.library import Model, closure, ordered, parse
from pipeline.models.target import Target
from pipeline.postgres import Connection
from pipeline.warehouse import bindings, catalogue, removed


@dataclass(frozen=True)
class FrozenTables:
    """The models of frozen tables, each after those that it reads, and their tables.

    ``unknown``: the frozen tables whose models cannot be used any more, with the reason.
    """

    models: Mapping[str, Model] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


NONE_FROZEN = FrozenTables()


def read(connection: Connection, schema: str, models: Mapping[str, Model]) -> FrozenTables:
    """The tables of a schema without a model; ``models`` are those that have one."""
    texts, _ = bindings.recorded_models(connection, schema)
    found, targets, unknown = dict[str, Model](), dict[str, Target](), dict[str, str]()
    for name in removed.without_model(connection, schema, models):
        try:
            found[name] = _recorded(name, texts)
            # Nothing if somebody has dropped the table.
            targets |= catalogue.existing_targets(connection, schema, {name: found[name]})
        except ModelError as error:
            unknown[name] = str(error)
    return FrozenTables(_ordered({name: found[name] for name in targets}), targets, unknown)


def fed(
    frozen: FrozenTables,
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, TableBatch],
    erased: Erasure,
    kept: dict[str, str],
) -> list[Fed]:
    """The tables that the row feeds, also the frozen ones but the ``kept``.

    Adds those to ``kept`` whose models do not fit the ``tables``, with the reason.
    """
    known = {**models}
    all_models, all_targets = {**models, **frozen.models}, {**targets, **frozen.targets}
    for name in [name for name in frozen.models if name not in kept]:
        below = closure(all_models, name)
        try:
            fed_tables(below, {each: all_targets[each] for each in below}, tables, erased)
        except ModelError as error:
            kept[name] = str(error)
        else:
            known |= below
    return fed_tables(known, all_targets, tables, erased)


def _recorded(name: str, texts: Mapping[str, str]) -> Model:
    if name not in texts:
        raise ModelError("its model is not recorded")
    return parse(Path(f"{name}.sql"), texts[name])


def _ordered(models: Mapping[str, Model]) -> dict[str, Model]:
    """The models, each after those that it reads; any order if they were of different times."""
    try:
        return ordered(models)
    except ModelError:
        return dict(models)
