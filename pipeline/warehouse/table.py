"""One warehouse table and the columns that a set of rows gives it, as the statements name them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import psycopg
from psycopg import sql

from pipeline.lake.manifest import Manifest
from pipeline.models.target import (
    COMMITTED_AT,
    Reference,
    Target,
    key_json,
    text_json,
    version_index,
    versions_name,
)
from pipeline.postgres import Connection, each, identifiers, statement, template

# Categories of pg_type whose equality is that of their values: boolean, number, date and time.
_COMPARABLE = "BND"
_LONGEST_NAME = 63
# Columns that statements add to the table's own while they run.
_OURS = ("is_first", "heap", "place")


@dataclass(frozen=True)
class Table:
    """A warehouse table inside the load's transaction; ``columns`` are those that the rows have.

    With ``keeps_history`` a version is kept of every row of a dimension that changes.
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
        """The temporary table that holds rows on their way in, with the table's types."""
        return sql.Identifier("pg_temp", f"stage_{self.target.name}"[:_LONGEST_NAME])

    @property
    def versions(self) -> sql.Identifier:
        """The table of all versions of a dimension's rows."""
        return sql.Identifier(self.schema, versions_name(self.target.name))

    @property
    def values(self) -> list[str]:
        """The model's columns in which rows of one key may differ: those beside it, a key with spellings."""
        return [name for name in self._of_model if name not in self.target.key or self._has_spellings(name)]

    @property
    def _of_model(self) -> list[str]:
        return [name for name in self.columns if name != COMMITTED_AT]

    def _has_spellings(self, name: str) -> bool:
        column = self.target.column(name)
        return column is not None and column.has_spellings

    @property
    def refers_to_itself(self) -> bool:
        """Whether some of its references point to its own rows."""
        return any(map(self.is_named_by, self.target.references))

    def is_named_by(self, reference: Reference) -> bool:
        """Whether a reference points to this table."""
        return (reference.to_schema, reference.to_table) == (self.schema, self.target.name)

    @contextmanager
    def untyped(self) -> Iterator[sql.Identifier]:
        """A name for a temporary table of rows that have no types yet, which goes away with the block."""
        name = sql.Identifier("pg_temp", "untyped")
        yield name
        self.connection.execute(sql.SQL("DROP TABLE {}").format(name))

    def is_empty(self) -> bool:
        """Whether the table has no rows."""
        query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(self.name)
        return self.connection.execute(query).fetchone() == (True,)

    def alter(self, action: sql.Composable) -> None:
        """Change the table's definition."""
        self.connection.execute(sql.SQL("ALTER TABLE {} {}").format(self.name, action))

    def execute(self, file: str, **parts: sql.Composable) -> psycopg.Cursor[tuple[object, ...]]:
        """Run a statement of ``sql/`` with this table's names, and ``parts``, filled in."""
        query, parameters = self._filled(file, parts)
        return self.connection.execute(query, parameters)

    def text(self, file: str, **parts: sql.Composable) -> str:
        """The same statement as text, its values quoted: a function on the server runs it."""
        query, parameters = self._filled(file, parts)
        return psycopg.ClientCursor(self.connection).mogrify(query, parameters)

    def part(self, file: str, **parts: sql.Composable) -> sql.Composed:
        """A piece of a statement with the names filled in."""
        return statement(f"warehouse/{file}").format(**(self._names | parts))

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
        s, t = sql.SQL("s"), sql.SQL("t")
        whole = [column.name for column in self.target.columns]
        return {
            "table": self.name,
            "stage": self.stage,
            "index": sql.Identifier(version_index(self.target)),
            "qualified_index": sql.Identifier(self.schema, version_index(self.target)),
            "columns": identifiers(self.columns),
            "staged_columns": each("s.{0}", self.columns),
            "key": identifiers(self.target.key),
            "key_json": key_json(self.target.key, s),
            "latest_key_json": key_json(self.target.key, t),
            "row_json": text_json(self.columns, each("s.{0}::text", self.columns)),
            "model_columns": identifiers(self._of_model),
            "latest_columns": each("t.{0}", self._of_model),
            "same_key": self.target.same_key("t", "s"),
            "restaged": self.target.same_key("r", "s"),
            "differs": self._differs("t", "s"),
            "versions": self.versions,
            "columns_of_table": identifiers(whole),
            "all_columns": each("t.{0}", whole),
            "same_key_as_version": self.target.same_key("v", "t"),
            "differs_from_version": self._differs("v", "t"),
            "assignments": each("{0} = s.{0}", self.values),
            **{name: sql.Identifier(_unused(name, {*whole, *self.columns})) for name in _OURS},
            "chosen": sql.SQL("true"),
        }

    def _differs(self, *aliases: str) -> sql.Composable:
        """Whether rows of two aliases differ: by text where a type has no equality, or a loose one."""
        plain, text = "{side}.{{0}}", '{side}.{{0}}::text COLLATE "C"'
        tracked = [name for name in self.values if name not in self.target.untracked]
        sides = []
        for side in aliases:
            parts = []
            for name in tracked:
                column = self.target.column(name)
                comparable = column is not None and column.category in _COMPARABLE and column.is_builtin
                parts.append(each((plain if comparable else text).format(side=side), [name]))
            sides.append(sql.SQL("ROW({})").format(sql.SQL(", ").join(parts)))
        return sql.SQL("{} IS DISTINCT FROM {}").format(*sides) if tracked else sql.SQL("false")


def _unused(name: str, columns: Iterable[str]) -> str:
    """A name that none of the columns has."""
    taken = set(columns)
    while name in taken:
        name += "_"
    return name


def _escaped(names: sql.Composable) -> sql.Composable:
    """The same where parameters are bound: psycopg looks for them in names, too."""
    return template(names.as_string().replace("%", "%%"))
