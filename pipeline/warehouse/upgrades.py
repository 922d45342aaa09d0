"""Upgrades of the schema etl: each file of ``sql/etl`` brings it to the next version."""

import logging
from importlib.resources import files

from psycopg import sql

from pipeline import RELEASE
from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, exists, statement, template

_FOLDER = files("pipeline.warehouse").joinpath("sql", "etl")
_STEPS = sorted(step.name for step in _FOLDER.iterdir() if step.name.endswith(".sql"))
# The version that this code needs.
VERSION = len(_STEPS)

_logger = logging.getLogger(__name__)


def upgrade(connection: Connection, schema: str, release: str = RELEASE) -> None:
    """Upgrade the schema etl to this code's version, inside the caller's transaction; records the release.

    Rows from before the warehouse could have several schemas are assigned to ``schema``. Raises
    WarehouseError if a later release has upgraded it already.
    """
    current = version(connection)
    _refuse_later(current)
    if current == 0:
        connection.execute(statement("warehouse/create_version.sql"))
    for number, name in enumerate(_STEPS[current:], current + 1):
        step = template(_FOLDER.joinpath(name).read_text(encoding="utf-8"))
        connection.execute(step.format(schema=sql.Literal(schema)))
        connection.execute("INSERT INTO etl.version (version) VALUES (%s)", (number,))
    _record_release(connection, release, min(current + 1, VERSION))
    if 0 < current < VERSION:
        _logger.info("Upgraded the warehouse's schema etl from version %d to %d", current, VERSION)


def _record_release(connection: Connection, release: str, first: int) -> None:
    """Record a release at the versions from ``first`` on; writes nothing if it is recorded already.

    A release that upgrades nothing replaces the one that is recorded at the newest version.
    """
    connection.execute(
        "UPDATE etl.version SET release = %(release)s"
        " WHERE version >= %(first)s AND release IS DISTINCT FROM %(release)s",
        {"release": release, "first": first},
    )


def check(connection: Connection) -> None:
    """Raise WarehouseError if the schema etl exists with another version than this code needs."""
    if not exists(connection, "etl.watermark"):
        return
    current = version(connection)
    _refuse_later(current)
    if current < VERSION:
        raise WarehouseError(
            f"warehouse: schema etl has version {current}, made by an earlier release than this one, which"
            f" needs version {VERSION}; the next run upgrades it"
        )


def _refuse_later(current: int) -> None:
    if current > VERSION:
        raise WarehouseError(
            f"warehouse: schema etl has version {current}, made by a later release than this one, which needs"
            f" version {VERSION}; update the pipeline"
        )


def version(connection: Connection) -> int:
    """The version of the schema etl; 0 if there is none, or it is older than versions."""
    if not exists(connection, "etl.version"):
        return 0
    row = connection.execute("SELECT max(version) FROM etl.version").fetchone()
    return int(str(row[0])) if row and row[0] is not None else 0
