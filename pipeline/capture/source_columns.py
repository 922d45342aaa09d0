"""Columns of the source that are new or gone since the last batch, and whether a model reads them."""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.capture.batch_plan import BatchPlan
from pipeline.columns import Column
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models import inputs
from pipeline.models.library import Model, closure
from pipeline.models.target import Target

_PLACE = re.compile(r"(.+?\.sql(?::\d+)?): ")


@dataclass(frozen=True)
class _Reading:
    """The models, the contracts of their tables, and the columns of the source's tables."""

    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    tables: Mapping[str, Sequence[Column]]

    def place(self, model: Model, name: str, column: str) -> str:
        """Where a model needs a column of a table, as file and line; empty if it does not.

        A model that is wrong with this column does not count: its error has another reason.
        """
        below = closure(self.models, model.name)
        try:
            with_it = self.yields(below)
        except ModelError:
            return ""
        try:
            lost = with_it - self.without(name, column).yields(below)
        except ModelError as error:
            match = _PLACE.match(str(error))
            return match[1] if match else str(model.path)
        return str(model.path) if any(self.targets[model.name].column(each) for each in lost) else ""

    def having(self, name: str, column: Column) -> _Reading:
        """A copy with one more column of a table."""
        return replace(self, tables={**self.tables, name: (*self.tables[name], column)})

    def without(self, name: str, column: str) -> _Reading:
        """A copy without a column of a table."""
        left = [each for each in self.tables[name] if each.name != column]
        return replace(self, tables={**self.tables, name: left})

    def yields(self, models: Mapping[str, Model]) -> set[str]:
        """The columns that the last of the models yields."""
        with session() as connection:
            inputs.bind_empty(connection, models, self.targets, self.tables)
            return set(inputs.types_of(connection, list(models.values())[-1], inputs.RESULT))


def changed_columns(
    models: Mapping[str, Model], targets: Mapping[str, Target], planned: BatchPlan
) -> Iterator[str]:
    """A sentence for each column that is new or gone and that no model reads.

    Raises ModelError with model, table and column where a model reads one that is gone.
    """
    reading = _Reading(models, targets, planned.columns)
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
                if place := reading.having(name, column).place(model, name, column.name):
                    raise ModelError(_message(place, name, column.name, new))
            yield f"{name}.{column.name} is gone, and no model read it"
        for added in new:
            if not any(model.names is not None or reading.place(model, name, added) for model in readers):
                yield f"{name}.{added} is new, and no model reads it"


def _message(place: str, name: str, gone: str, new: Sequence[str]) -> str:
    hint = f"; it has {', '.join(new)} now" if new else ""
    return f"{place}: reads {name}.{gone}, which the source no longer has{hint}; change the model"
