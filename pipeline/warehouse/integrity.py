"""What a warehouse table demands of its rows, as expressions that say what is wrong with a staged one.

References and CHECKs are looked at by set operations before rows are merged: row by row it costs many
times as much. What else a table demands, Postgres says when it refuses.
"""

from psycopg import sql

from pipeline.models.target import Reference, Rule
from pipeline.postgres import each, template
from pipeline.warehouse.table import Table


def reasons(table: Table) -> list[sql.Composable]:
    """For each reference and rule an expression that is NULL, or says what is wrong with a row."""
    yielded = set(table.columns)
    target = table.target
    missing = [_missing(table, each) for each in target.references if yielded.issuperset(each.columns)]
    broken = [_broken(rule) for rule in target.rules if yielded.issuperset(rule.columns)]
    return [*missing, *broken]


def _missing(table: Table, reference: Reference) -> sql.Composable:
    """Which reference of a row finds none; a part of it that is NULL counts as no reference."""
    pairs = zip(reference.columns, reference.to_columns, reference.equality, strict=True)
    same_row = sql.SQL(" AND ").join(
        equality.between(each("d.{0}", [theirs]), each("s.{0}", [ours])) for ours, theirs, equality in pairs
    )
    known = sql.SQL("SELECT FROM {} AS d WHERE {}")
    found = known.format(sql.Identifier(reference.to_schema, reference.to_table), same_row)
    if table.is_named_by(reference):
        found = sql.SQL("{} UNION ALL {}").format(found, known.format(table.stage, same_row))
    return sql.SQL("CASE WHEN {given} AND NOT EXISTS ({found}) THEN {reason}::text END").format(
        given=each("s.{0} IS NOT NULL", reference.columns, " AND "),
        found=found,
        reason=f"{', '.join(reference.columns)} is not in {reference.to_table}",
    )


def _broken(rule: Rule) -> sql.Composable:
    """Which rule a row breaks; one that is NULL for it counts as kept, as in Postgres."""
    return sql.SQL("CASE WHEN NOT {} THEN {}::text END").format(
        template(f"({rule.expression})"), f"breaks the rule {rule.name}, {rule.definition}"
    )
