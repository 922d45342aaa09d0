"""What a table that exists lacks of its declaration in ``schema.sql``, as changes.

New columns that the table does not compute, wider types, new names and dropped NOT NULLs can neither fail nor
lose a value. The others need somebody's consent.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.models.library import Model
from pipeline.models.target import ADDED_TO_FACTS, versions_name
from pipeline.postgres import identifiers, template
from pipeline.warehouse.declarations import Columns, Declared
from pipeline.words import did_you_mean

_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("text", "character varying")
REFERS = re.compile(r'(?:CONSTRAINT (?:"(?:[^"]|"")+"|\w+) )?FOREIGN KEY \(')
_WITH_LIMITS = re.compile(r"(numeric|character varying)\((\d+)(?:,(\d+))?\)")

Kind = Literal[
    "added",
    "widened",
    "narrowed",
    "removed",
    "renamed",
    "required",
    "constrained",
    "optional",
    "rekeyed",
    "remade",
    "dropped",
]
# The word with which somebody consents to a change of each kind that needs it.
CONSENTS: Mapping[Kind, str] = {
    "added": "add",
    "narrowed": "narrow",
    "removed": "drop",
    "required": "require",
    "constrained": "constrain",
    "rekeyed": "rekey",
    "remade": "remake",
    "dropped": "drop",
}


@dataclass(frozen=True)
class Change:
    """A change of a table, or of its ``column``, with the statements that make it.

    ``references`` are statements that come after those of all changes, on which they may depend.
    ``risk``: what it can lose, why it can fail, or that it computes values; empty if it needs no consent.
    ``is_asked``: schema.sql or the model has changed so; otherwise somebody altered the table.
    ``is_allowed``: somebody consents.
    ``remakes``: the table is dropped and created, and filled from the lake. ``cast``: how values are cast to
    another type if Postgres does not cast them by itself. ``follow_up``: what a run allows itself once the
    table is filled: the NOT NULL of a column that it has added. ``restores``: somebody has dropped the
    column; its values are computed again.
    """

    table: str
    column: str
    kind: Kind
    summary: str
    statements: tuple[sql.Composed, ...] = ()
    risk: str = ""
    is_asked: bool = True
    is_allowed: bool = False
    remakes: bool = False
    cast: sql.Composable | None = None
    follow_up: str = ""
    restores: bool = False
    references: tuple[sql.Composed, ...] = ()

    @property
    def name(self) -> str:
        """The table, with the column if there is one."""
        return f"{self.table}.{self.column}" if self.column else self.table

    @property
    def consent(self) -> str:
        """What somebody has to allow; empty if nobody has to."""
        return f"{CONSENTS[self.kind]} {self.name}" if self.risk else ""

    @property
    def happens(self) -> bool:
        """Whether a run makes the change."""
        return not self.risk or self.is_allowed

    @property
    def is_meant(self) -> bool:
        """Whether a run makes the change, or fails because nobody allows it; others it leaves out."""
        return self.is_asked or self.happens

    @property
    def is_refused(self) -> bool:
        """Whether a run fails because of it."""
        return self.is_asked and not self.happens

    @property
    def replaces_views(self) -> bool:
        """Whether the pipeline's views of the table have to be made again."""
        return self.kind in {"widened", "narrowed", "removed", "rekeyed"} and not self.remakes


def allowed(changes: Iterable[Change], allow: Collection[str]) -> list[Change]:
    """The changes, with the consent to those of these names."""
    return [replace(each, is_allowed=bool(each.consent) and each.consent in allow) for each in changes]


def remade(changes: Iterable[Change]) -> set[str]:
    """The tables that are dropped and created."""
    return {change.table for change in changes if change.remakes}


def unmatched(allow: Iterable[str], consents: Collection[str]) -> Iterator[str]:
    """A line for each name in ``allow`` that is none of the consents which the changes need."""
    for each in allow:
        if each not in consents:
            yield f"allow: {each!r} is no change of models or schema.sql{did_you_mean(each, consents)}"


def changes_of(
    schema: str,
    name: str,
    existing: Columns,
    declared: Columns,
    before: Columns | None,
    *,
    model: Model,
    has_versions: bool,
    is_empty: bool,
) -> Iterator[Change]:
    """What a table lacks of its declaration; ``before`` is the declaration that it followed, if known.

    ``has_versions``: its versions are in a table beside it.
    """
    yields = {each.lower() for each in model.lines}
    filled = () if has_versions else ADDED_TO_FACTS
    constraints = _new_constraints([column for column in declared.values() if column.name not in existing])
    for column in declared.values():
        known, was = existing.get(column.name), before.get(column.name) if before else None
        if column.name in filled:
            continue  # it is as the pipeline makes it
        if known is None:
            added = _added(schema, column, constraints.get(column.name, ()), is_empty=is_empty)
            is_key = column.name in model.key or (not model.key and bool(column.key_place))
            # Others that the table computes were dropped, or nobody has ever consented to them.
            is_of_model = is_key or not added.risk or column.name.lower() in yields
            is_lost = was and not is_empty and is_of_model
            yield _restored(schema, added, is_key=is_key) if is_lost else added
            continue
        yield from _altered(_alter(schema, name), known, column, was)
    for former in before or ():
        if former in existing and former not in declared and former not in filled:
            yield _removed(schema, name, former, has_versions=has_versions)


def _alter(schema: str, name: str) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} ").format(sql.Identifier(schema, name))


def _altered(
    table: sql.Composed, known: Declared, column: Declared, was: Declared | None
) -> Iterator[Change]:
    """The changes of a column that exists: of its type, and whether it may be NULL."""
    name, quoted = column.table_name, sql.Identifier(column.name)
    if known.type != column.type:
        yield _retyped(table, known, column, was)
    if known.required and not column.required:
        alter = table + sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(quoted)
        yield Change(name, column.name, "optional", f"column {column.name} may be NULL", (alter,))
    if column.required and not known.required and not column.key_place:
        alter = table + sql.SQL("ALTER COLUMN {} SET NOT NULL").format(quoted)
        is_asked = was is not None and not was.required
        summary, risk = f"column {column.name} becomes NOT NULL", "rows may have NULL in it"
        yield Change(name, column.name, "required", summary, (alter,), risk, is_asked)


def _retyped(table: sql.Composed, known: Declared, column: Declared, was: Declared | None) -> Change:
    quoted = sql.Identifier(column.name)
    alter = table + template(f"ALTER COLUMN {{}} TYPE {column.type}").format(quoted)
    if is_wider(known.type, column.type):
        summary = f"column {column.name} is widened from {known.type} to {column.type}"
        return Change(column.table_name, column.name, "widened", summary, (alter,))
    summary = f"column {column.name} changes from {known.type} to {column.type}"
    is_asked = was is not None and was.type != column.type and not is_wider(was.type, column.type)
    risk = "values may be rounded or not fit" if "numeric" in column.type else "values may not fit"
    cast = template(f"{{}}::{column.type}").format(quoted)
    return Change(column.table_name, column.name, "narrowed", summary, (alter,), risk, is_asked, cast=cast)


def _removed(schema: str, name: str, column: str, *, has_versions: bool) -> Change:
    drop = sql.SQL("DROP COLUMN IF EXISTS {}").format(sql.Identifier(column))
    tables = [name, versions_name(name)] if has_versions else [name]
    statements = tuple(_alter(schema, each) + drop for each in tables)
    summary = f"column {column} is dropped, as schema.sql no longer declares it"
    return Change(name, column, "removed", summary, statements, "its values would be lost")


def _new_constraints(new: Iterable[Declared]) -> dict[str, list[str]]:
    """The constraints that name several columns, are unique or refer, each by the last of its new columns.

    Those of a column that needs consent are left out.
    """
    last, left_out = dict[str, str](), set[str]()
    for column in new:
        last |= dict.fromkeys(column.constraints, column.name)
        if column.is_numbered_or_computed:
            left_out |= {*column.constraints}
    found = dict[str, list[str]]()
    for constraint in sorted(last.keys() - left_out):
        found.setdefault(last[constraint], []).append(constraint)
    return found


def _added(schema: str, column: Declared, constraints: Iterable[str], *, is_empty: bool) -> Change:
    added = template(f"ADD COLUMN {{}} {column.type}").format(sql.Identifier(column.name))
    parts: list[sql.Composable] = [added]
    if column.default_value is not None:
        parts.append(template(f"DEFAULT {column.default_value}"))
    summary, follow_up = f"column {column.name} ({column.type}) is added", ""
    if column.required and (column.default_value is not None or is_empty):
        parts.append(sql.SQL("NOT NULL"))
    elif column.required:
        follow_up = f"require {column.table_name}.{column.name}"
        summary += ", and becomes NOT NULL once its rows have values"
    parts += [template(check) for check in column.checks]
    table = _alter(schema, column.table_name)
    statements, references = [table + sql.SQL(" ").join(parts)], list[sql.Composed]()
    for constraint in constraints:
        # Rows have its values once the table is restated.
        later = " NOT VALID" if "CHECK (" in constraint and not is_empty else ""
        place = references if REFERS.match(constraint) else statements
        place.append(table + template(f"ADD {constraint}{later}"))
    risk = "its values are computed" if column.is_numbered_or_computed else ""
    return Change(
        column.table_name, column.name, "added", summary, tuple(statements), risk, not risk,
        follow_up=follow_up, references=tuple(references),
    )  # fmt: skip


def _restored(schema: str, added: Change, *, is_key: bool) -> Change:
    """The change that adds a column which the table had; raises WarehouseError for one of its key."""
    if is_key:
        raise WarehouseError(
            f"warehouse: {schema}.{added.table} lacks its key column {added.column}; somebody has dropped it."
            f" DROP TABLE {schema}.{added.table} CASCADE lets the next run fill it from the raw bucket;"
            " versions of before the first batch there are lost"
        )
    summary = f"{added.summary}, as somebody has dropped it, and the table is restated"
    return replace(added, summary=summary, restores=True)


def rekeyed(
    schema: str, name: str, constraint: str | None, old: tuple[str, ...], new: tuple[str, ...]
) -> Change:
    """Another key, whose primary key of this name is replaced if there is one."""
    statements: tuple[sql.Composed, ...] = ()
    if constraint:
        replaced = sql.SQL("DROP CONSTRAINT {}, ADD PRIMARY KEY ({})")
        statements = (_alter(schema, name) + replaced.format(sql.Identifier(constraint), identifiers(new)),)
    summary = f"the key ({', '.join(old)}) becomes ({', '.join(new)})"
    risk = "rows of different keys may have the same one then"
    return Change(name, "", "rekeyed", summary, statements, risk)


def is_wider(old: str, new: str) -> bool:
    """Whether every value of a type is one of another, and stays the same."""
    if old in _INTEGERS and new in _INTEGERS:
        return _INTEGERS.index(new) > _INTEGERS.index(old)
    if old in _INTEGERS and new == "numeric":
        return True
    before, after = _WITH_LIMITS.fullmatch(old), _WITH_LIMITS.fullmatch(new)
    if before and before[1] == "numeric":
        digits, scale = int(before[2]), int(before[3] or 0)
        if after and after[1] == "numeric":
            return int(after[3] or 0) >= scale and int(after[2]) - int(after[3] or 0) >= digits - scale
        return new == "numeric"
    if before:
        return new in _TEXTS or bool(after and after[1] == before[1] and int(after[2]) >= int(before[2]))
    return (old in _TEXTS and new in _TEXTS) or (old, new) == ("real", "double precision")
