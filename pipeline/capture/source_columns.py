"""Columns of the source that are new or gone since the last batch, and whether a model reads them."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.capture.batch import BatchPlan
from pipeline.columns import Column
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models import inputs
from pipeline.models.library import Model, closure
from pipeline.models.target import Target

_PLACE = re.compile(r"(.+?\.sql(?::\d+)?): ")


def changed_columns(
    models: Mapping[str, Model], targets: Mapping[str, Target], planned: BatchPlan
) -> Iterator[str]:
    """A sentence for each column that is new or gone and that no model reads.

    Raises ModelError with model, table and column where a model reads one that is gone.
    """
    for name, plan in planned.tables.items():
        last = planned.previous.tables.get(name) if planned.previous else None
        if last is None:
            continue
        now = {column.name for column in (*plan.table.columns, *plan.table.unreadable)}
        was = {column.name: column for column in last.columns}
        new = [column.name for column in plan.table.columns if column.name not in was]
        readers = [model for model in models.values() if name in model.reads]
        for column in (each for each in was.values() if each.name not in now):
            for model in readers:
                _refuse(models, targets, planned.columns, model, name, column, new)
            yield f"{name}.{column.name} is gone, and no model read it"
        for added in new:
            if not any(
                model.names is not None or _needs(models, targets, planned.columns, model, name, added)
                for model in readers
            ):
                yield f"{name}.{added} is new, and no model reads it"


def _refuse(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    model: Model,
    name: str,
    gone: Column,
    new: Sequence[str],
) -> None:
    """Raise ModelError if a model needs a column that is gone."""
    before = {**tables, name: (*tables[name], gone)}
    needs = _needs(models, targets, before, model, name, gone.name)
    if needs:
        hint = f"; it has {', '.join(new)} now" if new else ""
        raise ModelError(
            f"{needs}: reads {name}.{gone.name}, which the source no longer has{hint}; change the model"
        )


def _needs(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    model: Model,
    name: str,
    column: str,
) -> str:
    """Where a model needs a column, as file and line; empty if it does not.

    A model that is wrong with this column does not count: its error has another reason.
    """
    below = closure(models, model.name)
    try:
        with_it = _yields(below, targets, tables)
    except ModelError:
        return ""
    without = {**tables, name: [each for each in tables[name] if each.name != column]}
    try:
        lost = with_it - _yields(below, targets, without)
    except ModelError as error:
        match = _PLACE.match(str(error))
        return match[1] if match else str(model.path)
    return str(model.path) if any(targets[model.name].column(each) for each in lost) else ""


def _yields(
    models: Mapping[str, Model], targets: Mapping[str, Target], tables: Mapping[str, Sequence[Column]]
) -> set[str]:
    """The columns that the last of the models yields."""
    with session() as connection:
        inputs.bind_empty(connection, models, targets, tables)
        return set(inputs.types_of(connection, list(models.values())[-1], inputs.RESULT))
