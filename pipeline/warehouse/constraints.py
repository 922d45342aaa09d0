"""Constraints that schema.sql newly declares for columns which the table has; those that it drops stay."""

import re
from collections.abc import Collection, Iterator, Mapping

from psycopg import sql

from pipeline.postgres import template
from pipeline.warehouse.declarations import Columns
from pipeline.warehouse.evolve import REFERS, Change

_NAME = re.compile(r'CONSTRAINT (?:"(?:[^"]|"")+"|\w+) ')
# Postgres prints casts and parentheses that depend on the types of columns.
_INESSENTIAL = re.compile(r"::[a-z ]+(\(\d+(,\d+)?\))?(\[\])?| NOT VALID|[()\s]")


def former_names(
    new_tables: Mapping[str, str], new_columns: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The former names of tables and columns by their new ones."""
    pairs = [each.items() for each in (new_tables, *new_columns.values())]
    return {new: old for each in pairs for old, new in each}


def changes(
    schema: str,
    name: str,
    existing: Columns,
    declared: Columns,
    before: Columns | None,
    former: Mapping[str, str],
) -> Iterator[Change]:
    """The constraints that the table and its former declaration lack, by the last column that they name.

    Those of columns that are added are changes of these columns. ``former`` are the former names by new ones.
    """
    if before is None:
        return
    known = {_essence(each, {}) for columns in (existing, before) for each in _constraints(columns)}
    added = {column for column in declared if column not in existing}
    of_added = {
        _NAME.sub("", each, count=1) for each in _constraints({name: declared[name] for name in added})
    }
    by_column = dict[str, list[str]]()
    for constraint, column in _constraints(declared).items():
        if _essence(constraint, former) not in known and _NAME.sub("", constraint, count=1) not in of_added:
            by_column.setdefault(column, []).append(constraint)
    for column, constraints in by_column.items():
        yield _added(schema, name, column, constraints)


def _constraints(columns: Columns) -> dict[str, str]:
    """The constraints of a table, with the last column that each names."""
    return {each: name for name, column in columns.items() for each in (*column.checks, *column.constraints)}


def _essence(constraint: str, former: Mapping[str, str]) -> str:
    """A constraint without its name, under former names, and without what types decide."""
    text, words = _NAME.sub("", constraint, count=1), "|".join(map(re.escape, former))
    if former:
        text = re.sub(rf"\b({words})\b", lambda found: former[found[0]], text)
    return _INESSENTIAL.sub("", text)


def _added(schema: str, name: str, column: str, constraints: Collection[str]) -> Change:
    alter = sql.SQL("ALTER TABLE {} ADD ").format(sql.Identifier(schema, name))
    statements = {each: alter + template(each) for each in constraints}
    refer = tuple(alter for each, alter in statements.items() if REFERS.match(each))
    others = tuple(alter for each, alter in statements.items() if not REFERS.match(each))
    shown = ", ".join(_NAME.sub("", each, count=1) for each in constraints)
    return Change(
        name, column, "constrained", f"{shown} is added", others, "rows may violate it", references=refer
    )
