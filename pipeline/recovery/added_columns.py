"""The cheap way to restate a fact whose model only gained columns: fill these in place, version by version.

It is exact where each version is one row of one batch. Whatever else happened, such as a row that was
rejected and retried, or a batch in which nothing but a new column changed, is left to the other way.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipeline.errors import ModelError
from pipeline.lake.manifest import Manifest
from pipeline.models.library import Model, parse
from pipeline.models.output import Loaded, Output, columns_of
from pipeline.models.target import RECORDED_AT, Target
from pipeline.postgres import Connection, each, identifiers, statement
from pipeline.recovery.batches import Batches
from pipeline.recovery.replays import Replayer
from pipeline.warehouse import bindings, bisection, ledger
from pipeline.warehouse.copying import copy_in

_logger = logging.getLogger(__name__)
_ADDED = sql.Identifier("pg_temp", "added")


def added(text: str | None, new: Model) -> tuple[str, ...]:
    """The columns that a fact's model yields and did not by this text, if it is the same otherwise."""
    try:
        old = parse(new.path, text or "")
    except ModelError:
        return ()
    if new.kind != "fact" or _options(old) != _options(new) or len(new.reads) != 1:
        return ()
    before, after = _select(old), _select(new)
    items, more = before.pop("select_list"), after.pop("select_list")
    kept = [item for item in more if item in items]
    if before != after or kept != items:
        return ()
    names = [_name(item) for item in more if item not in items]
    return tuple(names) if all(names) else ()


def _options(model: Model) -> tuple[object, ...]:
    return model.kind, model.key, model.untracked, model.keeps_deleted, model.appends, model.unstable


def _select(model: Model) -> dict[str, Any]:
    """The outermost SELECT of a model's syntax tree."""
    (statement_,) = json.loads(model.tree)["statements"]
    node: dict[str, Any] = statement_["node"]
    return node if "select_list" in node else node | {"select_list": []}


def _name(item: dict[str, Any]) -> str:
    """The name of a column of a SELECT; empty where it is not evident."""
    names = item.get("column_names") or [""]
    return item.get("alias") or (names[-1] if item.get("class") == "COLUMN_REF" else "")


def fill_added(
    connection: Connection, schema: str, replayer: Replayer, known: Batches, names: Sequence[str]
) -> dict[str, int]:
    """Restate the facts whose models only gained columns in place, as far as that is exact.

    Returns how many versions each has.
    """
    last, done = known.manifests[-1].batch_id, dict[str, int]()
    texts = connection.execute(
        "SELECT table_name, model_sql FROM etl.model"
        " WHERE schema_name = %s AND table_name = ANY(%s) AND batch_id = %s",
        (schema, list(names), last),
    ).fetchall()
    for name, text in ((str(name), None if text is None else str(text)) for name, text in texts):
        target, columns = replayer.targets[name], added(text, replayer.models[name])
        if not columns:
            continue
        filled = AddedColumns(connection, schema, replayer, target, columns).fill(known)
        if filled is None:
            _logger.info("%s: %s cannot be filled in place; restating it", name, ", ".join(columns))
            continue
        _logger.info("%s: %s filled in place", name, ", ".join(columns))
        loaded = Loaded(fingerprint=replayer.models[name].fingerprint)
        ledger.record_model(connection, schema, last, target, loaded)
        bindings.bind(connection, schema, last, {name: target}, {})
        done[name] = filled
    return done


@dataclass(frozen=True)
class AddedColumns:
    """Columns of a fact to be filled in place, inside the caller's transaction."""

    connection: Connection
    schema: str
    replayer: Replayer
    target: Target
    names: tuple[str, ...]

    def fill(self, batches: Batches) -> int | None:
        """Fill the columns of every version; returns how many, or None with nothing changed."""
        if not batches.is_complete or not self._is_plain():
            return None
        try:
            with self.connection.transaction():
                return self._fill(batches.manifests)
        except _NotPlain:
            return None
        except psycopg.Error as error:
            if not bisection.is_rejection(error):
                raise
            return None

    def _is_plain(self) -> bool:
        """Whether no row of the table was ever rejected, and no version imported."""
        row = self.connection.execute(
            "SELECT NOT (EXISTS (SELECT FROM etl.rejected AS r WHERE r.schema_name = m.schema_name"
            " AND r.table_name = m.table_name) OR m.imported_from IS NOT NULL) FROM etl.model AS m"
            " WHERE m.schema_name = %(schema)s AND m.table_name = %(table)s",
            {"schema": self.schema, "table": self.target.name},
        ).fetchone()
        return row == (True,)

    def _fill(self, manifests: Sequence[Manifest]) -> int:
        self._execute("warehouse/stage_added.sql")
        loaded: Loaded | None = None
        for manifest in map(self.replayer.unread_tables(self.target.name).added_to, manifests):
            output = self.replayer.output(self.target.name, manifest, loaded)
            if output:
                self._copy(manifest, output)
                loaded = Loaded(fingerprint=output.fingerprint, result=output.result)
        self.connection.execute(sql.SQL("ANALYZE {}").format(_ADDED))
        if self._execute("warehouse/find_unmatched_added.sql").fetchone():
            raise _NotPlain
        filled = self._execute("warehouse/fill_added.sql").rowcount
        self._execute("warehouse/fill_added_deleted.sql")
        return filled

    def _copy(self, manifest: Manifest, output: Output) -> None:
        if output.rejected or output.result is not None:
            raise _NotPlain
        default = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
            _ADDED, sql.Identifier(RECORDED_AT), sql.Literal(manifest.snapshot_at)
        )
        self.connection.execute(default)
        if output.files:
            columns = columns_of(self.target, [*self.target.key, *self._fresh])
            rows = self.replayer.processed.dataset(output.files)
            copy_in(self.connection, _ADDED, columns, rows, lambda _: None)

    @property
    def _fresh(self) -> list[str]:
        return [name for name in self.names if name not in self.target.key]

    def _execute(self, file: str) -> psycopg.Cursor[tuple[object, ...]]:
        return self.connection.execute(
            statement(file).format(
                table=sql.Identifier(self.schema, self.target.name),
                columns=identifiers([*self.target.key, *self._fresh]),
                key=each("s.{0}", self.target.key),
                added=each("s.{0}", self._fresh),
                assignments=each("{0} = s.{0}", self._fresh),
                same_key=self.target.same_key("t", "s"),
            )
        )


class _NotPlain(Exception):
    """A version is not one row of one batch."""
