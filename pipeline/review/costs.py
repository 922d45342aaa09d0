"""How much work it is to compute tables again, as far as the batches so far tell."""

from collections.abc import Mapping, Sequence

from pipeline.columns import Frozen
from pipeline.lake.manifest import Manifest
from pipeline.models.library import Model, closure, source_tables
from pipeline.models.reference_tables import NAMES
from pipeline.models.target import versions_name
from pipeline.postgres import Connection, select, transaction
from pipeline.warehouse import bindings, declarations


class WorkDone(Frozen):
    """What the batches have read of a table, and how long that took, as far as it is known."""

    table_name: str
    rows: int = 0
    timed_rows: int = 0
    seconds: float = 0


def work_of_batches(connection: Connection, schema: str) -> dict[str, WorkDone]:
    """The work that the batches have done for each table."""
    done = select(connection, WorkDone, "warehouse/work_of_batches.sql", schema=schema)
    return {each.table_name: each for each in done}


def table_counts(url: str, schema: str, tables: Sequence[str]) -> dict[str, int]:
    """The rows of tables, and of the versions beside them."""
    with transaction(url, "warehouse", reading=True) as connection:
        names = [*tables, *map(versions_name, tables)]
        return bindings.count_rows(connection, schema, declarations.read(connection, schema, names))


def read_in_full(
    name: str, effect: str, models: Mapping[str, Model], manifests: Sequence[Manifest]
) -> list[str]:
    """The source tables that the next batch reads in full for the sake of this model.

    For one that is restated these are the tables that no batch has read: before, they are empty.
    """
    below = closure(models, name)
    if effect == "restated":
        return sorted(source_tables(below).difference(NAMES, *(each.tables for each in manifests)))
    if effect not in {"created", "compared"}:
        return []
    read_before = manifests[-1].tables.keys() if manifests else set[str]()
    cursors = {table for model in below.values() for table in model.cursors}
    return sorted((source_tables(below) - read_before) | cursors)
