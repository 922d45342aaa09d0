"""Tables with versions of batches that the lake no longer has, and that it cannot compute again."""

import logging
from collections.abc import Mapping, Sequence

from psycopg import sql

from pipeline.errors import ModelError
from pipeline.models.library import Model, closure, parse, tables_read
from pipeline.models.reference_tables import NAMES
from pipeline.models.target import Target
from pipeline.postgres import Connection
from pipeline.recovery.batches import Batches

_logger = logging.getLogger(__name__)


def lost_tables(
    connection: Connection,
    schema: str,
    known: Batches,
    models: Mapping[str, Model],
    targets: Sequence[Target],
) -> dict[str, frozenset[str]]:
    """Which of these tables must not be restated, with the source tables whose rows are lost.

    After `make retain`, the first batch has the rows of its tables, but not of one that no model read then,
    nor rows that only the live table keeps. What that has from earlier batches would be deleted.
    """
    first, found = known.manifests[0], dict[str, frozenset[str]]()
    for target in () if known.is_complete else targets:
        below = closure(models, target.name)
        lost = frozenset(tables_read(below) - first.tables.keys() - NAMES)
        readers = {name for name, model in below.items() if model.reads & lost}
        model = models[target.name]
        is_lost = model.keeps_rows or _computed_with(connection, schema, model) & (lost | readers)
        if is_lost and _has_versions(connection, schema, target, first.snapshot_at):
            found[target.name] = lost
            lacks = f"did not read {', '.join(sorted(lost))}" if lost else "lacks rows that the table keeps"
            _logger.info(
                "%s is not restated: the raw bucket has no batch before %s, which %s",
                target.name, first.batch_id, lacks,
            )  # fmt: skip
    return found


def _computed_with(connection: Connection, schema: str, model: Model) -> frozenset[str]:
    """What the model read that computed a table."""
    query = "SELECT model_sql FROM etl.model WHERE schema_name = %s AND table_name = %s"
    row = connection.execute(query, (schema, model.name)).fetchone()
    try:
        return frozenset(parse(model.path, str(row[0])).reads) if row and row[0] else frozenset()
    except ModelError:
        return frozenset()


def _has_versions(connection: Connection, schema: str, target: Target, before: object) -> bool:
    """Whether a table has versions from before a time that the pipeline has loaded."""
    begins, _ = target.span
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {begins} < %s AND {begins} > '-infinity')").format(
        sql.Identifier(schema, target.versions_table), begins=sql.Identifier(begins)
    )
    return connection.execute(query, (before,)).fetchone() == (True,)
