"""Columns that somebody has dropped from the warehouse's tables: their values are computed again."""

import logging
from collections.abc import Collection, Mapping

from pipeline.models.library import Model
from pipeline.models.target import versions_name
from pipeline.postgres import Connection
from pipeline.warehouse.declarations import Columns

_logger = logging.getLogger(__name__)


def lacks_columns(models: Mapping[str, Model], existing: Mapping[str, Columns]) -> bool:
    """Whether a table lacks a column that its model names, as if somebody had dropped it."""
    return any(
        {column.lower() for column in model.lines} - {column.lower() for column in existing[name]}
        for name, model in models.items()
        if name in existing
    )


def incomplete_versions(columns: Mapping[str, Collection[str]]) -> set[str]:
    """Those of tables, given with their columns, whose table of versions lacks one of these."""
    return {
        name
        for name, of_table in columns.items()
        if (of_versions := columns.get(versions_name(name))) is not None and set(of_table) - set(of_versions)
    }


def filled(models: Mapping[str, Model], columns: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    """Those columns of tables that their models may fill; others hold nothing that is computed again."""
    named = {
        name: [column.lower() for column in model.lines] if model.names is None else columns.get(name, ())
        for name, model in models.items()
    }
    found = {name: set(each).intersection(named.get(name, ())) for name, each in columns.items()}
    return {name: each for name, each in found.items() if each}


def mark_restored(
    connection: Connection, schema: str, names: Collection[str], fingerprint: str | None = None
) -> None:
    """Let tables be restated as :func:`restate` does; a warning names those with imported versions.

    No batch holds these. With ``fingerprint``, only those that were computed so.
    """
    for name in restate(connection, schema, names, fingerprint):
        _logger.warning("%s: its imported versions lack the dropped column; import them again", name)


def restate(
    connection: Connection, schema: str, names: Collection[str], fingerprint: str | None = None
) -> list[str]:
    """Let tables be restated or, where that is not possible, be compared with all rows of the source.

    Returns those with imported versions.
    """
    if not names:
        return []
    marked = connection.execute(
        "UPDATE etl.model SET fingerprint = '', to_restate = true"
        " WHERE schema_name = %s AND table_name = ANY(%s) AND fingerprint = coalesce(%s, fingerprint)"
        " RETURNING table_name, imported_from IS NOT NULL",
        (schema, list(names), fingerprint),
    )
    return [str(name) for name, has_imported in marked.fetchall() if has_imported]
