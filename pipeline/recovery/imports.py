"""Import versions from before the first batch, so that a warehouse that replaces another keeps its history.

The rows become ordinary versions. Those that the first batch continues begin earlier, the others end with it.
The lake does not hold them: after a rebuild they are imported again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import cast

import psycopg
from psycopg import sql

from pipeline.columns import Frozen
from pipeline.errors import SettingsError
from pipeline.messages import message
from pipeline.models.target import OF_HISTORY, Target
from pipeline.postgres import Connection, each, identifiers, statement, template
from pipeline.recovery.imported_rows import Rows
from pipeline.warehouse import bindings, bisection, ledger
from pipeline.warehouse.limits import NO_LIMIT
from pipeline.warehouse.mismatches import find_mismatches
from pipeline.warehouse.table import compared
from pipeline.words import did_you_mean

_UNTYPED = sql.Identifier("pg_temp", "import_texts")
_ROW = "(i.content)"
# Types that ignore what a text has beyond them.
_WITHOUT_TIME_OR_ZONE = ("date", "timestamp without time zone")


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


def import_versions(connection: Connection, schema: str, target: Target, rows: Rows) -> Imported:
    """Import versions into a table, in place of an earlier import; changes nothing if it raises.

    Raises SettingsError, with the line, for a row that cannot be a version, and if others have changed the
    table: the import would hide that from the next run.
    """
    _check_columns(target, rows)
    batch_id = ledger.lock_for_load(connection, schema)
    row = connection.execute(
        "SELECT (SELECT min(snapshot_at) FROM etl.batch WHERE schema_name = %(schema)s), imported_from"
        " FROM etl.model WHERE schema_name = %(schema)s AND table_name = %(table)s",
        {"schema": schema, "table": target.name},
    ).fetchone()
    if batch_id is None or row is None or row[0] is None:
        raise SettingsError(f"table {target.name} has no batch yet; run `make run` first")
    base, imported_from = cast(tuple[datetime, datetime | None], row)
    for mismatch in find_mismatches(connection, schema, [target.name]):
        raise SettingsError(f"{mismatch.reason}; run `make run` first")
    try:
        with connection.transaction():
            table = _Import(connection, schema, target, rows, base)
            read = table.stage()
            table.undo() if imported_from else table.refuse_early()
            added, extended, since = table.apply()
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
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
    def _begins(self) -> str:
        return self.target.span[0]

    @property
    def _has_rows(self) -> bool:
        """Whether the table has rows beside its versions that facts may refer to."""
        return not self.target.fact and not self.target.bridge

    @property
    def _relation(self) -> sql.Identifier:
        """The table that holds the versions."""
        return sql.Identifier(self.schema, self.target.versions_table)

    @cached_property
    def _names(self) -> dict[str, sql.Composable]:
        columns = [name for name in self.rows.columns if name not in OF_HISTORY]
        own = [each for each in self.target.columns if not each.numbered or each.name in columns]
        shown = [each.name for each in own]
        return {
            "table": sql.Identifier(self.schema, self.target.name),
            "relation": self._relation,
            "begins": sql.Identifier(self._begins),
            "ends": sql.Identifier(self.target.span[1]),
            "key": each(f"{_ROW}.{{0}}", self.target.key),
            "lacks_key": sql.SQL("i.valid_from IS NULL OR {}").format(
                sql.SQL(" OR ").join(
                    sql.SQL("{} IS NULL").format(each(f"{_ROW}.{{0}}", [name])) for name in self.target.key
                )
            ),
            "same_key": self.target.same_key(_ROW, "s"),
            "same_key_later": self.target.same_key(_ROW, "f"),
            "same_key_in_table": self.target.same_key("t", "s"),
            "same_key_imported": self.target.same_key(_ROW, "t"),
            "imported_shown": compared(self.target, _ROW, shown),
            "live_shown": compared(self.target, "s", shown),
            "columns": identifiers(columns),
            "values": each(f"{_ROW}.{{0}}", columns),
            "assignments": each(f"{{0}} = {_ROW}.{{0}}", [each.name for each in own if not each.generated]),
        }

    def _execute(self, file: str) -> int:
        """Run a statement of ``sql/``; returns the number of rows."""
        query = statement(file)
        parameters = {"base": self.base} if "%(" in query.as_string() else None
        return self.connection.execute(query.format(**self._names), parameters).rowcount

    def refuse_early(self) -> None:
        """Refuse to import beside versions from before the first batch that no import has made."""
        query = sql.SQL(
            "SELECT EXISTS (SELECT FROM {relation} WHERE {begins} < {base} AND {begins} > '-infinity')"
        )
        if self.connection.execute(query.format(**self._names, base=self.base)).fetchone() == (True,):
            raise SettingsError(
                f"table {self.target.name} already has versions from before its first batch, of {self.base};"
                " nothing was imported"
            )

    def undo(self) -> None:
        """Remove the versions of an earlier import, and the rows that only it has brought."""
        if self._has_rows:
            self._execute("warehouse/import_again.sql")
        self._execute("warehouse/undo_import.sql")
        if self.target.fact:
            self._execute("warehouse/undo_import_marks.sql")
        self._execute("warehouse/undo_import_begins.sql")

    def stage(self) -> int:
        """Cast the rows into ``pg_temp.imported``; returns how many."""
        self.connection.execute(
            sql.SQL(
                "CREATE TEMP TABLE import_texts (line bigint, texts text[]) ON COMMIT DROP;"
                " CREATE TEMP TABLE imported (line bigint, valid_from timestamptz, valid_to timestamptz,"
                " content {}) ON COMMIT DROP"
            ).format(self._names["table"])
        )
        with (
            self.connection.cursor() as cursor,
            cursor.copy("COPY pg_temp.import_texts (line, texts) FROM STDIN") as copy,
        ):
            for line, texts in self.rows.rows:
                copy.write_row((line, list(texts)))
        query = statement("warehouse/type_rows.sql").format(
            stage=sql.Identifier("pg_temp", "imported"),
            columns=identifiers(["line", "valid_from", "valid_to", "content"]),
            typed=self._casts(),
            untyped=_UNTYPED,
            chosen=bisection.CHOSEN,
        )
        read, _ = bisection.run(
            self.connection, query.as_string(self.connection), _UNTYPED, NO_LIMIT, of_values=True
        )
        self._refuse(
            "SELECT t.line, p.reason FROM pg_temp.postgres_rejections AS p"
            " INNER JOIN pg_temp.import_texts AS t ON p.place = t.ctid ORDER BY t.line LIMIT 1"
        )
        self._refuse_cut_values()
        conflicts = statement("warehouse/import_conflicts.sql").format(**self._names)
        self._refuse(conflicts, {"base": self.base})
        rows_of_others = sql.SQL(
            "SELECT i.line, 'the table has a row with this key that the pipeline did not load' FROM"
            " pg_temp.imported AS i INNER JOIN {relation} AS s ON {same_key}"
            " AND s.{begins} = '-infinity' LIMIT 1"
        )
        self._refuse(rows_of_others.format(**self._names))
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
            (self._names["table"].as_string(self.connection),),
        ).fetchall()
        content = [template(f"{{}}::{kind}").format(texts.get(str(name), null)) for name, kind in rows]
        begins, ends = (sql.SQL("{}::timestamptz").format(texts.get(name, null)) for name in OF_HISTORY)
        row = sql.SQL("ROW({})::{}").format(sql.SQL(", ").join(content), self._names["table"])
        return sql.SQL("s.line, {}, {}, {}").format(begins, ends, row)

    def _refuse_cut_values(self) -> None:
        """Refuse values that the casts to their types cut off or round."""
        reasons = list(self._cuts())
        if reasons:
            self._refuse(
                sql.SQL(
                    "SELECT s.line, f.reason FROM pg_temp.import_texts AS s CROSS JOIN LATERAL"
                    " (SELECT COALESCE({}) AS reason) AS f WHERE f.reason IS NOT NULL ORDER BY s.line LIMIT 1"
                ).format(sql.SQL(", ").join(reasons))
            )

    def _cuts(self) -> Iterator[sql.Composed]:
        """For each column whose type may cut a value off: NULL, or the reason why it does."""
        types = self.connection.execute(
            statement("warehouse/column_types.sql"),
            {"qualified_name": self._names["table"].as_string(self.connection)},
        ).fetchall()
        for name, plain, declared in types:
            column = self.target.column(str(name))
            if not column or not column.is_builtin or name not in self.rows.columns:
                continue
            text = sql.SQL("s.texts[{}]").format(self.rows.columns.index(str(name)) + 1)
            whole = str(plain)
            applies: sql.Composable = sql.SQL("true")
            if plain in _WITHOUT_TIME_OR_ZONE:
                whole, applies = "timestamptz", sql.SQL("{} LIKE '%:%'").format(text)
            elif plain == declared:
                continue
            yield sql.SQL("CASE WHEN {} AND {}::{} IS DISTINCT FROM {}::{} THEN {}::text END").format(
                applies, text, template(whole), text, template(str(declared)),
                f"column {name}: the value does not fit {declared}",
            )  # fmt: skip

    def _refuse(self, query: str | sql.Composed, parameters: dict[str, object] | None = None) -> None:
        """Raise SettingsError for the line and reason that a query returns."""
        text = template(query) if isinstance(query, str) else query
        if row := self.connection.execute(text, parameters).fetchone():
            raise SettingsError(f"{self.rows.place}:{row[0]}: {row[1]}; nothing was imported")

    def apply(self) -> tuple[int, int, datetime]:
        """Add the versions; returns their number, that of extended ones, and the first begin."""
        self._execute("warehouse/import_versions.sql")
        if self._has_rows:
            self._execute("warehouse/import_into_dimension.sql")
        added = self._execute(
            "warehouse/import_into_fact.sql" if self.target.fact else "warehouse/import_into_versions.sql"
        )
        extended = self._execute("warehouse/import_continued.sql")
        row = self.connection.execute(
            "UPDATE etl.model SET imported_from = (SELECT min(begun) FROM pg_temp.imported_versions)"
            " WHERE schema_name = %s AND table_name = %s RETURNING imported_from",
            (self.schema, self.target.name),
        ).fetchone()
        if not row or row[0] is None:
            raise SettingsError(f"{self.rows.place}: has no rows")
        return added, extended, row[0]  # type: ignore[return-value]
