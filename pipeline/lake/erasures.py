"""The ledger of erasure: whose rows were forgotten, as salted hashes of their keys, and what hides them.

An entry is in the raw bucket and in the warehouse, so that either can be restored without the other. Rows
that match one are read without their personal values from then on.
"""

from __future__ import annotations  # or they keep DuckDB's types alive: duck._database

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import duckdb
import pyarrow as pa
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipeline.columns import Column, Frozen, base_of, duckdb_type, identity, length_of
from pipeline.duck import literal, quote, session
from pipeline.errors import SettingsError
from pipeline.lake.buckets import Bucket
from pipeline.postgres import Connection, exists, transaction
from pipeline.source.hashing import HashKey

FORGOTTEN = "_forgotten"
_TEXTS = frozenset(["text", "character varying", "character", "bpchar", "citext"])
MARK = "erased as"
# So many digits of an entry's hash stand in the text that hides a value.
_DIGITS = 12


class Entry(Frozen):
    """A row of a source table that was forgotten, by a salted hash of its key."""

    table: str
    salt: str
    key_hash: str
    forgotten_at: datetime

    @property
    def path(self) -> str:
        """Where it lies in the raw bucket."""
        return f"{FORGOTTEN}/{self.key_hash}.json"


class Erased(Frozen):
    """What is hidden of a table: the columns, in the rows whose keys these entries have."""

    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]

    @property
    def mark(self) -> str:
        """A DuckDB expression: what stands for the row where it was forgotten, else NULL."""
        by_salt: dict[tuple[str, str], list[str]] = {}
        for entry in self.entries:
            by_salt.setdefault((entry.table, entry.salt), []).append(literal(entry.key_hash))
        cases = [
            f"WHEN {(found := _key_hash(self.key, *salted))} IN ({', '.join(hashes)})"
            f" THEN 'erased ' || left({found}, {_DIGITS})"
            for salted, hashes in by_salt.items()
        ]
        return f"CASE {' '.join(cases)} END"

    def hidden(self, names: Sequence[str], rows: str) -> str:
        """A query for these columns of rows, without what is hidden of them."""
        hidden = {column.name: _hidden(column) for column in self.columns}
        listed = ", ".join(f"{hidden.get(name, quote(name))} AS {quote(name)}" for name in names)
        return f"SELECT {listed} FROM ({self.marked(rows)}) AS marked"  # noqa: S608

    def made_up(self, names: Sequence[str], rows: str) -> str:
        """A query for rows of which all is hidden, with other values in these places."""
        other = {column.name: _made_up(column) for column in self.columns}
        return f"SELECT {', '.join(other.get(name, quote(name)) for name in names)} FROM {rows}"  # noqa: S608

    def shown(self, names: Sequence[str], rows: str, *, hidden: bool = False) -> str:
        """A query for forgotten rows that show what is to be hidden, or of which all is ``hidden``."""
        listed = ", ".join(map(quote, names))
        differs = " OR ".join(
            f"{quote(column.name)} IS DISTINCT FROM {_hidden(column)}"
            for column in self.columns
            if column.name in names
        )
        return (
            f"SELECT {listed} FROM ({self.marked(rows)}) AS marked"  # noqa: S608
            f" WHERE {quote(MARK)} IS NOT NULL AND ({differs or 'false'}) = {not hidden}"
        )

    def marked(self, rows: str) -> str:
        """A query for rows with their mark."""
        return f"SELECT *, {self.mark} AS {quote(MARK)} FROM {rows}"  # noqa: S608


def _hidden(column: Column) -> str:
    """What a column shows: NULL stays NULL, text becomes the row's mark, and all else NULL."""
    name = quote(column.name)
    instead = "NULL"
    if base_of(column.type).partition("(")[0] in _TEXTS:
        length = length_of(column.type)
        instead = quote(MARK) if length is None else f"left({quote(MARK)}, {length})"
    return f"CASE WHEN {quote(MARK)} IS NULL OR {name} IS NULL THEN {name} ELSE {instead} END"


def _made_up(column: Column) -> str:
    """Another value than what a column shows where it is hidden."""
    name, type_ = quote(column.name), duckdb_type(column.type)
    if type_ == "VARCHAR":
        return f"COALESCE('x' || {name}, 'x') AS {name}"
    value = {"DATE": "2000-01-01", "TIME": "12:00:00", "BOOLEAN": "true"}.get(type_, "1")
    value = "2000-01-01 12:00:00" if type_.startswith("TIMESTAMP") else value
    return f"CAST({literal(value)} AS {type_}) AS {name}"


def _key_hash(key: Sequence[Column], table: str, salt: str) -> str:
    parts = ", ".join(f"CAST({identity(quote(column.name), column.type)} AS VARCHAR)" for column in key)
    return f"sha256({literal(salt + table)} || chr(31) || concat_ws(chr(31), {parts}))"


def erase(rows: Iterable[pa.RecordBatch], erased: Erased) -> Iterator[pa.RecordBatch]:
    """Rows of a table without what is hidden of them."""
    for batch in rows:
        with session() as connection:
            connection.register("read now", batch)
            query = erased.hidden(batch.schema.names, quote("read now"))
            table = connection.sql(query).to_arrow_table().cast(batch.schema)
        yield from table.to_batches()


def entry(
    table: str, key: Sequence[Column], given: Sequence[str], known: Iterable[Entry], moment: datetime,
    hash_key: HashKey | None,
) -> Entry:  # fmt: skip
    """The entry of a row by its key's values as text; raises SettingsError where they are no key."""
    if len(given) != len(key):
        raise SettingsError(
            f"KEY: {table} has the key {', '.join(column.name for column in key)}; give as many values"
        )
    salt = next((each.salt for each in known), None) or secrets.token_hex(16)
    values = []
    for column, text in zip(key, given, strict=True):
        if column.hashed_by and hash_key:
            text = hash_key.hash(text)  # noqa: PLW2901
        values.append(f"CAST({literal(text)} AS {duckdb_type(column.type)}) AS {quote(column.name)}")
    with session() as connection:
        try:
            query = f"SELECT {_key_hash(key, table, salt)} FROM (SELECT {', '.join(values)}) AS given"  # noqa: S608
            ((found,),) = connection.execute(query).fetchall()
        except duckdb.Error:
            types = ", ".join(f"{column.name} {column.type}" for column in key)
            raise SettingsError(f"KEY: is no key of {table}, which is {types}") from None
    return Entry(table=table, salt=salt, key_hash=str(found), forgotten_at=moment)


def in_lake(raw: Bucket) -> dict[str, Entry]:
    """The entries in the raw bucket, by their hashes."""
    texts = [raw.read_text(path) for path in raw.list(FORGOTTEN) if path.endswith(".json")]
    return {each.key_hash: each for each in map(Entry.model_validate_json, texts)}


def keep_in_lake(raw: Bucket, new: Entry) -> None:
    """Put an entry into the raw bucket, from where it counts."""
    raw.write_text(new.path, new.model_dump_json())


def in_warehouse(url: str, schema: str) -> dict[str, Entry]:
    """The entries that a schema of the warehouse has, by their hashes."""
    with (
        transaction(url, "warehouse") as connection,
        connection.cursor(row_factory=class_row(Entry)) as cursor,
    ):
        if not exists(connection, "etl.forgotten"):
            return {}
        cursor.execute(
            "SELECT table_name AS table, salt, key_hash, forgotten_at FROM etl.forgotten"
            " WHERE schema_name = %s",
            (schema,),
        )
        return {each.key_hash: each for each in cursor}


def certified(url: str, schema: str) -> set[str]:
    """The hashes of the entries that were carried out to the end."""
    with transaction(url, "warehouse") as connection:
        if not exists(connection, "etl.forgotten"):
            return set()
        rows = connection.execute(
            "SELECT key_hash FROM etl.forgotten WHERE schema_name = %s AND certificate IS NOT NULL", (schema,)
        ).fetchall()
    return {str(key_hash) for (key_hash,) in rows}


def keep_in_warehouse(connection: Connection, schema: str, new: Entry) -> None:
    """Put an entry into the warehouse, with what it has erased there."""
    connection.execute(
        "INSERT INTO etl.forgotten (schema_name, table_name, salt, key_hash, forgotten_at)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (schema, new.table, new.salt, new.key_hash, new.forgotten_at),
    )


def certify(url: str, schema: str, done: Entry, certificate: Mapping[str, object]) -> None:
    """Keep what was searched, and that nothing was found."""
    with transaction(url, "warehouse") as connection:
        connection.execute(
            "UPDATE etl.forgotten SET certificate = %s WHERE schema_name = %s AND key_hash = %s",
            (Jsonb(dict(certificate)), schema, done.key_hash),
        )
