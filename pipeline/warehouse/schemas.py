"""The schemas that the pipeline makes beside a warehouse's schema."""

import logging
from collections.abc import Sequence

from psycopg import sql

from pipeline.postgres import Connection

_logger = logging.getLogger(__name__)


def as_of_schema(schema: str) -> str:
    """The schema of the views that show the moment a reader has chosen."""
    return "as_of" if schema == "public" else f"{schema}_as_of"


def reporting_schema(schema: str) -> str:
    """The schema for readers: the same views, marts, and the state of the warehouse."""
    return "reporting" if schema == "public" else f"{schema}_reporting"


def view_schemas(schema: str) -> tuple[str, str]:
    """The schemas of the views that show the moment a reader has chosen."""
    return as_of_schema(schema), reporting_schema(schema)


def ensure_schemas(connection: Connection, schema: str, names: Sequence[str]) -> list[str]:
    """Create the schemas beside this one that are missing; returns those that the role may use.

    A schema whose name begins with pg_, such as a temporary one, gets none, as Postgres reserves these names.
    """
    if schema.startswith("pg_"):
        return []
    rows = connection.execute(
        "SELECT nspname::text, has_schema_privilege(oid, 'create') FROM pg_namespace WHERE nspname = ANY(%s)",
        (list(names),),
    ).fetchall()
    usable = {str(name): may_create is True for name, may_create in rows}
    return [name for name in names if usable.get(name) or _created(connection, name, is_there=name in usable)]


def _created(connection: Connection, name: str, *, is_there: bool) -> bool:
    """Create a schema, unless it is there already or the role lacks the privilege, which is logged."""
    query = "SELECT has_database_privilege(current_database(), 'create')"
    if not is_there and connection.execute(query).fetchone() == (True,):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return True
    role = sql.Identifier(connection.info.user).as_string()
    _logger.warning(
        "Schema %s is not used, because the warehouse's role may not create objects in it; the database's"
        " owner can create it: CREATE SCHEMA IF NOT EXISTS %s; GRANT USAGE, CREATE ON SCHEMA %s TO %s",
        name, *[sql.Identifier(name).as_string()] * 2, role,
    )  # fmt: skip
    return False
