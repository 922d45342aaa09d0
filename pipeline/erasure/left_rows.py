"""Where a row's values are in versions that ended before the lake's first batch: only the warehouse has them.

In rows that have the row's key, or refer to a row that has it, all columns are erased that the erased ones
feed. In other rows those are erased that show one of its values, which may be another person's.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import pyarrow as pa
from psycopg import sql

from pipeline.columns import duckdb_type, length_of
from pipeline.duck import quote, session
from pipeline.erasure.effects import PAIRS, Effect, null_refused
from pipeline.erasure.fed_tables import Fed, Key
from pipeline.erasure.search import SHORTEST
from pipeline.lake import erasures
from pipeline.lake.erasures import Erasure
from pipeline.models.library import Model
from pipeline.models.target import Target, TargetColumn
from pipeline.postgres import Connection, each, statement

# Categories of pg_type: texts, truth values, and those whose values hold no text.
_TEXT, _TRUTH, _WHOLE = "S", "B", "DINT"
_NO_VALUE = sql.SQL("false")


@dataclass
class Search:
    """A search in the transaction of a connection, for versions from before ``known_since``.

    ``texts`` are the row's values; those of its own rows are added. In ``frozen`` tables versions do not end
    when the rows leave the lake. ``unshared`` are the added ones that no
    other row of their table contains.
    """

    connection: Connection
    schema: str
    models: Mapping[str, Model]
    erased: Erasure
    known_since: datetime
    texts: set[str]
    frozen: Collection[str]
    unshared: dict[str, set[str]] = field(default_factory=dict)

    def effects(self, tables: Sequence[Fed], known: Iterable[Effect], keys: Collection[Key]) -> list[Effect]:
        """The effects on other keys than those that are ``known``; ``keys`` are of the row in the lake."""
        older = [table for table in tables if table.columns and self._has_older(table)]
        if not older:
            return []
        self.connection.execute(statement("warehouse/bisection.sql"))
        own = [table for table in tables if table.is_own]
        found = {*keys, *(key for table in own for key in self._keys(table))}
        self._stage("left_key", map(json.dumps, found))
        for table in own:
            self._remember(table)
        self._stage("left_text", self.texts)
        effects = list(known)
        left = [
            self._effect(table, [each_ for each_ in effects if each_.target.name == table.target.name])
            for table in older
        ]
        return [effect for effect in left if effect]

    def _has_older(self, table: Fed) -> bool:
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS w WHERE w.{} < {})").format(
            self._relation(table), sql.Identifier(table.target.span[0]), self.known_since
        )
        return self.connection.execute(query).fetchone() == (True,)

    def _stage(self, name: str, texts: Iterable[str]) -> None:
        """Stage texts by COPY, which no server logs."""
        raw = sql.Identifier(f"{name}_bytes")
        self.connection.execute(sql.SQL("CREATE TEMP TABLE {} (text bytea) ON COMMIT DROP").format(raw))
        copying = sql.SQL("COPY pg_temp.{} FROM STDIN").format(raw)
        with self.connection.cursor() as cursor, cursor.copy(copying) as copy:
            for text in sorted(texts):
                copy.write_row([text.removeprefix("\0").encode()])
        readable = (
            "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT pg_temp.readable(text) AS text FROM pg_temp.{}"
        )
        self.connection.execute(sql.SQL(readable).format(sql.Identifier(name), raw))

    def _keys(self, table: Fed) -> list[Key]:
        """The row's keys, as a table of its own shows them."""
        names = [f"k{number}" for number in range(len(table.keys[0]))]
        query = sql.SQL("SELECT DISTINCT {} FROM {}").format(
            each("{0}::text", table.keys[0]), self._relation(table)
        )
        rows = self.connection.execute(query).fetchall()
        shown = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], _texts(names))
        typed = ", ".join(
            f"TRY_CAST({name} AS {duckdb_type(erasures.key_type(column))}) AS {quote(column.name)}"
            for name, column in zip(names, self.erased.key, strict=True)
        )
        with session() as connection:
            connection.register("shown", shown)
            marked = self.erased.with_mark(f"(SELECT {', '.join(names)}, {typed} FROM shown)")  # noqa: S608
            own = connection.sql(marked).filter(f"{quote(erasures.MARK)} IS NOT NULL")
            return [tuple(map(str, row)) for row in own.project(", ".join(names)).fetchall()]

    def _relation(self, table: Fed) -> sql.Identifier:
        return sql.Identifier(self.schema, table.target.versions_table)

    def _remember(self, table: Fed) -> None:
        """Add the texts of a table's versions that have the row's key."""
        if not table.columns:
            return
        texts = {
            "texts": each("w.{0}::text", table.columns), "relation": self._relation(table),
            "is_own": _has_key(table.keys), "mark": self.erased.entries[0].mark,
        }  # fmt: skip
        rows = self.connection.execute(statement("warehouse/own_texts.sql").format(**texts)).fetchall()
        self.texts |= {str(text) for text, _ in rows}
        self.unshared[table.target.name] = {str(text) for text, is_shared in rows if not is_shared}

    def _effect(self, table: Fed, known: Sequence[Effect]) -> Effect | None:
        """The effect on a table, if any; it is refilled if a value is of its key or refers to another row."""
        if any(effect.replays for effect in known):
            return None
        taken = {_same(str(key)) for effect in known for key in effect.pairs["key"].to_pylist()}
        erased = dict[tuple[str, str], set[str]]()
        for key, old, names in self._versions(table):
            if _same(key) not in taken:
                erased.setdefault((key, old), set()).update(names or ())
        hit = set[str]().union(*erased.values())
        return self._of(table, erased, replays=_decides(table.target, hit)) if hit else None

    def _versions(self, table: Fed) -> list[tuple[str, str, list[str] | None]]:
        """All older versions of the keys that are found: key and values as JSON, columns to erase."""
        by_key = _has_key(table.keys)
        shows = [_shows(table.target, name) for name in table.columns]
        found = sql.SQL(" OR ").join([by_key] if table.is_own else [by_key, *shows])
        hits = [
            sql.SQL("CASE WHEN {} OR {} THEN {} END").format(by_key, shown, name)
            for name, shown in zip(table.columns, shows, strict=True)
        ]
        key, old = (
            sql.SQL("jsonb_build_object({})").format(each("{1}, w.{0}::text", names))
            for names in (table.target.key, table.columns)
        )
        query = statement("warehouse/find_left.sql").format(
            relation=self._relation(table),
            key=key,
            old=old,
            begins=sql.Identifier(table.target.span[0]),
            known_since=self.known_since,
            is_ended=self._has_ended(table.target),
            is_found=sql.SQL("({})").format(found),
            columns=sql.SQL("array_remove(ARRAY[{}]::text[], NULL)").format(sql.SQL(", ").join(hits)),
        )
        return cast(list[tuple[str, str, list[str] | None]], self.connection.execute(query).fetchall())

    def _has_ended(self, target: Target) -> sql.Composable:
        """The condition that a version w had ended, or may have; a fact's deletion ends as it begins."""
        begins, ends = map(sql.Identifier, target.span)
        begun = sql.SQL("w.{} < {}").format(begins, self.known_since)
        if target.name in self.frozen:
            return begun
        ended = sql.SQL("w.{} <= {}").format(ends, self.known_since)
        deleted = sql.SQL("w.deleted AND w.{} <= {}").format(begins, self.known_since)
        return sql.SQL("COALESCE({} OR {}, false)").format(ended, deleted if target.fact else _NO_VALUE)

    def _of(self, table: Fed, erased: Mapping[tuple[str, str], Collection[str]], *, replays: bool) -> Effect:
        hit = set[str]().union(*erased.values())
        new = {} if replays else {name: self._new(table.target, name) for name in hit}
        pairs = []
        for (key, old), names in erased.items():
            values = json.loads(old)
            changed = values | {name: new.get(name) for name in names if values[name] is not None}
            pairs.append(
                {
                    "key": _json(table.target.key, json.loads(key)),
                    "old": _json(table.columns, values),
                    "new": _json(table.columns, changed),
                }
            )
        return Effect(table.target, table.columns, pa.Table.from_pylist(pairs, PAIRS), replays, has_left=True)

    def _new(self, target: Target, name: str) -> str | None:
        """The value of an erased column. Raises ModelError if its table does not allow NULL."""
        column = _column(target, name)
        if column.category == _TEXT and not column.labels:
            return self.erased.entries[0].mark[: length_of(column.type)]
        if column.required:
            raise null_refused(self.models[target.name], target, name)
        return None


def _column(target: Target, name: str) -> TargetColumn:
    return next(column for column in target.columns if column.name == name)


def _decides(target: Target, names: Collection[str]) -> bool:
    """Whether one of the columns is of the key or of a reference."""
    return not {*names}.isdisjoint(
        {*target.key, *(name for each_ in target.references for name in each_.columns)}
    )


def _json(names: Sequence[str], values: Mapping[str, str | None]) -> str:
    """Values as the JSON object that DuckDB makes of them, to which it compares those of stored objects."""
    return json.dumps({name: values[name] for name in names}, ensure_ascii=False, separators=(",", ":"))


def _texts(names: Iterable[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _same(key: str) -> tuple[tuple[str, str], ...]:
    """A key of one spelling."""
    return tuple(sorted(json.loads(key).items()))


def _has_key(keys: Iterable[Key]) -> sql.Composed:
    """The condition that a version w has the row's key in one of its roles."""
    found: list[sql.Composable] = [
        sql.SQL("jsonb_build_array({}) IN (SELECT k.text::jsonb FROM pg_temp.left_key AS k)").format(
            each("w.{0}::text", key)
        )
        for key in keys
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(found or [_NO_VALUE]))


def _shows(target: Target, name: str) -> sql.Composable:
    """The condition that a column of a version w is one of the row's values, or contains a long one."""
    column = _column(target, name)
    if column.category == _TRUTH:
        return _NO_VALUE
    text = sql.SQL("w.{}::text").format(sql.Identifier(name))
    long = sql.SQL("length(t.text) >= {}").format(SHORTEST)
    contains = sql.SQL("{} AND strpos({}, t.text) > 0").format(long, text)
    if column.category in _WHOLE:
        contains = sql.SQL("{} AND t.text = {}").format(long, text)
    elif column.category == _TEXT:
        contains = sql.SQL("({} OR t.text = {})").format(contains, text)
    return sql.SQL("EXISTS (SELECT FROM pg_temp.left_text AS t WHERE {})").format(contains)
