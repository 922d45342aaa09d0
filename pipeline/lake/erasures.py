"""The list of erased rows, as salted hashes of their keys, and the SQL that erases them.

Each entry is stored in the raw bucket and in the warehouse, so that either can be restored alone. Later
batches read the rows of an entry without their personal values.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, cast

import duckdb
import pyarrow as pa
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipeline.columns import (
    Column,
    Frozen,
    base_of,
    duckdb_type,
    has_spellings,
    identity,
    length_of,
    numeric_of,
)
from pipeline.duck import literal, quote, session
from pipeline.errors import SettingsError
from pipeline.lake.buckets import Bucket
from pipeline.postgres import Connection, texts, transaction
from pipeline.source.hashing import HashKey
from pipeline.source.table_names import parts

FORGOTTEN = "_forgotten"
_TEXTS = frozenset(["text", "character varying", "character", "bpchar", "citext"])
MARK = "erased as"
# Digits of an entry's hash in the text that replaces a value.
_MARK_DIGITS = 12
# In the certificate of an entry that was left: the columns that models declared as personal then.
LEFT = "left"
# A certificate of an earlier release does not say so: it was stored at the end.
_IS_COMPLETE = "certificate IS NOT NULL AND (certificate ->> 'complete')::boolean IS NOT FALSE"


class Entry(Frozen):
    """A forgotten row of a source table, identified by a salted hash of its key."""

    table: str
    salt: str
    key_hash: str
    forgotten_at: datetime

    @property
    def path(self) -> str:
        """Its path in the raw bucket."""
        return f"{FORGOTTEN}/{self.key_hash}.json"

    @property
    def mark(self) -> str:
        """The text that replaces its values."""
        return f"erased {self.key_hash[:_MARK_DIGITS]}"


class Erasure(Frozen):
    """The columns to erase in the rows of a table whose keys match the entries.

    Methods take a relation or a subquery as ``rows`` and return a DuckDB query.
    """

    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]

    @property
    def mark(self) -> str:
        """An expression: the text that replaces the values of a forgotten row, NULL for other rows."""
        by_salt: dict[tuple[str, str], list[str]] = {}
        for entry in self.entries:
            by_salt.setdefault((entry.table, entry.salt), []).append(literal(entry.key_hash))
        cases = [
            f"WHEN {(key_hash := _key_hash(self.key, *salted))} IN ({', '.join(hashes)})"
            f" THEN 'erased ' || left({key_hash}, {_MARK_DIGITS})"
            for salted, hashes in by_salt.items()
        ]
        return f"CASE {' '.join(cases)} END"

    def erase(self, names: Sequence[str], rows: str) -> str:
        """The named columns of rows, with forgotten rows erased."""
        erased = {column.name: _erased_value(column) for column in self.columns}
        listed = ", ".join(f"{erased.get(name, quote(name))} AS {quote(name)}" for name in names)
        return f"SELECT {listed} FROM ({self.with_mark(rows)}) AS marked"  # noqa: S608

    def with_made_up_values(self, names: Sequence[str], rows: str) -> str:
        """Erased rows with made-up values in place of the erased ones."""
        made_up = {column.name: _made_up_value(column) for column in self.columns}
        return f"SELECT {', '.join(made_up.get(name, quote(name)) for name in names)} FROM {rows}"  # noqa: S608

    def forgotten_rows(self, names: Sequence[str], rows: str, *, erased: bool = False) -> str:
        """Forgotten rows that still have values to erase or, with ``erased``, those that have none."""
        listed = ", ".join(map(quote, names))
        differs = " OR ".join(
            f"{quote(column.name)} IS DISTINCT FROM {_erased_value(column)}"
            for column in self.columns
            if column.name in names
        )
        return (
            f"SELECT {listed} FROM ({self.with_mark(rows)}) AS marked"  # noqa: S608
            f" WHERE {quote(MARK)} IS NOT NULL AND ({differs or 'false'}) = {not erased}"
        )

    def with_mark(self, rows: str) -> str:
        """Rows with their mark in the column ``MARK``."""
        return f"SELECT *, {self.mark} AS {quote(MARK)} FROM {rows}"  # noqa: S608


def _erased_value(column: Column) -> str:
    """The value of a column after erasure: NULL stays NULL, text becomes the mark, other types NULL."""
    name = quote(column.name)
    replacement = "NULL"
    if base_of(column.type).partition("(")[0] in _TEXTS:
        length = length_of(column.type)
        replacement = quote(MARK) if length is None else f"left({quote(MARK)}, {length})"
    return f"CASE WHEN {quote(MARK)} IS NULL OR {name} IS NULL THEN {name} ELSE {replacement} END"


def _made_up_value(column: Column) -> str:
    """A value that differs from the erased value of a column, and that models can compute with."""
    name = quote(column.name)
    if base_of(column.type).partition("(")[0] in _TEXTS:
        return f"COALESCE('x' || {name}, 'x') AS {name}"
    text = column.labels[0] if column.labels else _made_up_text(column.declared or column.type)
    return f"CAST({literal(text)} AS {duckdb_type(column.type)}) AS {name}"


def _made_up_text(type_name: str) -> str:
    """A value of a type as Postgres prints it; x for types that models only pass on or compare as text."""
    if type_name.endswith("[]"):
        return f"{{{_made_up_text(type_name[:-2])}}}"
    type_ = duckdb_type(type_name)
    if type_.startswith("TIMESTAMP"):
        return "2000-01-01 12:00:00"
    if type_ == "VARCHAR":
        is_number = type_name == "numeric" or numeric_of(type_name)
        return "1" if is_number else {"json": "{}", "jsonb": "{}"}.get(type_name, "x")
    return {"DATE": "2000-01-01", "TIME": "12:00:00", "BOOLEAN": "true"}.get(type_, "1")


def _key_hash(key: Sequence[Column], table: str, salt: str) -> str:
    parts = ", ".join(f"CAST({identity(quote(column.name), key_type(column))} AS VARCHAR)" for column in key)
    return f"sha256({literal(salt + _hashed_name(table))} || chr(31) || concat_ws(chr(31), {parts}))"


def _hashed_name(table: str) -> str:
    """The name of a table in hashes of keys: as earlier releases have it, which knew the main schema only."""
    schema, name = parts(table)
    return name if schema is None else f"{quote(schema)}.{quote(name)}"


def entries_of(entries: Iterable[Entry], table: str) -> tuple[Entry, ...]:
    """The entries of a table; one of an earlier release has its name without double quotes."""
    names = {table, parts(table)[1] if parts(table)[0] is None else table}
    return tuple(each.model_copy(update={"table": table}) for each in entries if each.table in names)


def key_type(column: Column) -> str:
    """The type by which a key is hashed: the same whether a numeric is carried as text, for a NaN, or not.

    A key of which equal values have several spellings is hashed as it is spelled, as by earlier releases.
    """
    type_ = column.declared if column.declared and not column.hashed_by else column.type
    return "text" if has_spellings(type_) else type_


def erase(rows: Iterable[pa.RecordBatch], erasure: Erasure) -> Iterator[pa.RecordBatch]:
    """Rows of a table with forgotten rows erased."""
    for batch in rows:
        with session() as connection:
            connection.register("read rows", batch)
            query = erasure.erase(batch.schema.names, quote("read rows"))
            table = connection.sql(query).to_arrow_table().cast(batch.schema)
        yield from table.to_batches()


def entry(
    table: str, key: Sequence[Column], texts: Sequence[str], entries: Iterable[Entry], moment: datetime,
    hash_key: HashKey | None,
) -> Entry:  # fmt: skip
    """The entry of a row, from the values of its key as text. It takes the salt of existing entries.

    Raises SettingsError where the values do not fit the key.
    """
    if len(texts) != len(key):
        raise SettingsError(
            f"KEY: the key of {table} is {', '.join(column.name for column in key)}; give one value for each"
        )
    salt = next((each.salt for each in entries), None) or secrets.token_hex(16)
    values = []
    for column, text in zip(key, texts, strict=True):
        if column.hashed_by and hash_key:
            text = hash_key.hash(text)  # noqa: PLW2901
        type_ = duckdb_type(key_type(column))
        if column.declared and text.lower() == "nan":
            text, type_ = "NaN", "VARCHAR"  # noqa: PLW2901
        values.append(f"CAST({literal(text)} AS {type_}) AS {quote(column.name)}")
    with session() as connection:
        try:
            query = f"SELECT {_key_hash(key, table, salt)} FROM (SELECT {', '.join(values)}) AS key_values"  # noqa: S608
            ((key_hash,),) = connection.execute(query).fetchall()
        except duckdb.Error:
            types = ", ".join(f"{column.name} {column.type}" for column in key)
            raise SettingsError(f"KEY: does not fit the key of {table}, which is {types}") from None
    return Entry(table=table, salt=salt, key_hash=str(key_hash), forgotten_at=moment)


def in_lake(raw: Bucket, known: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries in the raw bucket, by key hash; those that are ``known`` are listed, and not read."""
    paths = {PurePath(path).stem: path for path in raw.list(FORGOTTEN) if path.endswith(".json")}
    return {
        key_hash: known.get(key_hash) or Entry.model_validate_json(raw.read_text(path))
        for key_hash, path in paths.items()
    }


def write_to_lake(raw: Bucket, new: Entry) -> None:
    """Write an entry into the raw bucket; it is in effect from then on."""
    raw.write_text(new.path, new.model_dump_json())


def in_warehouse(connection: Connection, schema: str) -> dict[str, Entry]:
    """The entries of a schema of the warehouse, by key hash."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        cursor.execute(
            "SELECT table_name AS table, salt, key_hash, forgotten_at FROM etl.forgotten"
            " WHERE schema_name = %s",
            (schema,),
        )
        return {each.key_hash: each for each in cursor}


def certified(connection: Connection, schema: str) -> set[str]:
    """The key hashes of the entries whose erasure is complete."""
    query = f"SELECT key_hash FROM etl.forgotten WHERE schema_name = %s AND {_IS_COMPLETE}"  # noqa: S608
    return set(texts(connection, query, (schema,)))


def left(connection: Connection, schema: str) -> dict[str, list[str]]:
    """The entries that were left, by key hash, with the columns that models declared as personal then."""
    rows = connection.execute(
        "SELECT key_hash, certificate -> %(left)s FROM etl.forgotten"
        " WHERE schema_name = %(schema)s AND certificate ? %(left)s",
        {"left": LEFT, "schema": schema},
    ).fetchall()
    return {str(key_hash): cast(list[str], columns) for key_hash, columns in rows}


def write_to_warehouse(connection: Connection, schema: str, new: Entry) -> None:
    """Write an entry into the warehouse, in the transaction that erases its rows there."""
    connection.execute(
        "INSERT INTO etl.forgotten (schema_name, table_name, salt, key_hash, forgotten_at)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (schema, new.table, new.salt, new.key_hash, new.forgotten_at),
    )


def begin(url: str, schema: str, again: Entry) -> Mapping[str, Any] | None:
    """Make an entry incomplete until it is certified; returns what an interrupted erasure found before."""
    with transaction(url, "warehouse") as connection:
        values = schema, again.key_hash
        connection.execute(
            "UPDATE etl.forgotten SET certificate = NULL WHERE schema_name = %s AND key_hash = %s"  # noqa: S608
            f" AND {_IS_COMPLETE}",
            values,
        )
        row = connection.execute(
            "SELECT certificate FROM etl.forgotten WHERE schema_name = %s AND key_hash = %s", values
        ).fetchone()
    return cast(Mapping[str, Any], row[0]) if row and row[0] else None


def certify(url: str, schema: str, done: Entry, certificate: Mapping[str, object], *, complete: bool) -> None:
    """Store what was searched, and what was found; ``complete`` once the old objects are removed."""
    with transaction(url, "warehouse") as connection:
        connection.execute(
            "UPDATE etl.forgotten SET certificate = %s WHERE schema_name = %s AND key_hash = %s",
            (Jsonb({**certificate, "complete": complete}), schema, done.key_hash),
        )
