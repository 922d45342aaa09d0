"""How the versions of a table in a branch differ from those of the live table."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from psycopg import sql

from pipeline.lake.manifest import Manifest
from pipeline.models.target import Target
from pipeline.postgres import Connection, count_in, each, statement, template
from pipeline.recovery.rebuilt_tables import RebuiltTable
from pipeline.review.live import Changed, Difference, Row


class TableDifference(Difference):
    """How the versions of a branch differ from those of the live table.

    ``new_columns`` are columns that the live table lacks. ``is_new``: there is no live table. ``rejected``
    counts the rows that the branch rejects, and ``personal`` are columns that personal ones feed.
    """

    table: str
    is_new: bool = False
    versions: int = 0
    rejected: int = 0
    new_columns: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the branch has other versions than the live table."""
        return self.is_new or bool(self.added or self.changed or self.missing)


def difference(
    connection: Connection,
    schema: str,
    branch: str,
    target: Target,
    live: Collection[str] | None,
    base: Manifest,
    first: int,
) -> TableDifference:
    """Compare by key and begin with the live table in ``schema``, whose columns are ``live``; None if new.

    Versions that ended before the ``base`` batch are not expected.
    """
    rejected = connection.execute(
        "SELECT count(*) FROM etl.rejected WHERE schema_name = %s AND table_name = %s AND NOT resolved",
        (branch, target.name),
    )
    name = target.versions_table
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(branch, name))
    found = TableDifference(
        table=target.name, versions=count_in(connection.execute(query)), rejected=count_in(rejected)
    )
    if live is None:
        return found.model_copy(update={"is_new": True, "added": found.versions})
    rebuilt = RebuiltTable(connection, target, name, schema, branch, base.snapshot_at, target.span)
    rebuilt.align()
    pair = _Pair(connection, target, live, rebuilt.table, rebuilt.rebuilt, *target.span)
    return found.model_copy(
        update={
            "new_columns": tuple(pair.new_columns),
            "added": pair.count("branch_added.sql", base),
            "changed": pair.count("branch_changed.sql", base),
            "missing": pair.count("branch_missing.sql", base),
            "first_added": tuple(pair.rows("branch_added.sql", base, first)),
            "first_changed": tuple(pair.changed(base, first)),
            "first_missing": tuple(pair.rows("branch_missing.sql", base, first)),
        }
    )


@dataclass(frozen=True)
class _Pair:
    """A live table t and the branch's table s, whose versions are compared by key and begin."""

    connection: Connection
    target: Target
    live: Collection[str]
    table: sql.Identifier
    rebuilt: sql.Identifier
    begin: str
    end: str

    @property
    def new_columns(self) -> list[str]:
        return [column.name for column in self.target.columns if column.name not in self.live]

    @property
    def _compared(self) -> list[str]:
        """The columns that versions may differ in, without defaults that vary."""
        varying = {column.name for column in self.target.columns if column.varies}
        own = [each.name for each in self.target.columns if each.name not in {*varying, *self.target.key}]
        return [*own, self.end, "deleted"]

    def _side(self, alias: str) -> list[sql.Composable]:
        return [
            template("NULL")
            if alias == "t" and name in self.new_columns
            else template(f"{alias}.{{}}::text").format(sql.Identifier(name))
            for name in self._compared
        ]

    def _filled(self, file: str, base: Manifest, columns: sql.Composable, limit: int | None) -> sql.Composed:
        comma = template(", ")
        query = statement(f"review/{file}").format(
            columns=columns,
            table=self.table,
            branch=self.rebuilt,
            same_key=self.target.same_key("t", "s"),
            begins=sql.Identifier(self.begin),
            ends=sql.Identifier(self.end),
            base=sql.Literal(base.snapshot_at),
            old=comma.join(self._side("t")),
            new=comma.join(self._side("s")),
        )
        if limit is None:
            return query
        key = each("t.{0}" if file == "branch_missing.sql" else "s.{0}", self.target.key)
        return template("{} ORDER BY {}, 1 LIMIT {}").format(query, key, limit)

    def count(self, file: str, base: Manifest) -> int:
        return count_in(self.connection.execute(self._filled(file, base, template("count(*)"), None)))

    def rows(self, file: str, base: Manifest, first: int) -> Iterator[Row]:
        """The first versions that only one side has."""
        alias = "t" if file == "branch_missing.sql" else "s"
        known = [name for name in self._compared if alias == "s" or name not in self.new_columns]
        names = [self.begin, *self.target.key, *known]
        listed = each(f"{alias}.{{0}}::text", names)
        for row in self.connection.execute(self._filled(file, base, listed, first)).fetchall():
            yield dict(zip(names, cast(Sequence[str | None], row), strict=True))

    def changed(self, base: Manifest, first: int) -> Iterator[Changed]:
        """The first versions that differ, with the columns in which they do."""
        comma, names = template(", "), [*self.target.key, self.begin]
        sides = [comma.join(self._side(alias)) for alias in ("t", "s")]
        listed = comma.join([each("s.{0}::text", names), *sides])
        for row in self.connection.execute(
            self._filled("branch_changed.sql", base, listed, first)
        ).fetchall():
            texts = cast(Sequence[str | None], row)
            of_key, values = texts[: len(names)], texts[len(names) :]
            old, new = values[: len(self._compared)], values[len(self._compared) :]
            yield Changed(
                key=dict(zip(names, of_key, strict=True)),
                columns=_differing(dict(zip(self._compared, zip(old, new, strict=True), strict=True))),
            )


def _differing(
    pairs: Mapping[str, tuple[str | None, str | None]],
) -> dict[str, tuple[str | None, str | None]]:
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}
