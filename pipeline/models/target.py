"""A warehouse table as the contract for the rows that go into it."""

import hashlib
from collections.abc import Sequence

from psycopg import sql

from pipeline.columns import Frozen
from pipeline.postgres import template

# What the engine adds to a fact table.
RECORDED_AT, SUPERSEDED_AT, DELETED, COMMITTED_AT = "recorded_at", "superseded_at", "deleted", "committed_at"
ADDED_TO_FACTS = (RECORDED_AT, SUPERSEDED_AT, DELETED, COMMITTED_AT)
# What the views of a history show beside a table's columns, and what a fact's versions have.
OF_HISTORY = ("valid_from", "valid_to")
OF_VERSIONS = frozenset({*ADDED_TO_FACTS, *OF_HISTORY})

# Categories of pg_type: arrays, rows, ranges, intervals.
_CATEGORIES_WITH_SPELLINGS = "ACRT"


class Operator(Frozen):
    """An operator of the warehouse with its schema, by which it is called wherever it stands.

    ``as_type`` is what both of its values are cast to where it does not take them as they are, else empty.
    """

    in_schema: str = "pg_catalog"
    name: str = "="
    as_type: str = ""

    def between(self, left: sql.Composable, right: sql.Composable) -> sql.Composed:
        """The operator with its two values."""
        cast = template(f"::{self.as_type}" if self.as_type else "")
        name = sql.SQL("OPERATOR({}.{})").format(sql.Identifier(self.in_schema), template(self.name))
        return sql.SQL("{}{} {} {}{}").format(left, cast, name, right, cast)


class TargetColumn(Frozen):
    """A warehouse column; ``filled`` by a default, ``category`` as in ``pg_type``, ``labels`` of an enum.

    ``equality`` is what its type's indexes compare by, ``numbered`` where the default
    is another one for each row, ``collation`` (quoted) where it is not its type's own.
    """

    name: str
    type: str
    category: str
    labels: tuple[str, ...]
    required: bool
    filled: bool
    generated: bool
    numbered: bool = False
    equality: Operator = Operator()
    collation: str = ""

    @property
    def is_builtin(self) -> bool:
        """Whether its values compare by an operator of Postgres' own, which needs no schema."""
        return self.equality.in_schema == Operator().in_schema

    @property
    def has_spellings(self) -> bool:
        """Whether equal values, other than numbers, may print apart, as those of citext or interval."""
        loose = self.category in _CATEGORIES_WITH_SPELLINGS or self.type == "jsonb" or self.collation
        return bool(loose) or not self.is_builtin


class Constraint(Frozen):
    """What a table demands of its rows; ``definition`` makes it again where it is ``rebuildable``."""

    name: str
    columns: tuple[str, ...]
    definition: str
    rebuildable: bool


class Reference(Constraint):
    """A foreign key; ``equality`` compares a column that is referred to with one of ours, for each pair."""

    to_schema: str
    to_table: str
    to_columns: tuple[str, ...]
    equality: tuple[Operator, ...]


class Rule(Constraint):
    """A CHECK constraint."""

    expression: str


class Target(Frozen):
    """A warehouse table: the contract for the rows that go into it.

    ``key`` is the business key; ``columns`` leave out what the pipeline adds itself. ``uniques`` are
    its unique and exclusion constraints and indexes beside that. Of a ``bridge`` rows are deleted that
    leave its model's result. Rows that differ in ``untracked`` columns only stay. ``max_deleted_share``
    is what its model says of it, if anything.
    """

    name: str
    fact: bool
    key: tuple[str, ...]
    columns: tuple[TargetColumn, ...]
    references: tuple[Reference, ...]
    rules: tuple[Rule, ...]
    rebuildable: tuple[Constraint, ...]
    uniques: tuple[Constraint, ...] = ()
    deferrable: bool = False
    bridge: bool = False
    untracked: tuple[str, ...] = ()
    max_deleted_share: float | None = None

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """All that the load takes away before it fills an empty table, and adds after."""
        known = (*self.rebuildable, *self.references, *self.rules)
        return tuple(constraint for constraint in known if constraint.rebuildable)

    @property
    def contract(self) -> str:
        """Changes with what the table takes: its key, columns, types and NULLs."""
        no_part = {"equality", "numbered", "collation"}
        meaning = self.model_dump_json(include={"key", "columns"}, exclude={"columns": {"__all__": no_part}})
        return hashlib.sha256(meaning.encode()).hexdigest()[:16]

    def same_key(self, left: str, right: str) -> sql.Composed:
        """Whether rows of two aliases have the same key, as its types' indexes compare it."""
        return sql.SQL(" AND ").join(
            self._equality(name).between(_column(left, name), _column(right, name)) for name in self.key
        )

    def _equality(self, name: str) -> Operator:
        column = self.column(name)
        return column.equality if column else Operator()

    def column(self, name: str) -> TargetColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def _column(alias: str, name: str) -> sql.Composed:
    return sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(name))


def version_index(target: Target) -> str:
    """The name of the index that keeps a fact's versions apart and in order."""
    return f"{target.name}_version"


def versions_name(dimension: str) -> str:
    """The name of the table that holds all versions of a dimension's rows."""
    return f"{dimension}_version"


def key_json(key: Sequence[str], alias: sql.Composable) -> sql.Composed:
    """A row's key as one jsonb object with its values as text, as etl tables hold it."""
    texts = [sql.SQL("{}.{}::text").format(alias, sql.Identifier(name)) for name in key]
    return text_json(key, sql.SQL(", ").join(texts))


def text_json(names: Sequence[str], texts: sql.Composable) -> sql.Composed:
    """A jsonb object of any number of values, given as texts."""
    return sql.SQL("jsonb_object({}::text[], ARRAY[{}]::text[])").format(sql.Literal(list(names)), texts)
