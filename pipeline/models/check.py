"""Models tried on empty tables, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.columns import Column
from pipeline.errors import ModelError
from pipeline.models import inputs
from pipeline.models.library import Model, closure
from pipeline.models.target import Target


def verify(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, Sequence[Column]],
    keys: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Try every model on empty tables of these columns; returns the columns that each leaves out, if any.

    Where the primary ``keys`` of tables are given, as they are now, a model that takes rows that tie in any
    order is refused, and so is one that compares an enum with what is no label of it. Raises ModelError that
    names file, line and column.
    """
    more: dict[str, tuple[str, ...]] = {}
    _refuse_like_columns(models, tables)
    cursors = {name for model in models.values() for name in model.cursors}
    for name, model in models.items():
        below = closure(models, name)
        analysis, _ = inputs.analysed(below, targets, tables, keys)
        if analysis.left_out:
            more[name] = analysis.left_out
        if analysis.unknown_labels and keys is not None:
            raise ModelError(f"{model.path}: {analysis.unknown_labels[0]}")
        read = cursors & {table for each in below.values() for table in each.reads}
        if read and not model.sees_changes and analysis.table not in read:
            raise ModelError(
                f"{model.path}: reads {min(read)} by a cursor, which shows changed rows only, so each row has"
                " to come from one of them; take the joins and aggregates out, or the cursor"
            )
    return more


def _refuse_like_columns(models: Mapping[str, Model], tables: Mapping[str, Sequence[Column]]) -> None:
    """Refuse tables of which DuckDB, which folds the case of names, cannot tell the columns apart."""
    for model in models.values():
        for table in sorted(model.reads & tables.keys()):
            names: dict[str, str] = {}
            for column in tables[table]:
                like = names.setdefault(column.name.lower(), column.name)
                if like != column.name:
                    raise ModelError(
                        f"{model.path}: reads table {table}, whose columns {like} and {column.name} differ by"
                        " case only; rename one, or read a view that does"
                    )
