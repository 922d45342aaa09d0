"""Contracts: the columns, key, constraints and options of warehouse tables."""

import hashlib
from collections.abc import Collection, Sequence

from psycopg import sql

from pipeline.columns import Frozen, uncertain
from pipeline.postgres import template

# Columns that the engine adds to a fact table.
RECORDED_AT, SUPERSEDED_AT, DELETED, COMMITTED_AT = "recorded_at", "superseded_at", "deleted", "committed_at"
ADDED_TO_FACTS = (RECORDED_AT, SUPERSEDED_AT, DELETED, COMMITTED_AT)
# Columns that the views of a history add, and all columns that a fact's versions have.
OF_HISTORY = ("valid_from", "valid_to")
OF_VERSIONS = frozenset({*ADDED_TO_FACTS, *OF_HISTORY})

# In bytes; Postgres truncates longer ones.
LONGEST_NAME = 63
REPEATED_KEY = "more than one row has this key"

# Categories of pg_type with equal values that print differently: arrays, rows, ranges, intervals.
_CATEGORIES_WITH_SPELLINGS = "ACRT"


class Operator(Frozen):
    """An operator of the warehouse, qualified by its schema.

    ``as_type`` is the type that both operands are cast to, or empty.
    """

    in_schema: str = "pg_catalog"
    name: str = "="
    as_type: str = ""

    def between(self, left: sql.Composable, right: sql.Composable) -> sql.Composed:
        """The operator with its operands."""
        cast = template(f"::{self.as_type}" if self.as_type else "")
        name = sql.SQL("OPERATOR({}.{})").format(sql.Identifier(self.in_schema), template(self.name))
        return sql.SQL("{}{} {} {}{}").format(left, cast, name, right, cast)


class TargetColumn(Frozen):
    """A warehouse column.

    ``category`` is that of its type in ``pg_type``, ``labels`` those of an enum. ``filled``: it has a default
    or is an identity. ``numbered``: the default differs for each row. ``varies``: it differs for each row or
    load. ``equality``: the operator that indexes of its type use. ``collation``: a quoted name if it is not
    the default of its type; ``folds``: it takes different texts as equal.
    """

    name: str
    type: str
    category: str
    labels: tuple[str, ...]
    required: bool
    filled: bool
    generated: bool
    numbered: bool = False
    varies: bool = False
    equality: Operator = Operator()
    collation: str = ""
    folds: bool = False

    @property
    def is_builtin(self) -> bool:
        """Whether its values compare by an operator of pg_catalog."""
        return self.equality.in_schema == Operator().in_schema

    @property
    def has_sequence(self) -> bool:
        """Whether its default is the next number of a sequence."""
        return self.numbered and self.type in {"smallint", "integer", "bigint"}

    @property
    def has_spellings(self) -> bool:
        """Whether equal values, other than numbers, may print differently, as those of citext or interval."""
        loose = self.category in _CATEGORIES_WITH_SPELLINGS or self.type == "jsonb" or self.collation
        return bool(loose) or not self.is_builtin

    def uncertain(self, expression: str) -> str | None:
        """A DuckDB condition that a value of the column may equal another one that DuckDB tells apart.

        None if no value may; ``true`` if that is not known of any.
        """
        if self.labels:
            return None
        return "true" if self.folds or not self.is_builtin else uncertain(expression, self.type)


class Constraint(Frozen):
    """A constraint or index; if it is ``rebuildable``, ``definition`` creates it again after a drop."""

    name: str
    columns: tuple[str, ...]
    definition: str
    rebuildable: bool


class Reference(Constraint):
    """A foreign key; ``equality`` has the operator between each referenced column and its own."""

    to_schema: str
    to_table: str
    to_columns: tuple[str, ...]
    equality: tuple[Operator, ...]

    @property
    def missing(self) -> str:
        """Why a row is rejected if it refers to a row that is missing."""
        return f"{', '.join(self.columns)} is not in {self.to_table}"


class Rule(Constraint):
    """A CHECK constraint."""

    expression: str


class Target(Frozen):
    """The contract of a warehouse table.

    ``key``: the business key.
    ``columns``: all but those that the pipeline adds.
    ``rebuildable``: the primary key, if it can be dropped and created again.
    ``uniques``: unique and exclusion constraints and indexes.
    ``deferrable``: whether a constraint is deferrable.
    ``bridge``: rows that leave the result are deleted.
    ``untracked``: columns whose changes make no version.
    ``max_deleted_share``: the share that a run may delete, if the model sets it.
    ``model_sql``: the text of its model.
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
    model_sql: str = ""

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints that are dropped while an empty table is filled, and created again."""
        constraints = (*self.rebuildable, *self.references, *self.rules)
        return tuple(constraint for constraint in constraints if constraint.rebuildable)

    @property
    def contract(self) -> str:
        """A digest of what rows have to fit: the key, columns, types and NULLs."""
        ignored = {"equality", "numbered", "varies", "collation", "folds"}
        content = self.model_dump_json(include={"key", "columns"}, exclude={"columns": {"__all__": ignored}})
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def has_uncertain_key(self) -> bool:
        """Whether only Postgres knows which keys are equal."""
        return any(column.uncertain("") for column in self.columns if column.name in self.key)

    @property
    def versions_table(self) -> str:
        """The name of the table with all versions of its rows, which is a fact itself."""
        return self.name if self.fact else versions_name(self.name)

    @property
    def span(self) -> tuple[str, str]:
        """The columns of that table with the start and the end of a version."""
        return (RECORDED_AT, SUPERSEDED_AT) if self.fact else OF_HISTORY

    def same_key(self, left: str, right: str) -> sql.Composed:
        """The condition that rows of two aliases have the same key, as indexes compare it."""
        return sql.SQL(" AND ").join(
            self._equality(name).between(_column(left, name), _column(right, name)) for name in self.key
        )

    def filled_with(self, names: Collection[str]) -> "Target":
        """The table where rows have values for these columns, so that their defaults do not count."""
        columns = [
            column.model_copy(update={"varies": False}) if column.name in names else column
            for column in self.columns
        ]
        return self.model_copy(update={"columns": tuple(columns)})

    def _equality(self, name: str) -> Operator:
        column = self.column(name)
        return column.equality if column else Operator()

    def column(self, name: str) -> TargetColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def _column(alias: str, name: str) -> sql.Composed:
    return sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(name))


def version_index(target: Target) -> str:
    """The name of the unique index of a fact's versions."""
    return f"{target.name}_version"


def begun_index(target: Target) -> str:
    """The name of the index of a fact's versions by their beginning."""
    return f"{target.name}_begun"


def ended_index(target: Target) -> str:
    """The name of the index of a table's versions that have ended."""
    return f"{target.name}_ended"


def versions_name(dimension: str) -> str:
    """The name of the table of a dimension's versions."""
    return f"{dimension}_version"


def key_json(key: Sequence[str], alias: sql.Composable) -> sql.Composed:
    """A row's key as a jsonb object of texts, as etl.rejected stores it."""
    texts = [sql.SQL("{}.{}::text").format(alias, sql.Identifier(name)) for name in key]
    return text_json(key, sql.SQL(", ").join(texts))


def text_json(names: Sequence[str], texts: sql.Composable) -> sql.Composed:
    """A jsonb object of texts; more values than a function call can have are possible."""
    return sql.SQL("jsonb_object({}::text[], ARRAY[{}]::text[])").format(sql.Literal(list(names)), texts)
