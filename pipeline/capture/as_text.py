"""Columns with a value that their Arrow type cannot hold: their batch is read again, with these as text."""

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline import columns
from pipeline.errors import ModelError, NotCarried
from pipeline.lake.manifest import Manifest
from pipeline.source.catalogue import Table

# Columns, as the name of the table and their own.
Places = frozenset[tuple[str, str]]

_Taken = TypeVar("_Taken")
_logger = logging.getLogger(__name__)


def retried_as_text(take: Callable[[Places], _Taken]) -> _Taken:
    """Take a batch; ``take`` gets the columns to read as text, because it failed for them before.

    Raises NotCarried where a model cannot read such a column.
    """
    places: Places = frozenset()
    found: NotCarried | None = None
    while True:
        try:
            return take(places)
        except NotCarried as error:
            if error.place is None or error.place in places:
                raise
            places, found = places | {error.place}, error
            _logger.warning(
                "%s.%s holds a value that its type does not carry: reading the batch again, with this column"
                " as text",
                *error.place,
            )
        except ModelError:
            if found is None:
                raise
            raise found from None


def columns_as_text(
    tables: Mapping[str, Table], places: Places, previous: Manifest | None
) -> dict[str, Table]:
    """The tables with these columns carried as text; they stay so while their type is the same."""
    return {name: _as_text(table, places, _declared(name, previous)) for name, table in tables.items()}


def _declared(name: str, previous: Manifest | None) -> dict[str, str | None]:
    last = previous.tables.get(name) if previous else None
    return {column.name: column.declared for column in last.columns} if last else {}


def _as_text(table: Table, places: Places, declared: Mapping[str, str | None]) -> Table:
    read = tuple(
        columns.as_text(column)
        if (table.name, column.name) in places or declared.get(column.name) == column.type
        else column
        for column in table.columns
    )
    return table.model_copy(update={"columns": read})
