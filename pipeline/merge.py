"""Bring one table's rows of a batch into the warehouse, inside the load's transaction.

Into an empty table the rows go straight, its indexes and constraints being made after
them; into any other they are staged and merged by set operations. To take away a reference locks
the table that it points to against everybody, so rows go straight only where that one is filled by
the same load, too. Constraints are
checked here and not left to the table, because a row that breaks one is to be set aside
and not to end the load.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import psycopg
from psycopg import sql

from pipeline import postgres
from pipeline.batches import Manifest
from pipeline.buckets import Bucket, File
from pipeline.copying import copy_in
from pipeline.errors import WarehouseError
from pipeline.messages import message
from pipeline.postgres import Connection, identifiers, statement
from pipeline.source import Column
from pipeline.transform import Output
from pipeline.types import Frozen
from pipeline.warehouse import RECORDED_AT, Operator, Reference, Rule, Target, key_json, version_index

_REJECTED = [Column(name=name, type="text") for name in ("key", "reason", "row")]
# Categories of pg_type whose equality is that of their values: boolean, number, date and time.
_COMPARABLE = "BND"


class Counts(Frozen):
    """What a load did to one warehouse table; ``changed`` counts versions or updates."""

    table: str
    read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    rejected: int = 0

    @property
    def story(self) -> str:
        """What happened, in words."""
        said = ("added", "changed", "deleted", "rejected")
        parts = [f"{number:,} {word}" for word in said if (number := getattr(self, word))]
        return ", ".join(parts) or "nothing new"


class Merge:
    """One table's rows of one batch on their way in."""

    def __init__(
        self,
        connection: Connection,
        schema: str,
        target: Target,
        output: Output,
        manifest: Manifest,
        filled: frozenset[str],
    ) -> None:
        """``filled`` are the tables that this load has filled before."""
        self.connection = connection
        self.target = target
        self.output = output
        self.manifest = manifest
        self.filled = filled
        self.schema = schema
        self.table = sql.Identifier(schema, target.name)
        self.columns = [column.name for column in output.columns]
        self.values = [name for name in self.columns if name not in target.key]

    def run(self, processed: Bucket, progress: Callable[[int], None]) -> Counts:
        """Do all of it; ``progress`` is told how many rows have been copied so far."""
        with self._refusals():
            unfit = self._set_aside_unfit(processed)
            if self.fills:
                added, broken = self._fill(processed, progress)
                changed = deleted = 0
            else:
                self._execute("stage_rows.sql")
                broken = self._stage(processed, progress)
                added, changed = self._add_versions() if self.target.fact else self._upsert()
                deleted = self._delete()
            self._resolve()
        return Counts(
            table=self.target.name,
            read=self.output.rows + self.output.rejected_rows,
            added=added,
            changed=changed,
            deleted=deleted,
            rejected=unfit + broken,
        )

    def _fill(self, processed: Bucket, progress: Callable[[int], None]) -> tuple[int, int]:
        """Copy straight into the empty table; returns rows added and rows set aside.

        Adding a reference to a filled table checks it for all rows at once, at a small
        part of what checking row by row costs.
        """
        with self._without_indexes():
            with self._numbers_at_hand():
                copied = self._copy(self.output.files, self.output.columns, self.table, processed, progress)
            copied += self._offer_again()
        broken = self._add_constraints_or_set_aside()
        self.connection.execute(sql.SQL("ANALYZE {}").format(self.table))
        return copied - broken, broken

    def _stage(self, processed: Bucket, progress: Callable[[int], None]) -> int:
        """Copy into the stage and take out what breaks a constraint; returns how many."""
        self._copy(self.output.files, self.output.columns, self.stage, processed, progress)
        self._offer_again()
        self.connection.execute(sql.SQL("ANALYZE {}").format(self.stage))
        return self._set_aside_broken()

    def _offer_again(self) -> int:
        return 0 if self.output.complete else self._execute("offer_again.sql").rowcount

    def _add_versions(self) -> tuple[int, int]:
        row = self._execute("add_versions.sql").fetchone()
        return (int(str(row[0])), int(str(row[1]))) if row else (0, 0)

    def _upsert(self) -> tuple[int, int]:
        changed = self._execute("update_dimension.sql").rowcount if self.values else 0
        return self._execute("insert_dimension.sql").rowcount, changed

    def _delete(self) -> int:
        """Facts that the source no longer has; a dimension's rows stay, facts refer to them."""
        if not (self.target.fact and self.output.complete and self.manifest.reconcile):
            return 0
        return self._execute("mark_deleted.sql").rowcount

    def _resolve(self) -> None:
        self._execute("resolve_accepted.sql")
        if self.output.complete:
            self._execute("resolve_gone.sql")

    def _set_aside_unfit(self, processed: Bucket) -> int:
        self.connection.execute("DROP TABLE IF EXISTS rows_that_do_not_fit")
        self.connection.execute(statement("stage_rejected.sql"))
        unfit = sql.Identifier("rows_that_do_not_fit")
        copied = self._copy(self.output.rejected, _REJECTED, unfit, processed, lambda _: None)
        if copied:
            self._execute("set_aside_unfit.sql")
        return copied

    def _set_aside_broken(self) -> int:
        """Take out rows that break a constraint, and those that refer to them; returns how many."""
        if not self._reasons:
            return 0
        total = found = self._execute("set_aside_broken.sql").rowcount
        while found and any(self._refers_to_itself(reference) for reference in self.target.references):
            found = self._execute("set_aside_broken.sql").rowcount
            total += found
        return total

    def _refers_to_itself(self, reference: Reference) -> bool:
        return (reference.to_schema, reference.to_table) == (self.schema, self.target.name)

    @cached_property
    def _reasons(self) -> list[sql.Composable]:
        """For each reference and rule an expression that is NULL, or says what is wrong with a row."""
        yielded = set(self.columns)
        missing = [self._missing(each) for each in self.target.references if yielded.issuperset(each.columns)]
        broken = [_broken(rule) for rule in self.target.rules if yielded.issuperset(rule.columns)]
        return [*missing, *broken]

    def _missing(self, reference: Reference) -> sql.Composable:
        """That a row refers to one that is not there, in words; its values stand in the row itself."""
        pairs = [
            {"ours": sql.Identifier(ours), "theirs": sql.Identifier(theirs), "equals": equality.call}
            for ours, theirs, equality in zip(
                reference.columns, reference.to_columns, reference.equality, strict=True
            )
        ]
        same_row = sql.SQL(" AND ").join(
            sql.SQL("d.{theirs} {equals} s.{ours}").format(**pair) for pair in pairs
        )
        known = sql.SQL("SELECT FROM {} AS d WHERE {}")
        found = known.format(sql.Identifier(reference.to_schema, reference.to_table), same_row)
        if self._refers_to_itself(reference):
            found = sql.SQL("{} UNION ALL {}").format(found, known.format(self.stage, same_row))
        return sql.SQL("CASE WHEN {given} AND NOT EXISTS ({found}) THEN {reason}::text END").format(
            given=sql.SQL(" AND ").join(sql.SQL("s.{ours} IS NOT NULL").format(**pair) for pair in pairs),
            found=found,
            reason=f"{', '.join(reference.columns)} is not in {reference.to_table}",
        )

    @contextmanager
    def _without_indexes(self) -> Iterator[None]:
        """Take constraints and the history's index away for the block; give its rows their time."""
        for constraint in self.target.constraints:
            self._alter(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(constraint.name)))
        if self.target.fact:
            time = sql.Literal(self.manifest.snapshot_at)
            self._alter(sql.SQL("ALTER COLUMN {} SET DEFAULT {}").format(sql.Identifier(RECORDED_AT), time))
            self._execute("drop_version_index.sql")
        yield
        if self.target.fact:
            self._alter(sql.SQL("ALTER COLUMN {} DROP DEFAULT").format(sql.Identifier(RECORDED_AT)))
            self._execute("version_index.sql")

    @contextmanager
    def _numbers_at_hand(self) -> Iterator[None]:
        """Let sequences give the session a number for each row at once: one by one they slow COPY by a third.

        As many as there are rows, so that no gap is left.
        """
        alter = sql.SQL("ALTER SEQUENCE {} CACHE {}")
        sequences = [
            (sql.Identifier(str(schema), str(name)), sql.Literal(cached))
            for schema, name, cached in self._execute("sequences.sql").fetchall()
        ]
        for sequence, _ in sequences:
            self.connection.execute(alter.format(sequence, max(1, self.output.rows)))
        yield
        for sequence, cached in sequences:
            self.connection.execute(alter.format(sequence, cached))

    def _add_constraints_or_set_aside(self) -> int:
        """Demand of all rows what the table demands; returns how many had to be set aside for it."""
        try:
            with self.connection.transaction():
                self._add_constraints()
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.CheckViolation):
            broken = self._set_aside_broken()
            self._add_constraints()
            return broken
        return 0

    def _add_constraints(self) -> None:
        for constraint in self.target.constraints:
            name, definition = sql.Identifier(constraint.name), postgres.template(constraint.definition)
            self._alter(sql.SQL("ADD CONSTRAINT {} {}").format(name, definition))

    def _alter(self, action: sql.Composable) -> None:
        self.connection.execute(sql.SQL("ALTER TABLE {} {}").format(self.table, action))

    @cached_property
    def stage(self) -> sql.Identifier:
        """Where the rows go first; an empty table takes them itself."""
        return self.table if self.fills else sql.Identifier(f"stage_{self.target.name}"[:63])

    @cached_property
    def fills(self) -> bool:
        """Whether rows go straight into the table, which had none when this was first asked."""
        return self.output.rows > 0 and self._refers_to_filled and self._empty

    @property
    def _refers_to_filled(self) -> bool:
        return all(
            self._refers_to_itself(each) or (each.to_schema == self.schema and each.to_table in self.filled)
            for each in self.target.references
        )

    @property
    def _empty(self) -> bool:
        query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(self.table)
        return self.connection.execute(query).fetchone() == (True,)

    def _copy(
        self,
        files: Sequence[File],
        columns: Sequence[Column],
        into: sql.Composable,
        processed: Bucket,
        progress: Callable[[int], None],
    ) -> int:
        """Stream rows of files into a table; returns how many."""
        if not files:
            return 0
        return copy_in(self.connection, into, columns, processed.dataset(files), progress)

    def _execute(self, file: str) -> psycopg.Cursor[tuple[object, ...]]:
        """Run a statement of ``pipeline/sql`` with this table's names filled in."""
        text = statement(file)
        bound = "%(" in text.as_string()
        query = text.format(
            **{name: _escaped(value) if bound else value for name, value in self._names.items()}
        )
        parameters = {
            "table_name": self.target.name,
            "qualified_name": self.table.as_string(),
            "batch": self.manifest.batch_id,
            "at": self.manifest.snapshot_at,
        }
        return self.connection.execute(query, parameters if bound else None)

    @cached_property
    def _names(self) -> dict[str, sql.Composable]:
        s, t = sql.SQL("s"), sql.SQL("t")
        return {
            "table": self.table,
            "stage": self.stage,
            "index": sql.Identifier(version_index(self.target)),
            "qualified_index": sql.Identifier(self.schema, version_index(self.target)),
            "columns": identifiers(self.columns),
            "staged_columns": _each("s.{0}", self.columns),
            "offered_columns": _each("o.{0}", self.columns),
            "key": identifiers(self.target.key),
            "key_json": key_json(self.target.key, s),
            "latest_key_json": key_json(self.target.key, t),
            "row_json": _each("{1}::text, s.{0}::text", self.columns),
            "same_key": sql.SQL(" AND ").join(map(self._same, self.target.key)),
            "differs": self._differs(),
            "assignments": _each("{0} = s.{0}", self.values),
            "reasons": sql.SQL(", ").join(self._reasons or [sql.SQL("NULL")]),
        }

    def _same(self, name: str) -> sql.Composed:
        """Whether t and s have the same value in a column, as its type's indexes compare it."""
        column = self.target.column(name)
        equality = column.equality if column else Operator()
        return sql.SQL("t.{0} {1} s.{0}").format(sql.Identifier(name), equality.call)

    def _differs(self) -> sql.Composable:
        """Whether t and s differ: by text where a type has no equality, or a loose one."""
        plain, text = "{side}.{{0}}", '{side}.{{0}}::text COLLATE "C"'
        sides = []
        for side in ("t", "s"):
            parts = []
            for name in self.values:
                column = self.target.column(name)
                comparable = column is not None and column.category in _COMPARABLE and column.is_builtin
                parts.append(_each((plain if comparable else text).format(side=side), [name]))
            sides.append(sql.SQL("ROW({})").format(sql.SQL(", ").join(parts)))
        return sql.SQL("{} IS DISTINCT FROM {}").format(*sides) if self.values else sql.SQL("false")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn what the warehouse says of a value into one line that names the table, and not the value."""
        try:
            yield
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
            raise WarehouseError(f"warehouse: table {self.target.name}: {message(error)}") from None


def _broken(rule: Rule) -> sql.Composable:
    """Which rule a row breaks; one that is NULL for it counts as kept, as in Postgres."""
    return sql.SQL("CASE WHEN NOT {} THEN {}::text END").format(
        postgres.template(f"({rule.expression})"), f"breaks the rule {rule.name}, {rule.definition}"
    )


def _escaped(names: sql.Composable) -> sql.Composable:
    """The same where parameters are bound: psycopg looks for them in names, too."""
    return postgres.template(names.as_string().replace("%", "%%"))


def _each(pattern: str, names: Iterable[str], between: str = ", ") -> sql.Composed:
    """The pattern once for each name: {0} its identifier, {1} its text."""
    parts = [postgres.template(pattern).format(sql.Identifier(name), sql.Literal(name)) for name in names]
    return postgres.template(between).join(parts)
