"""What the warehouse's users have made on the pipeline's tables, and what a change means for it."""

from collections.abc import Iterable

from pipeline.columns import Frozen
from pipeline.errors import WarehouseError
from pipeline.postgres import Connection, statement
from pipeline.warehouse.evolve import Change
from pipeline.warehouse.schemas import as_of_schema, reporting_schema


class Dependent(Frozen):
    """An object of others on a table; with ``blocks`` Postgres refuses the change while it exists.

    Otherwise it is dropped with the column, as an index is.
    """

    name: str
    blocks: bool


def dependents(connection: Connection, schema: str, change: Change) -> list[Dependent]:
    """The objects that a change would break or drop; none if all stay as they are."""
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
        },
    ).fetchall()
    return [
        Dependent(name=str(name), blocks=bool(blocks))
        for name, blocks, is_constraint in rows
        if drops or (blocks and not is_constraint)
    ]


def refuse_blocked(connection: Connection, schema: str, changes: Iterable[Change]) -> None:
    """Raise a WarehouseError that names what stands in the way of these changes."""
    for change in changes:
        blocking = [each.name for each in dependents(connection, schema, change) if each.blocks]
        if blocking:
            again = "" if change.kind == "dropped" else ", and create it again after the run"
            raise WarehouseError(
                f"warehouse: {change.table}: {change.summary}, which Postgres refuses while others depend on"
                f" it: {', '.join(blocking)}; drop what depends on it{again}; nothing was changed"
            )
