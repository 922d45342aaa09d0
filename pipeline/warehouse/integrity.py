"""References and CHECK rules of a table, as expressions that say which of them a staged row violates.

They are checked by set operations before rows are merged, which is many times faster than row by row. All
other constraints are checked by Postgres as it merges the rows. References of a filled table are checked in
one scan of it.
"""

from collections.abc import Mapping

from psycopg import sql

from pipeline.models.target import REPEATED_KEY, Reference, Rule, Target
from pipeline.postgres import Connection, count_in, each, statement, template
from pipeline.warehouse.table import Table


def violations(table: Table) -> list[sql.Composable]:
    """An expression for each reference and rule: NULL, or the reason why the row s violates it.

    And one for a key that another staged row has, if DuckDB may have told the two apart.
    """
    columns = set(table.columns)
    target = table.target
    missing = [
        _missing_reference(table, each) for each in target.references if columns.issuperset(each.columns)
    ]
    violated = [_violated_rule(rule) for rule in target.rules if columns.issuperset(rule.columns)]
    repeated = [_repeated_key(table)] if target.has_uncertain_key else []
    return [*repeated, *missing, *violated]


def _repeated_key(table: Table) -> sql.Composable:
    # IN makes one hash table for all rows; a condition on the row s would be computed for each.
    return sql.SQL(
        "CASE WHEN s.ctid IN ("
        "SELECT unnest(array_agg(r.ctid)) FROM {stage} AS r GROUP BY {key} HAVING count(*) > 1"
        ") THEN {reason}::text END"
    ).format(stage=table.stage, key=each("r.{0}", table.target.key), reason=REPEATED_KEY)


def count_missing_references(table: Table) -> int:
    """How many rows of the table lack a row that they refer to; the table must not refer to itself."""
    joined, missing = [sql.SQL("{} AS s").format(table.name)], []
    for number, reference in enumerate(table.target.references):
        alias = sql.Identifier(f"d{number}")
        referenced = sql.Identifier(reference.to_schema, reference.to_table)
        same_row = _same_row(reference, alias)
        joined.append(sql.SQL("LEFT JOIN {} AS {} ON {}").format(referenced, alias, same_row))
        missing.append(
            sql.SQL("({} AND {}.{} IS NULL)").format(
                _has_reference(reference), alias, sql.Identifier(reference.to_columns[0])
            )
        )
    parts = {"joined": sql.SQL(" ").join(joined), "is_missing": sql.SQL(" OR ").join(missing)}
    return count_in(table.execute("count_missing_references.sql", **parts))


def refers_ahead(connection: Connection, schema: str, target: Target, targets: Mapping[str, Target]) -> bool:
    """Whether a version of a table is older than the first version of a row that it refers to."""
    names = {
        "versions": sql.Identifier(schema, target.versions_table),
        "begins": sql.Identifier(target.span[0]),
    }
    query = statement("warehouse/refers_ahead.sql")
    return any(
        connection.execute(
            query.format(
                **names,
                has_reference=_has_reference(reference),
                referenced=sql.Identifier(schema, other.versions_table),
                referenced_begins=sql.Identifier(other.span[0]),
                same_row=_same_row(reference, sql.Identifier("d")),
            )
        ).fetchone()
        for reference in target.references
        if reference.to_schema == schema and (other := targets.get(reference.to_table))
    )


def _missing_reference(table: Table, reference: Reference) -> sql.Composable:
    """The reason if the row that is referred to is missing; a reference with a NULL in it is none."""
    same_row = _same_row(reference, sql.Identifier("d"))
    query = sql.SQL("SELECT FROM {} AS d WHERE {}")
    present = query.format(sql.Identifier(reference.to_schema, reference.to_table), same_row)
    if table.is_target_of(reference):
        present = sql.SQL("{} UNION ALL {}").format(present, query.format(table.stage, same_row))
    return sql.SQL("CASE WHEN {has_reference} AND NOT EXISTS ({present}) THEN {reason}::text END").format(
        has_reference=_has_reference(reference), present=present, reason=reference.missing
    )


def _same_row(reference: Reference, referenced: sql.Identifier) -> sql.Composed:
    """The condition that the row s refers to the row of this alias."""
    pairs = zip(reference.columns, reference.to_columns, reference.equality, strict=True)
    return sql.SQL(" AND ").join(
        equality.between(
            sql.SQL("{}.{}").format(referenced, sql.Identifier(to_column)), each("s.{0}", [column])
        )
        for column, to_column, equality in pairs
    )


def _has_reference(reference: Reference) -> sql.Composed:
    return each("s.{0} IS NOT NULL", reference.columns, " AND ")


def _violated_rule(rule: Rule) -> sql.Composable:
    """The reason if a CHECK is false; NULL satisfies it, as in Postgres."""
    return sql.SQL("CASE WHEN NOT {} THEN {}::text END").format(
        template(f"({rule.expression})"), f"breaks the rule {rule.name}, {rule.definition}"
    )
