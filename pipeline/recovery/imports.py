"""Import versions from before the first batch, so that a warehouse that replaces another keeps its history.

The rows become ordinary versions. Those that the first batch continues begin earlier, the others end with it.
The lake does not hold them: after a rebuild they are imported again.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO, cast

import psycopg
from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import SettingsError
from pipeline.messages import message
from pipeline.models.target import OF_HISTORY, RECORDED_AT, Target, versions_name
from pipeline.postgres import Connection, each, identifiers, statement, template
from pipeline.warehouse import bindings, bisection, ledger
from pipeline.warehouse.limits import NO_LIMIT
from pipeline.words import did_you_mean

_UNTYPED = sql.Identifier("pg_temp", "import_texts")
_ROW = "(i.content)"


class Imported(Frozen):
    """What an import has done to a table: rows read, versions added, and versions that now begin earlier.

    ``since`` is the begin of the first version, ``until`` the time of the first batch.
    """

    table: str
    read: int
    added: int
    extended: int
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Rows:
    """Rows of texts, NULL where they are empty, each after the number that messages give it.

    ``place`` is what they come from, and ``columns`` are their names.
    """

    place: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[str | None]]]


@contextmanager
def from_csv(path: Path) -> Iterator[Rows]:
    """The rows of a CSV file in UTF-8, whose first line names the columns; an empty field is NULL."""
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise SettingsError(f"FILE: {path}: {error.strerror}") from None
    with file:
        lines = _lines(path, file)
        _, columns = next(lines, (0, ()))
        yield Rows(str(path), tuple(map(str.strip, columns)), _values(path, lines, len(columns)))


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, Sequence[str]]]:
    """The fields of each row, after the number of its last line."""
    reader = csv.reader(file, strict=True)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except (csv.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}:{reader.line_num + 1}: {error}") from None


def _values(
    path: Path, lines: Iterator[tuple[int, Sequence[str]]], width: int
) -> Iterator[tuple[int, Sequence[str | None]]]:
    for line, fields in lines:
        if len(fields) != width:
            raise SettingsError(f"{path}:{line}: {len(fields)} fields, and {width} columns")
        yield line, [field or None for field in fields]


def from_table(connection: Connection, name: str) -> Rows:
    """The rows of a table or view of the warehouse, named with its schema."""
    parts = name.split(".")
    if len(parts) != 2:  # noqa: PLR2004  schema and table
        raise SettingsError(f"FROM: {name}: write schema.table")
    found = connection.execute(
        "SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0"
        " AND NOT a.attisdropped ORDER BY a.attnum",
        (sql.Identifier(*parts).as_string(connection),),
    ).fetchall()
    if not found:
        raise SettingsError(f"FROM: the warehouse has no table {name}")
    columns = tuple(str(column) for (column,) in found)
    query = sql.SQL("SELECT row_number() OVER (), ARRAY[{}] FROM {}").format(
        each("t.{0}::text", columns), sql.SQL("{} AS t").format(sql.Identifier(*parts))
    )
    return Rows(name, columns, iter(connection.execute(query).fetchall()))  # type: ignore[arg-type]


def import_versions(connection: Connection, schema: str, target: Target, rows: Rows) -> Imported:
    """Import versions into a table, in place of an earlier import; changes nothing if it raises.

    Raises SettingsError, with the line, for a row that cannot be a version.
    """
    _check_columns(target, rows)
    batch_id = ledger.lock_for_load(connection, schema)
    query = "SELECT min(snapshot_at) FROM etl.batch WHERE schema_name = %s"
    row = connection.execute(query, (schema,)).fetchone()
    base = cast(datetime | None, row[0]) if row else None
    if batch_id is None or base is None:
        raise SettingsError("the warehouse has no batch yet; run `make run` first")
    try:
        with connection.transaction():
            table = _Import(connection, schema, target, rows, base)
            table.undo()
            read = table.stage()
            added, extended, since = table.apply()
            bindings.bind(connection, schema, batch_id, {target.name: target}, {target.name: None})
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
        raise SettingsError(f"{rows.place}: {message(error)}; nothing was imported") from None
    return Imported(table=target.name, read=read, added=added, extended=extended, since=since, until=base)


def _check_columns(target: Target, rows: Rows) -> None:
    """Raise SettingsError unless the columns are those of the table, with its key, and valid_from."""
    known = {column.name for column in target.columns if not column.generated}
    if twice := sorted({name for name in rows.columns if rows.columns.count(name) > 1}):
        raise SettingsError(f"{rows.place}: names column {twice[0]} twice")
    for name in rows.columns:
        if name not in known and name not in OF_HISTORY:
            hint = did_you_mean(name, [*known, *OF_HISTORY])
            raise SettingsError(f"{rows.place}: table {target.name} has no column {name}{hint}")
    for name in (*target.key, "valid_from"):
        if name not in rows.columns:
            raise SettingsError(f"{rows.place}: lacks column {name}")


@dataclass(frozen=True)
class _Import:
    """One import, inside a transaction."""

    connection: Connection
    schema: str
    target: Target
    rows: Rows
    base: datetime

    @property
    def begins(self) -> str:
        return RECORDED_AT if self.target.fact else OF_HISTORY[0]

    @property
    def relation(self) -> sql.Identifier:
        """The table that holds the versions."""
        name = self.target.name if self.target.fact else versions_name(self.target.name)
        return sql.Identifier(self.schema, name)

    @property
    def names(self) -> dict[str, sql.Composable]:
        columns = [name for name in self.rows.columns if name not in OF_HISTORY]
        own = [column.name for column in self.target.columns if not column.numbered or column.name in columns]
        return {
            "table": sql.Identifier(self.schema, self.target.name),
            "relation": self.relation,
            "begins": sql.Identifier(self.begins),
            "key": each(f"{_ROW}.{{0}}", self.target.key),
            "lacks_key": sql.SQL("i.valid_from IS NULL OR {}").format(
                sql.SQL(" OR ").join(
                    sql.SQL("{} IS NULL").format(each(f"{_ROW}.{{0}}", [name])) for name in self.target.key
                )
            ),
            "same_key": self.target.same_key(_ROW, "s"),
            "same_key_later": self.target.same_key(_ROW, "f"),
            "shown": each(f"{_ROW}.{{0}}", own),
            "live_shown": each("s.{0}", own),
            "columns": identifiers(columns),
            "values": each(f"{_ROW}.{{0}}", columns),
        }

    def execute(self, file: str) -> int:
        """Run a statement of ``sql/``; returns the number of rows."""
        query = statement(file)
        parameters = {"base": self.base} if "%(" in query.as_string() else None
        return self.connection.execute(query.format(**self.names), parameters).rowcount

    def undo(self) -> None:
        """Remove the versions of an earlier import. Refuse to if others are there."""
        begins = sql.Identifier(self.begins)
        early = sql.SQL("{begins} < {base} AND {begins} > '-infinity'")
        parts = {
            "begins": begins,
            "relation": self.relation,
            "is_early": early.format(begins=begins, base=sql.Literal(self.base)),
        }
        ends = sql.Identifier("superseded_at" if self.target.fact else OF_HISTORY[1])
        row = self.connection.execute(
            "SELECT imported_from FROM etl.model WHERE schema_name = %s AND table_name = %s",
            (self.schema, self.target.name),
        ).fetchone()
        if row and row[0]:
            for text in (
                "DELETE FROM {relation} WHERE {begins} < %(base)s AND {ends} <= %(base)s",
                "DELETE FROM {relation} WHERE {begins} <= %(base)s AND deleted",
                "UPDATE {relation} SET {begins} = %(base)s WHERE {is_early}",
            ):
                query = sql.SQL(text).format(**parts, ends=ends)
                self.connection.execute(query, {"base": self.base})
            return
        query = sql.SQL("SELECT EXISTS (SELECT FROM {relation} WHERE {is_early})").format(**parts)
        if self.connection.execute(query).fetchone() == (True,):
            raise SettingsError(
                f"table {self.target.name} already has versions from before its first batch, of {self.base};"
                " nothing was imported"
            )

    def stage(self) -> int:
        """Cast the rows into ``pg_temp.imported``; returns how many."""
        self.connection.execute(
            sql.SQL(
                "CREATE TEMP TABLE import_texts (line bigint, texts text[]) ON COMMIT DROP;"
                " CREATE TEMP TABLE imported (line bigint, valid_from timestamptz, valid_to timestamptz,"
                " content {}) ON COMMIT DROP"
            ).format(self.names["table"])
        )
        with (
            self.connection.cursor() as cursor,
            cursor.copy("COPY pg_temp.import_texts (line, texts) FROM STDIN") as copy,
        ):
            for line, texts in self.rows.rows:
                copy.write_row((line, list(texts)))
        query = statement("warehouse/import_rows.sql").format(
            typed=self._casts(), untyped=_UNTYPED, chosen=bisection.CHOSEN
        )
        read, _ = bisection.run(
            self.connection, query.as_string(self.connection), _UNTYPED, NO_LIMIT, of_values=True
        )
        self._refuse(
            "SELECT t.line, p.reason FROM pg_temp.postgres_rejections AS p"
            " INNER JOIN pg_temp.import_texts AS t ON p.place = t.ctid ORDER BY t.line LIMIT 1"
        )
        conflicts = statement("warehouse/import_conflicts.sql").format(**self.names)
        self._refuse(conflicts, {"base": self.base})
        rows_of_others = sql.SQL(
            "SELECT i.line, 'the table has a row with this key that the pipeline did not load' FROM"
            " pg_temp.imported AS i INNER JOIN {relation} AS s ON {same_key}"
            " AND s.{begins} = '-infinity' LIMIT 1"
        )
        self._refuse(rows_of_others.format(**self.names))
        return read

    def _casts(self) -> sql.Composed:
        """The values of an imported row, from its texts."""
        texts = {
            name: sql.SQL("s.texts[{}]").format(sql.Literal(number))
            for number, name in enumerate(self.rows.columns, 1)
        }
        null = sql.SQL("NULL")
        rows = self.connection.execute(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self.names["table"].as_string(self.connection),),
        ).fetchall()
        content = [template(f"{{}}::{kind}").format(texts.get(str(name), null)) for name, kind in rows]
        begins, ends = (sql.SQL("{}::timestamptz").format(texts.get(name, null)) for name in OF_HISTORY)
        row = sql.SQL("ROW({})::{}").format(sql.SQL(", ").join(content), self.names["table"])
        return sql.SQL("s.line, {}, {}, {}").format(begins, ends, row)

    def _refuse(self, query: str | sql.Composed, parameters: dict[str, object] | None = None) -> None:
        """Raise SettingsError for the line and reason that a query returns."""
        text = template(query) if isinstance(query, str) else query
        if row := self.connection.execute(text, parameters).fetchone():
            raise SettingsError(f"{self.rows.place}:{row[0]}: {row[1]}; nothing was imported")

    def apply(self) -> tuple[int, int, datetime]:
        """Add the versions; returns their number, that of extended ones, and the first begin."""
        self.execute("warehouse/import_versions.sql")
        if not self.target.fact and not self.target.bridge:
            self.execute("warehouse/import_into_dimension.sql")
        added = self.execute(
            "warehouse/import_into_fact.sql" if self.target.fact else "warehouse/import_into_versions.sql"
        )
        extended = self.execute("warehouse/import_continued.sql")
        row = self.connection.execute(
            "UPDATE etl.model SET imported_from = (SELECT min(begun) FROM pg_temp.imported_versions)"
            " WHERE schema_name = %s AND table_name = %s RETURNING imported_from",
            (self.schema, self.target.name),
        ).fetchone()
        if not row or row[0] is None:
            raise SettingsError(f"{self.rows.place}: has no rows")
        return added, extended, row[0]  # type: ignore[return-value]
