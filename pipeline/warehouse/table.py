"""One warehouse table during a load, and the names that its statements are filled with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import psycopg
from psycopg import sql

from pipeline.beginning import by_place
from pipeline.lake.manifest import Manifest
from pipeline.models.target import (
    COMMITTED_AT,
    LONGEST_NAME,
    Reference,
    Target,
    key_json,
    text_json,
    versions_name,
)
from pipeline.postgres import Connection, each, identifiers, statement, template
from pipeline.words import unused

# Categories of pg_type whose equality is that of their values: boolean, number, date and time.
_COMPARABLE = "BND"
# Columns that statements add to the table's own.
_HELPER_COLUMNS = ("is_first", "heap", "place")


@dataclass(frozen=True)
class Table:
    """A warehouse table inside the load's transaction, with the ``columns`` of the rows to load.

    Without ``keeps_history`` changes of a dimension's rows record no versions.
    """

    connection: Connection
    schema: str
    target: Target
    columns: tuple[str, ...]
    manifest: Manifest
    keeps_history: bool = True

    @property
    def name(self) -> sql.Identifier:
        """The table itself."""
        return sql.Identifier(self.schema, self.target.name)

    @property
    def stage(self) -> sql.Identifier:
        """The temporary table of rows to load, with the table's types."""
        return sql.Identifier("pg_temp", f"stage_{self.target.name}"[:LONGEST_NAME])

    @property
    def versions(self) -> sql.Identifier:
        """The table of all versions of a dimension's rows."""
        return sql.Identifier(self.schema, versions_name(self.target.name))

    @property
    def values(self) -> list[str]:
        """The columns in which rows of one key may differ.

        A key column is among them if equal values can look different, as those of citext.
        """
        return [
            name for name in self._model_columns if name not in self.target.key or self._has_spellings(name)
        ]

    @property
    def _model_columns(self) -> list[str]:
        """The columns that the model yields: those of the batch without the time of a fact's commit."""
        return [name for name in self.columns if not (self.target.fact and name == COMMITTED_AT)]

    def _has_spellings(self, name: str) -> bool:
        column = self.target.column(name)
        return column is not None and column.has_spellings

    @property
    def refers_to_itself(self) -> bool:
        """Whether the table references itself."""
        return any(map(self.is_target_of, self.target.references))

    def is_target_of(self, reference: Reference) -> bool:
        """Whether a reference points to this table."""
        return (reference.to_schema, reference.to_table) == (self.schema, self.target.name)

    @contextmanager
    def untyped(self) -> Iterator[sql.Identifier]:
        """A name for a temporary table of rows without types, which is dropped after the block."""
        name = sql.Identifier("pg_temp", "untyped")
        yield name
        self.connection.execute(sql.SQL("DROP TABLE {}").format(name))

    def is_empty(self) -> bool:
        """Whether the table has no rows."""
        query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(self.name)
        return self.connection.execute(query).fetchone() == (True,)

    @contextmanager
    def constraints_at_end(self) -> Iterator[None]:
        """Check deferrable constraints at the end of the block: a pending one forbids ALTER TABLE."""
        if self.target.deferrable:
            self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
        yield
        if self.target.deferrable:
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def alter(self, action: sql.Composable) -> None:
        """Run ALTER TABLE with an action."""
        self.connection.execute(sql.SQL("ALTER TABLE {} {}").format(self.name, action))

    def execute(self, file: str, **parts: sql.Composable) -> psycopg.Cursor[tuple[object, ...]]:
        """Run a statement of ``sql/``, filled with this table's names and ``parts``, which win."""
        query, parameters = self._filled(file, parts)
        return self.connection.execute(query, parameters)

    def execute_by_place(self, file: str, **parts: sql.Composable) -> psycopg.Cursor[tuple[object, ...]]:
        """The same for a statement that ends versions by their places."""
        with by_place(self.connection):
            return self.execute(file, **parts)

    def text(self, file: str, **parts: sql.Composable) -> str:
        """The same statement as text with its values quoted, for a function on the server."""
        query, parameters = self._filled(file, parts)
        return psycopg.ClientCursor(self.connection).mogrify(query, parameters)

    def _filled(
        self, file: str, parts: dict[str, sql.Composable]
    ) -> tuple[sql.Composed, dict[str, object] | None]:
        text = statement(f"warehouse/{file}")
        bound = "%(" in text.as_string()
        names = self._names | parts
        query = text.format(**{name: _escaped(value) if bound else value for name, value in names.items()})
        parameters = {
            "schema": self.schema,
            "table_name": self.target.name,
            "qualified_name": self.name.as_string(),
            "batch": self.manifest.batch_id,
            "at": self.manifest.snapshot_at,
        }
        return query, parameters if bound else None

    @cached_property
    def _names(self) -> dict[str, sql.Composable]:
        """The names by which templates refer to the table.

        Rows to load have the alias s, those of the table t, and r and v are a row of the stage and a version.
        """
        s, t = sql.SQL("s"), sql.SQL("t")
        all_columns = [column.name for column in self.target.columns]
        return {
            "table": self.name,
            "stage": self.stage,
            "columns": identifiers(self.columns),
            "staged_columns": each("s.{0}", self.columns),
            "key": identifiers(self.target.key),
            "key_json": key_json(self.target.key, s),
            "table_key_json": key_json(self.target.key, t),
            "row_json": text_json(self.columns, each("s.{0}::text", self.columns)),
            "model_columns": identifiers(self._model_columns),
            "table_columns": each("t.{0}", self._model_columns),
            "same_key": self.target.same_key("t", "s"),
            "restaged": self.target.same_key("r", "s"),
            "differs": self._differs("t", "s"),
            "versions": self.versions,
            "columns_of_table": identifiers(all_columns),
            "all_columns": each("t.{0}", all_columns),
            "same_key_as_version": self.target.same_key("v", "t"),
            "differs_from_version": self._differs("v", "t"),
            "assignments": each("{0} = s.{0}", self.values),
            **{name: sql.Identifier(unused(name, {*all_columns, *self.columns})) for name in _HELPER_COLUMNS},
            "chosen": sql.SQL("true"),
        }

    def _differs(self, *aliases: str) -> sql.Composable:
        """Whether rows of two aliases differ in a tracked column."""
        tracked = [name for name in self.values if name not in self.target.untracked]
        sides = [compared(self.target, side, tracked) for side in aliases]
        return sql.SQL("{} IS DISTINCT FROM {}").format(*sides) if tracked else sql.SQL("false")


def compared(target: Target, side: str, names: Iterable[str]) -> sql.Composed:
    """What two versions are compared by: the row of the tracked ones of these columns of a side.

    Types without an equality, or with one that ignores differences, are compared as text.
    """
    parts = []
    for name in names:
        column = target.column(name)
        comparable = column is not None and column.category in _COMPARABLE and column.is_builtin
        if name not in target.untracked:
            parts.append(each(f"{side}.{{0}}" if comparable else f'{side}.{{0}}::text COLLATE "C"', [name]))
    return sql.SQL("ROW({})").format(sql.SQL(", ").join(parts))


def _escaped(names: sql.Composable) -> sql.Composable:
    """Double each %, because psycopg looks for placeholders in names, too."""
    return template(names.as_string().replace("%", "%%"))
