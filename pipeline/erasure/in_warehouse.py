"""Erase in the warehouse: in all versions and rejected rows, in one transaction with the row's entry."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from pipeline.erasure.effects import Effect
from pipeline.erasure.rewriting import moved_state
from pipeline.errors import ModelError
from pipeline.lake import erasures
from pipeline.lake.erasures import Entry
from pipeline.lake.manifest import Files, StateDelta
from pipeline.models.target import Target
from pipeline.postgres import Connection, count_in, each, statement, transaction
from pipeline.warehouse import bindings, bisection, rejected
from pipeline.warehouse.ledger import lock_for_load
from pipeline.warehouse.table import compared


def require_acceptance(url: str, schema: str, effects: Iterable[Effect], known_since: datetime) -> None:
    """Raise ModelError if a table does not accept the values without the erased ones; nothing is changed.

    The lake's first batch is that of the time ``known_since``.
    """
    with transaction(url, "warehouse") as connection:
        lock_for_load(connection, schema)
        for effect in effects:
            try:
                if not effect.replays:
                    _erase(connection, schema, effect, known_since)
            except psycopg.Error as error:
                if not bisection.is_rejection(error):
                    raise
                raise ModelError(
                    f"warehouse: table {effect.target.name} does not accept an erased value:"
                    f" {error.diag.message_primary}; change the table so that it does, and forget again"
                ) from None
        raise psycopg.Rollback


def erase_in_warehouse(
    url: str,
    schema: str,
    entry: Entry,
    effects: Sequence[Effect],
    moved: Mapping[str, Files],
    frozen: Collection[str],
    known_since: datetime,
) -> list[str]:
    """Erase in all tables that are not refilled, and update the paths of rewritten objects in etl.model.

    The ``frozen`` tables that are not erased lose their stored results.
    Returns the tables of which rows with such values were rejected: without them they may not have been.
    """
    with transaction(url, "warehouse") as connection:
        lock_for_load(connection, schema)
        in_place = [effect for effect in effects if not effect.replays]
        rejecting = [
            effect.target.name for effect in in_place if _erase(connection, schema, effect, known_since)
        ]
        _move_results(connection, schema, moved)
        _forget_results(
            connection, schema, {each.target.name for each in effects if each.replays} & {*frozen}
        )
        erasures.write_to_warehouse(connection, schema, entry)
    return rejecting


def _erase(connection: Connection, schema: str, effect: Effect, known_since: datetime) -> int:
    """Erase in a table and its rejected rows; returns how many of these."""
    _stage(connection, effect)
    for name, begins, ends in _versions(effect.target):
        removed = _erase_in_table(connection, schema, effect, name, begins, ends, known_since)
        bindings.record_removed(connection, schema, effect.target, removed)
    values = {"schema": schema, "table_name": effect.target.name}
    rows = connection.execute(statement("warehouse/erase_rejected.sql"), values).rowcount
    connection.execute("DROP TABLE pg_temp.erased, pg_temp.erased_texts")
    return rows


def _stage(connection: Connection, effect: Effect) -> None:
    """Stage keys, old and new values; texts that the warehouse cannot hold as its rejected rows show them.

    Postgres rejects a key as bytes, the transform with escapes.
    """
    encoding = rejected.encoding_of(connection)
    connection.execute(statement("warehouse/bisection.sql"))
    connection.execute(
        "CREATE TEMP TABLE erased_texts (place integer, part text, name text, text bytea) ON COMMIT DROP"
    )
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.erased_texts FROM STDIN") as copy:
        for place, row in enumerate(effect.pairs.to_pylist()):
            for part, texts in row.items():
                for name, text in json.loads(texts or "{}").items():
                    copy.write_row([place, part, name, None if text is None else text.encode()])
                    if part == "key" and text is not None:
                        copy.write_row(
                            [place, "escaped", name, str(rejected.escaped(text, encoding)).encode()]
                        )
    connection.execute(statement("warehouse/stage_erased.sql"))


def _versions(target: Target) -> Iterator[tuple[str, str | None, str | None]]:
    """The tables with a model's rows, and the columns with the start and end of their versions."""
    if not target.fact:
        yield target.name, None, None
    yield target.versions_table, *target.span


def _erase_in_table(
    connection: Connection,
    schema: str,
    effect: Effect,
    name: str,
    begins: str | None,
    ends: str | None,
    known_since: datetime,
) -> int:
    """Erase in one table; returns how many of its versions are gone, as they no longer differ from others."""
    key, old = (
        sql.SQL("jsonb_build_object({})").format(each("{1}, w.{0}::text", names))
        for names in (effect.target.key, effect.columns)
    )
    parts: dict[str, sql.Composable] = {
        "relation": sql.Identifier(schema, name),
        "key": key,
        "old": old,
        "assignments": each("{0} = r.{0}", effect.columns),
        "is_older": _is_older(schema, effect.target, begins, known_since),
    }
    connection.execute(statement("warehouse/erase.sql").format(**parts))
    if not (begins and ends):
        return 0
    content = [column.name for column in effect.target.columns if not column.numbered]
    parts |= {"begins": sql.Identifier(begins), "ends": sql.Identifier(ends)}
    shown = compared(effect.target, "w", content)
    # A fact's deletion is a version of its own, a dimension's marks the last one.
    parts["content"] = sql.SQL("ROW({}, w.deleted)").format(shown) if effect.target.fact else shown
    return count_in(connection.execute(statement("warehouse/merge_equal_versions.sql").format(**parts)))


def _is_older(schema: str, target: Target, begins: str | None, known_since: datetime) -> sql.Composed:
    """The condition that a version w began before a moment; a dimension's row began with its last version."""
    if begins:
        return sql.SQL("w.{} < {}").format(sql.Identifier(begins), known_since)
    begun = sql.SQL("SELECT FROM {} AS v WHERE {} AND v.{} >= {}").format(
        sql.Identifier(schema, target.versions_table), target.same_key("v", "w"),
        sql.Identifier(target.span[0]), known_since,
    )  # fmt: skip
    return sql.SQL("NOT EXISTS ({})").format(begun)


def _move_results(connection: Connection, schema: str, moved: Mapping[str, Files]) -> None:
    """Replace the paths of rewritten objects in the models' results."""
    rows = connection.execute(
        "SELECT table_name, result FROM etl.model WHERE schema_name = %s AND result IS NOT NULL", (schema,)
    ).fetchall()
    for name, result in rows:
        state = tuple(map(StateDelta.model_validate, result if isinstance(result, list) else []))
        if (new := moved_state(state, moved)) != state:
            connection.execute(
                "UPDATE etl.model SET result = %s WHERE schema_name = %s AND table_name = %s",
                (Jsonb([run.model_dump() for run in new]), schema, name),
            )


def _forget_results(connection: Connection, schema: str, names: Collection[str]) -> None:
    """Let the models' tables be restated if these return, as their stored results are removed."""
    connection.execute(
        "UPDATE etl.model SET result = NULL, to_restate = true"
        " WHERE schema_name = %s AND table_name = ANY(%s)",
        (schema, list(names)),
    )
