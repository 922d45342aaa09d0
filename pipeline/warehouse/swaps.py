"""Merge rows that exchange unique values, such as two rows that swap theirs.

The source allows that, because its rows change one after the other or its constraints are deferred. Unique
indexes of the warehouse that cannot be deferred are dropped and created again inside the load's transaction,
which locks the table until it ends. Rows that conflict even then are rejected.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipeline.postgres import select, statement, template
from pipeline.warehouse import bisection, rejected
from pipeline.warehouse.counts import Merged
from pipeline.warehouse.table import Table


@dataclass(frozen=True)
class UniqueIndex:
    """A unique or exclusion index, with the constraint that it belongs to, if any."""

    constraint_name: str | None
    index_schema: str
    index_name: str
    definition: str
    predicate: str
    nulls_are_equal: bool
    expressions: list[str]
    operators: list[str]

    @property
    def message(self) -> str:
        """The error of Postgres for a row that violates it, after the names of its columns."""
        kind = "conflicting key value violates exclusion constraint"
        if not self.definition.startswith("EXCLUDE"):
            kind = "duplicate key value violates unique constraint"
        return f'{", ".join(self.expressions)}: {kind} "{self.index_name}"'

    def drop(self, table: Table) -> None:
        """Drop the index or its constraint."""
        if self.constraint_name:
            table.alter(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(self.constraint_name)))
        else:
            index = sql.Identifier(self.index_schema, self.index_name)
            table.connection.execute(sql.SQL("DROP INDEX {}").format(index))

    def create(self, table: Table) -> None:
        """Create it again."""
        if self.constraint_name:
            name = sql.Identifier(self.constraint_name)
            table.alter(sql.SQL("ADD CONSTRAINT {} {}").format(name, template(self.definition)))
        else:
            table.connection.execute(template(self.definition))

    def conflicts(self, table: Table) -> list[str]:
        """The places (ctid) of staged rows that violate it, once all of them are in the table."""
        values = [f"value_{number}" for number in range(len(self.expressions))]
        expressions = [
            f"({expression}) AS {name}" for expression, name in zip(self.expressions, values, strict=True)
        ]
        pairs = [
            f"e.{name} {operator} o.{name}" for name, operator in zip(values, self.operators, strict=True)
        ]
        if self.nulls_are_equal:
            pairs = [
                f"({pair} OR (e.{name} IS NULL AND o.{name} IS NULL))"
                for name, pair in zip(values, pairs, strict=True)
            ]
        parts = {
            "expressions": ", ".join(expressions),
            "predicate": self.predicate,
            "in_common": " AND ".join(pairs),
        }
        names = {name: template(text) for name, text in parts.items()}
        return [str(place) for (place,) in table.execute("unique_conflicts.sql", **names).fetchall()]


def merge_without_unique_indexes(table: Table, merge_file: str) -> Merged | None:
    """Merge all staged rows by this statement while the unique indexes are dropped.

    Returns None if no index can be dropped, or if Postgres rejects rows for another reason.
    """
    indexes = _droppable_indexes(table)
    if not indexes:
        return None
    lost = 0
    try:
        with table.connection.transaction():
            table.connection.execute(statement("warehouse/bisection.sql"))
            table.execute("stage_changing.sql")
            while True:
                merged = _try_merge(table, indexes, merge_file)
                if isinstance(merged, Merged):
                    return merged._replace(rejected=lost)
                lost += _reject(table, merged)
    except psycopg.Error as error:
        if bisection.is_rejection(error, of_values=True):
            return None
        raise


def _droppable_indexes(table: Table) -> list[UniqueIndex]:
    """All but the index of the business key, whose values rows do not exchange."""
    name = table.name.as_string(table.connection)
    indexes = select(table.connection, UniqueIndex, "warehouse/unique_indexes.sql", qualified_name=name)
    key = {sql.Identifier(name).as_string(table.connection) for name in table.target.key}
    return [index for index in indexes if {_quoted(name) for name in index.expressions} != key]


def _quoted(name: str) -> str:
    return name if name.startswith('"') else f'"{name}"'


def _try_merge(table: Table, indexes: list[UniqueIndex], merge_file: str) -> Merged | dict[str, str]:
    """Merge all staged rows; returns the counts, or the error message by place of each row that conflicts."""
    with table.connection.transaction() as savepoint:
        for index in indexes:
            index.drop(table)
        with table.constraints_at_end():
            added, changed = bisection.counts(table.execute(merge_file).fetchone())
            conflicts = {place: index.message for index in indexes for place in index.conflicts(table)}
            if conflicts:
                raise psycopg.Rollback(savepoint)
        for index in indexes:
            index.create(table)
    return conflicts or Merged(added, changed)


def _reject(table: Table, conflicts: dict[str, str]) -> int:
    connection = table.connection
    connection.execute("TRUNCATE pg_temp.postgres_rejections")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO pg_temp.postgres_rejections (place, reason, retried) VALUES (%s::tid, %s, true)",
            conflicts.items(),
        )
    connection.execute("DELETE FROM pg_temp.changing WHERE place = ANY(%s::tid[])", (list(conflicts),))
    return rejected.reject_found(table)
