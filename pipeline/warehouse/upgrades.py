"""The schema etl has a version; each step brings it from one version to the next."""

import logging
from importlib.resources import files

from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, exists, template

_FOLDER = files("pipeline.warehouse").joinpath("sql", "etl")
_STEPS = sorted(step.name for step in _FOLDER.iterdir() if step.name.endswith(".sql"))
# The version that this code works with.
VERSION = len(_STEPS)

_logger = logging.getLogger(__name__)


def upgrade(connection: Connection, schema: str) -> None:
    """Bring the schema etl to this code's version, inside the caller's transaction.

    What was kept before there could be several schemas of the warehouse is kept for ``schema`` from then on.

    Raises WarehouseError where a later version of this code has upgraded it already.
    """
    found = version(connection)
    _refuse_later(found)
    if found == 0:
        connection.execute(_MAKE)
    for number, name in enumerate(_STEPS[found:], found + 1):
        step = template(_FOLDER.joinpath(name).read_text(encoding="utf-8"))
        connection.execute(step.format(schema=sql.Literal(schema)))
        connection.execute("INSERT INTO etl.version (version) VALUES (%s)", (number,))
    if 0 < found < VERSION:
        _logger.info("Upgraded the warehouse's schema etl from version %d to %d", found, VERSION)


def check(connection: Connection) -> None:
    """Raise WarehouseError where the schema etl is there and has another version than this code's."""
    if not exists(connection, "etl.watermark"):
        return
    found = version(connection)
    _refuse_later(found)
    if found < VERSION:
        raise WarehouseError(
            f"warehouse: schema etl has version {found}, made by an earlier release than this one, which"
            f" works with version {VERSION}; the next run upgrades it"
        )


def _refuse_later(found: int) -> None:
    if found > VERSION:
        raise WarehouseError(
            f"warehouse: schema etl has version {found}, made by a later release than this one, which knows"
            f" version {VERSION}; update the pipeline"
        )


def version(connection: Connection) -> int:
    """The version of the schema etl; 0 where there is none, and before versions were kept."""
    if not exists(connection, "etl.version"):
        return 0
    row = connection.execute("SELECT max(version) FROM etl.version").fetchone()
    return int(str(row[0])) if row and row[0] is not None else 0


def is_open_to_readers(connection: Connection) -> bool:
    """Whether every reader may call the functions of the schema etl."""
    row = connection.execute("SELECT has_schema_privilege('public', 'etl', 'usage')").fetchone()
    return row == (True,)


_MAKE = """
CREATE TABLE etl.version (
    version integer PRIMARY KEY,
    upgraded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE etl.version IS 'The versions that the schema etl has had.';
"""
