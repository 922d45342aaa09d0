"""A table beside its rebuilt copy: gives the table the rows of the copy, with as few changes as possible."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from pipeline.errors import WarehouseError
from pipeline.messages import message
from pipeline.models.target import Target, versions_name
from pipeline.postgres import Connection, each, identifiers, statement, texts
from pipeline.warehouse import bindings, integrity, references
from pipeline.warehouse.table import Table

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RebuiltTable:
    """A table and the rebuilt one, which begins with the batch of the time ``base``.

    ``span`` names the columns that say when a version begins and ends, if the table holds versions.
    """

    connection: Connection
    target: Target
    name: str
    schema: str
    copy_schema: str
    base: datetime
    span: tuple[str, str] | None = None

    @property
    def is_versions(self) -> bool:
        """Whether it is the table beside a dimension or bridge, whose columns compute nothing."""
        return self.name != self.target.name

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def rebuilt(self) -> sql.Identifier:
        return sql.Identifier(self.copy_schema, self.name)

    @property
    def same_key(self) -> sql.Composed:
        """A condition on t and s."""
        same = self.target.same_key("t", "s")
        if self.span is None:
            return sql.Composed([same])
        return sql.SQL("{} AND t.{} = s.{}").format(same, *[sql.Identifier(self.span[0])] * 2)

    def align(self) -> None:
        """Let versions that were present before the base batch begin when they did, not at that batch."""
        if self.span:
            begin, end = map(sql.Identifier, self.span)
            query = statement("warehouse/align_restated.sql").format(
                table=self.table, rebuilt=self.rebuilt, same_key=self.target.same_key("t", "s"),
                begins=begin, ends=end, is_mark=sql.Literal(self.target.fact),
            )  # fmt: skip
            self.connection.execute(query, {"base": self.base})

    def insert_and_update(self) -> tuple[int, int]:
        """Insert rows that are missing, update those that differ; returns how many of each."""
        self.align()
        written = self._columns()
        names = {"table": self.table, "rebuilt": self.rebuilt, "same_key": self.same_key}
        old, new = each("t.{0}", written), each("s.{0}", written)
        updated = self.connection.execute(
            statement("warehouse/update_restated.sql").format(
                **names, assignments=each("{0} = s.{0}", written), old=old, new=new
            )
        ).rowcount
        added = self.connection.execute(
            statement("warehouse/insert_restated.sql").format(**names, columns=identifiers(written), new=new)
        ).rowcount
        self._number()
        return added, updated

    def _number(self) -> None:
        """Give inserted versions of a dimension the defaults that its rows have in the live table."""
        varying = [column.name for column in self.target.columns if column.varies]
        if self.is_versions and varying:
            query = statement("warehouse/number_restated.sql").format(
                versions=self.table,
                table=sql.Identifier(self.schema, self.target.name),
                assignments=each("{0} = s.{0}", varying),
                old=each("t.{0}", varying),
                same_key=self.target.same_key("t", "s"),
            )
            self.connection.execute(query)

    def delete(self, is_loaded: sql.Composable) -> int:
        """Delete rows that the rebuilt table lacks and that meet a condition on t.

        Versions that ended before the base batch stay, marks of rows deleted before it, and rows that the
        pipeline did not load, which are valid from -infinity.
        """
        if self.span:
            begin, end = map(sql.Identifier, self.span)
            is_loaded = sql.SQL("{} AND t.{} > '-infinity' AND {}").format(
                is_loaded, begin, self._is_since_base(begin, end)
            )
        query = statement("warehouse/delete_restated.sql").format(
            table=self.table, rebuilt=self.rebuilt, same_key=self.same_key, is_loaded=is_loaded
        )
        return self.connection.execute(query).rowcount

    def since_base(self, columns: Sequence[str]) -> sql.Composed:
        """The live rows as a rebuild has them, which knows nothing of the time before the base batch."""
        if self.span:
            begin, end = map(sql.Identifier, self.span)
            begun = sql.SQL("GREATEST({0}, {1}) AS {0}").format(begin, self.base)
            shown = [begun if name == self.span[0] else sql.Identifier(name) for name in columns]
            return sql.SQL("(SELECT {} FROM {} AS t WHERE {}) AS live").format(
                sql.SQL(", ").join(shown), self.table, self._is_since_base(begin, end)
            )
        return sql.SQL(
            "(SELECT t.* FROM {table} AS t WHERE NOT EXISTS (SELECT FROM {versions} AS s WHERE {same_key})"
            " OR EXISTS (SELECT FROM {versions} AS s WHERE {same_key}"
            " AND COALESCE(s.valid_to > {base}, true))) AS live"
        ).format(
            table=self.table,
            versions=sql.Identifier(self.schema, versions_name(self.name)),
            same_key=self.same_key,
            base=self.base,
        )

    def _is_since_base(self, begin: sql.Identifier, end: sql.Identifier) -> sql.Composed:
        """The condition that a version t did not end before the base batch.

        A fact's deleted row has a version of its own, which has no end; a dimension's last version is marked.
        """
        return sql.SQL(
            "COALESCE(t.{end} > {base}, true) AND NOT ({is_fact} AND t.deleted AND t.{begin} <= {base})"
        ).format(begin=begin, end=end, base=self.base, is_fact=self.target.fact)

    def _columns(self) -> list[str]:
        both = columns_of_both(self.connection, self.rebuilt, self.table, self.target)
        generated = {column.name for column in self.target.columns if column.generated}
        return both if self.is_versions else [name for name in both if name not in generated]


def write(rebuilt: RebuiltTable, live: Table) -> tuple[int, int]:
    """Insert and update rows of the ``live`` table; returns how many of each.

    Its references are proven in one scan if Postgres need not check them row by row. Raises WarehouseError
    for rows that break a constraint which the rebuilt table lacks, as a reference to a table of others.
    """
    try:
        return _write(rebuilt, live)
    except psycopg.IntegrityError as error:
        raise WarehouseError(
            f"warehouse: table {rebuilt.name}: {message(error)}; correct the model or drop the constraint;"
            " nothing was changed"
        ) from None


def _write(rebuilt: RebuiltTable, live: Table) -> tuple[int, int]:
    rows = bindings.count_rows(live.connection, rebuilt.copy_schema, [rebuilt.name])[rebuilt.name]
    if references.lock(live, rows):
        with live.connection.transaction() as savepoint, references.unchecked(live.connection, proven=True):
            written = rebuilt.insert_and_update()
            if not integrity.count_missing_references(live):
                return written
            raise psycopg.Rollback(savepoint)  # Postgres then names the reference
    return rebuilt.insert_and_update()


def rebuilt_tables(
    connection: Connection, schema: str, copy_schema: str, target: Target, base: datetime
) -> Iterator[RebuiltTable]:
    """A table and, of a dimension or bridge, that of its versions."""
    if not target.fact:
        yield RebuiltTable(connection, target, target.name, schema, copy_schema, base)
    yield RebuiltTable(connection, target, target.versions_table, schema, copy_schema, base, target.span)


def delete_missing(
    connection: Connection, schema: str, copy_schema: str, target: Target, base: datetime
) -> int:
    """Delete what the rebuilt tables lack; rows of a dimension stay where something refers to them."""
    rows, *versions = rebuilt_tables(connection, schema, copy_schema, target, base)
    is_loaded: sql.Composable = sql.SQL("true")
    if not target.fact:
        is_loaded = sql.SQL("EXISTS (SELECT FROM {} AS s WHERE {} AND s.valid_from > '-infinity')").format(
            sql.Identifier(schema, versions_name(target.name)), target.same_key("t", "s")
        )
    deleted = 0
    try:
        with connection.transaction():
            deleted = rows.delete(is_loaded)
    except psycopg.errors.ForeignKeyViolation as error:
        _logger.warning(
            "%s: rows that its model no longer returns stay, as %s", target.name, error.diag.constraint_name
        )
    for table in versions:
        table.delete(sql.SQL("true"))
    return deleted


def columns_of_both(
    connection: Connection, ours: sql.Identifier, theirs: sql.Identifier, target: Target
) -> list[str]:
    """The columns to compare: those that both tables have, without defaults that vary."""
    varying = [column.name for column in target.columns if column.varies]
    query = (
        "SELECT a.attname::text FROM pg_attribute AS a INNER JOIN pg_attribute AS b USING (attname)"
        " WHERE a.attrelid = to_regclass(%s) AND b.attrelid = to_regclass(%s) AND a.attnum > 0"
        " AND NOT (a.attisdropped OR b.attisdropped) AND a.attname <> ALL (%s) ORDER BY a.attnum"
    )
    return texts(connection, query, (ours.as_string(), theirs.as_string(), varying))
