"""Check models on empty tables, before the source is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.columns import Column
from pipeline.errors import ModelError, all_mistakes
from pipeline.models import properties
from pipeline.models.analysis import Analysis
from pipeline.models.library import Model, closure
from pipeline.models.target import Target


def verify(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Run every model on empty tables; returns, by model, columns of a ``*`` that its table does not have.

    If the tables' present primary ``keys`` are given, models are refused whose result depends on the order of
    ties, or that compare an enum with a text that is none of its labels. Raises ModelError with file, line
    and column.
    """
    missing: dict[str, tuple[str, ...]] = {}
    _refuse_similar_columns(models, tables)
    cursors = {name for model in models.values() for name in model.cursors}
    with all_mistakes() as mistake:
        for name in models:
            with mistake():
                if left_out := _verify(closure(models, name), targets, tables, keys, cursors):
                    missing[name] = left_out
    return missing


def _verify(
    needed: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]] | None,
    cursors: set[str],
) -> tuple[str, ...]:
    """Run the last of these models; returns the columns that its table does not have."""
    model = list(needed.values())[-1]
    analysis, _ = properties.analysed(needed, targets, tables, keys)
    if analysis.unknown_labels and keys is not None:
        raise ModelError(f"{model.path}: {analysis.unknown_labels[0]}")
    read = cursors & {table for each in needed.values() for table in each.reads}
    if read and not model.appends and analysis.table not in read:
        raise ModelError(
            f"{model.path}: reads {min(read)} by a cursor, which shows only changed rows, so each row has"
            " to come from one of them; remove the joins and aggregates, or the cursor"
        )
    if read and analysis.filtered and not (model.keeps_deleted or model.appends):
        _require_known_keys(model, targets[model.name], analysis, min(read))
    return analysis.left_out


def _require_known_keys(model: Model, target: Target, analysis: Analysis, relation: str) -> None:
    """Refuse a filter over a relation that is read by a cursor if the keys of rows left out are unknown."""
    for name in target.key:
        if name not in analysis.carries:
            raise ModelError(
                f"{model.path}: filters {relation}, which is read by a cursor, but column {name} of its key"
                f" does not have the values and type of a column of {relation}, so rows that leave the result"
                " are not found; take the column as it is, remove the filter, or write `-- deletes: ignore`"
            )


def _refuse_similar_columns(models: Mapping[str, Model], tables: Mapping[str, Sequence[Column]]) -> None:
    """Refuse tables with columns that differ only by case, which DuckDB ignores."""
    for model in models.values():
        for table in sorted(model.reads & tables.keys()):
            names: dict[str, str] = {}
            for column in tables[table]:
                similar = names.setdefault(column.name.lower(), column.name)
                if similar != column.name:
                    raise ModelError(
                        f"{model.path}: reads table {table}, whose columns {similar} and {column.name} differ"
                        " only by case; rename one, or read a view that does"
                    )
