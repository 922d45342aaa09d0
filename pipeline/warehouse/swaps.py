"""Merge rows that take values which others of them give up, in any order and in circles.

The source allowed it, because there one row changed after the other, or its constraints are deferred.
Where the warehouse's cannot be, they are dropped and made again inside the load's transaction, which
locks the table until it ends. Rows that break them then are rejected.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline.postgres import statement, template
from pipeline.warehouse import refusals, rejected
from pipeline.warehouse.table import Table


@dataclass(frozen=True)
class Unique:
    """What no two rows may have in common, by an index and maybe a constraint."""

    constraint_name: str | None
    index_schema: str
    index_name: str
    definition: str
    predicate: str
    nulls_are_equal: bool
    expressions: list[str]
    operators: list[str]

    @property
    def words(self) -> str:
        """What Postgres says of a row that breaks it, the columns in front."""
        kind = "conflicting key value violates exclusion constraint"
        if not self.definition.startswith("EXCLUDE"):
            kind = "duplicate key value violates unique constraint"
        return f'{", ".join(self.expressions)}: {kind} "{self.index_name}"'

    def drop(self, table: Table) -> None:
        """Take it away."""
        if self.constraint_name:
            table.alter(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(self.constraint_name)))
        else:
            index = sql.Identifier(self.index_schema, self.index_name)
            table.connection.execute(sql.SQL("DROP INDEX {}").format(index))

    def make(self, table: Table) -> None:
        """Have it back."""
        if self.constraint_name:
            name = sql.Identifier(self.constraint_name)
            table.alter(sql.SQL("ADD CONSTRAINT {} {}").format(name, template(self.definition)))
        else:
            table.connection.execute(template(self.definition))

    def conflicts(self, table: Table) -> list[str]:
        """Places of staged rows that break it, once all are in the table."""
        values = [f"value_{number}" for number in range(len(self.expressions))]
        given = [
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
            "expressions": ", ".join(given),
            "predicate": self.predicate,
            "in_common": " AND ".join(pairs),
        }
        names = {name: template(text) for name, text in parts.items()}
        return [str(place) for (place,) in table.execute("unique_conflicts.sql", **names).fetchall()]


def merge_without_uniques(table: Table, merge: str) -> tuple[int, int, int] | None:
    """Run the statement that merges all staged rows; returns how many are new, have changed, are rejected.

    None where that does not help: nothing can be dropped, or Postgres refuses rows for another reason.
    """
    uniques = _droppable(table)
    if not uniques:
        return None
    lost = 0
    try:
        with table.connection.transaction():
            table.connection.execute(statement("warehouse/find_refused.sql"))
            table.execute("stage_changing.sql")
            while True:
                counts = _try(table, uniques, merge)
                if not isinstance(counts, dict):
                    return (*counts, lost)
                lost += _reject(table, counts)
    except psycopg.Error as error:
        if refusals.is_refusal(error, of_values=True):
            return None
        raise


def _droppable(table: Table) -> list[Unique]:
    """All but what keeps the business key, which no row gives up."""
    with table.connection.cursor(row_factory=class_row(Unique)) as cursor:
        cursor.execute(
            statement("warehouse/unique_indexes.sql"),
            {"qualified_name": table.name.as_string(table.connection)},
        )
        found = cursor.fetchall()
    key = {sql.Identifier(name).as_string(table.connection) for name in table.target.key}
    return [each for each in found if {_quoted(name) for name in each.expressions} != key]


def _quoted(name: str) -> str:
    return name if name.startswith('"') else f'"{name}"'


def _try(table: Table, uniques: list[Unique], merge: str) -> tuple[int, int] | dict[str, str]:
    """Merge all of them; returns the counts, or the rows that stand in the way of it and why."""
    with table.connection.transaction() as savepoint:
        for unique in uniques:
            unique.drop(table)
        counts = refusals.counts(table.execute(merge).fetchone())
        refused = {place: unique.words for unique in uniques for place in unique.conflicts(table)}
        if refused:
            raise psycopg.Rollback(savepoint)
        for unique in uniques:
            unique.make(table)
    return refused or counts


def _reject(table: Table, refused: dict[str, str]) -> int:
    connection = table.connection
    connection.execute("TRUNCATE pg_temp.refused")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO pg_temp.refused (place, reason, retried) VALUES (%s::tid, %s, true)", refused.items()
        )
    connection.execute("DELETE FROM pg_temp.changing WHERE place = ANY(%s::tid[])", (list(refused),))
    return rejected.reject_refused(table)
