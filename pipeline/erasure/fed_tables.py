"""The tables whose columns the personal columns of a source table feed, and where they have the row's key."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pipeline.lake.erasures import Erasure
from pipeline.lake.manifest import TableBatch
from pipeline.models import lineage
from pipeline.models.library import Model, closure
from pipeline.models.target import Target
from pipeline.source.table_names import of_column

Key = tuple[str, ...]


@dataclass(frozen=True)
class Fed:
    """A table whose ``columns`` the erased ones feed.

    ``keys`` are the columns that together have the row's key, once for each role. ``is_own``: each row of the
    table is about one row of the source.
    """

    target: Target
    columns: tuple[str, ...]
    keys: tuple[Key, ...]
    is_own: bool


def fed_tables(
    models: Mapping[str, Model],
    targets: Mapping[str, Target],
    tables: Mapping[str, TableBatch],
    erased: Erasure,
) -> list[Fed]:
    """The tables that a column of the row feeds, each after those that it refers to or reads.

    Raises ModelError for a model that does not fit the ``tables``.
    """
    table = erased.entries[0].table
    names = {
        name for name in models if any(table in model.reads for model in closure(models, name).values())
    } & targets.keys()
    needed = {below: models[below] for name in models if name in names for below in closure(models, name)}
    columns = {name: each.columns for name, each in tables.items()}
    lineages = lineage.of_models(needed, targets, columns, {name: each.key for name, each in tables.items()})
    sources = {of_column(table, column.name) for column in erased.columns}
    found = dict[str, Fed]()
    for name in sorted(names, key=lambda name: bool(targets[name].references)):
        target, of_columns = targets[name], lineages[name].columns
        written = {column.name for column in target.columns if not column.generated}
        own = _mapped({column: of_columns.get(column, ()) for column in target.key}, table, erased)
        exact = own or _mapped(of_columns, table, erased)
        keys = tuple(dict.fromkeys([*([exact] if exact else []), *_referring(target, found)]))
        columns_ = tuple(each for each in of_columns if each in written and sources & {*of_columns[each]})
        found[name] = Fed(target, columns_, keys, is_own=bool(own))
    return list(found.values())


def _mapped(columns: Mapping[str, Collection[str]], table: str, erased: Erasure) -> Key:
    """The columns that the columns of the row's key feed, in their order, and nothing else; empty if none."""
    by_source = {tuple(sources): name for name, sources in reversed([*columns.items()])}
    key = [by_source.get((of_column(table, column.name),), "") for column in erased.key]
    return tuple(key) if all(key) else ()


def _referring(target: Target, found: Mapping[str, Fed]) -> Iterator[Key]:
    """The columns that refer to a table whose rows have the row's key."""
    for reference in target.references:
        to = found.get(reference.to_table)
        columns = dict(zip(reference.to_columns, reference.columns, strict=True))
        if to and to.is_own and {*to.keys[0]} <= columns.keys():
            yield tuple(columns[name] for name in to.keys[0])
