"""References and CHECK rules of a table, as expressions that say which of them a staged row violates.

They are checked by set operations before rows are merged, which is many times faster than row by row. All
other constraints are checked by Postgres as it merges the rows.
"""

from psycopg import sql

from pipeline.models.target import Reference, Rule
from pipeline.postgres import each, template
from pipeline.warehouse.table import Table


def violations(table: Table) -> list[sql.Composable]:
    """An expression for each reference and rule: NULL, or the reason why the row s violates it."""
    columns = set(table.columns)
    target = table.target
    missing = [
        _missing_reference(table, each) for each in target.references if columns.issuperset(each.columns)
    ]
    violated = [_violated_rule(rule) for rule in target.rules if columns.issuperset(rule.columns)]
    return [*missing, *violated]


def _missing_reference(table: Table, reference: Reference) -> sql.Composable:
    """The reason if the row that is referred to is missing; a reference with a NULL in it is none."""
    pairs = zip(reference.columns, reference.to_columns, reference.equality, strict=True)
    same_row = sql.SQL(" AND ").join(
        equality.between(each("d.{0}", [to_column]), each("s.{0}", [column]))
        for column, to_column, equality in pairs
    )
    query = sql.SQL("SELECT FROM {} AS d WHERE {}")
    present = query.format(sql.Identifier(reference.to_schema, reference.to_table), same_row)
    if table.is_target_of(reference):
        present = sql.SQL("{} UNION ALL {}").format(present, query.format(table.stage, same_row))
    return sql.SQL("CASE WHEN {has_reference} AND NOT EXISTS ({present}) THEN {reason}::text END").format(
        has_reference=each("s.{0} IS NOT NULL", reference.columns, " AND "),
        present=present,
        reason=f"{', '.join(reference.columns)} is not in {reference.to_table}",
    )


def _violated_rule(rule: Rule) -> sql.Composable:
    """The reason if a CHECK is false; NULL satisfies it, as in Postgres."""
    return sql.SQL("CASE WHEN NOT {} THEN {}::text END").format(
        template(f"({rule.expression})"), f"breaks the rule {rule.name}, {rule.definition}"
    )
