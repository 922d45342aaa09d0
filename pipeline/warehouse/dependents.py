"""What the warehouse's users have made on the pipeline's tables, and what a change means for it.

Changes have the names here that their tables and columns have before they are renamed.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, select, statement
from pipeline.warehouse.evolve import Change
from pipeline.warehouse.schemas import as_of_schema, reporting_schema


class Dependent(Frozen):
    """An object of others on a table; with ``blocks`` Postgres refuses the change while it exists.

    Otherwise it is dropped with the column, as an index is.
    """

    name: str
    blocks: bool


class _ForeignKey(NamedTuple):
    oid: int
    table: str
    name: str


def of_changes(
    connection: Connection, schema: str, changes: Collection[Change]
) -> dict[str, tuple[Dependent, ...]]:
    """The objects that changes of one run would break or drop, by table."""
    going = _foreign_keys_that_go(connection, schema, changes)
    found = dict[str, dict[Dependent, None]]()
    for change in changes:
        found.setdefault(change.table, {}).update(
            dict.fromkeys(dependents(connection, schema, change, going))
        )
    return {table: tuple(each) for table, each in found.items()}


def dependents(
    connection: Connection, schema: str, change: Change, going: Iterable[_ForeignKey] = ()
) -> list[Dependent]:
    """The objects that a change would break or drop, other than ``going``; none if all stay as they are."""
    drops = change.remakes or change.kind in {"removed", "dropped"}
    if not (drops or change.replaces_views):
        return []
    rows = connection.execute(
        statement("warehouse/dependents.sql"),
        {
            "schema": schema,
            "as_of": as_of_schema(schema),
            "reporting": reporting_schema(schema),
            "table": change.table,
            "columns": [change.column] if change.column else None if drops else [],
            "going": [key.oid for key in going],
        },
    ).fetchall()
    return [
        Dependent(name=str(name), blocks=bool(blocks))
        for name, blocks, is_constraint in rows
        if drops or (blocks and not is_constraint)
    ]


def drop_references(connection: Connection, schema: str, changes: Collection[Change]) -> None:
    """Drop what stands between these changes: foreign keys that go with their own columns or table.

    Raises a WarehouseError that names what else stands in the way of the changes.
    """
    going = _foreign_keys_that_go(connection, schema, changes)
    for change in changes:
        blocking = [each.name for each in dependents(connection, schema, change, going) if each.blocks]
        if blocking:
            again = "" if change.kind == "dropped" else ", and create it again after the run"
            raise WarehouseError(
                f"warehouse: {change.table}: {change.summary}, which Postgres refuses while others depend on"
                f" it: {', '.join(blocking)}; drop what depends on it{again}; nothing was changed"
            )
    for key in going:
        alter = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
        connection.execute(alter.format(sql.Identifier(schema, key.table), sql.Identifier(key.name)))


def _foreign_keys_that_go(
    connection: Connection, schema: str, changes: Iterable[Change]
) -> Sequence[_ForeignKey]:
    gone = [
        each for each in changes if each.is_meant and (each.remakes or each.kind in {"removed", "dropped"})
    ]
    if not gone:
        return []
    tables = [each.table for each in gone]
    columns = [each.column if each.kind == "removed" else None for each in gone]
    names = {"schema": schema, "tables": tables, "columns": columns}
    return select(connection, _ForeignKey, "warehouse/foreign_keys_that_go.sql", **names)
