"""How Postgres types travel: through Arrow and Parquet into DuckDB and back.

A type without an exact counterpart travels as Postgres's own text, which its input
function reads back exactly: uuid, jsonb, arrays, enums, bytea, interval, numeric
without precision and the like. Nothing goes through float, nothing is guessed.
"""

import re
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that travels between tasks, and into manifests, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """A source column: name, and type as ``format_type`` spells it, of a domain what it is a domain of.

    ``cast`` is what its values are cast to where they are read. ``labels`` are an enum's, in its order.
    ``equality`` says how Postgres tells whether two values are the same: by all their characters, without
    their case (citext), or by a nondeterministic collation. ``hashed_by`` is the id of the key where
    hashes are read in place of the values.
    """

    name: str
    type: str
    cast: str | None = None
    labels: tuple[str, ...] = ()
    equality: Literal["exact", "case-insensitive", "collation"] = "exact"
    hashed_by: str | None = None


_ARROW: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}

_DUCKDB = {
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "boolean": "BOOLEAN",
    "real": "FLOAT",
    "double precision": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}

# Types whose texts are equal, and in order, just as their values are.
_TEXTS = frozenset(
    ["text", "character varying", "character", "bpchar", "name", '"char"', "citext", "uuid", "bytea", "bit"]
).union(["bit varying", "macaddr", "macaddr8"])
# Types whose texts are equal just where their values are, but are in another order.
_SAME_TEXT = frozenset(["inet", "cidr", "timetz", "oid", "xid", "xid8", "pg_lsn"])

_TEMPORAL = re.compile(r"(time|timestamp)(?:\((\d+)\))? (with|without) time zone")
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_LENGTH = re.compile(r"character(?: varying)?\((\d+)\)")
_MAX_DECIMAL_DIGITS = 38


def base_of(type_name: str) -> str:
    """Drop the precision that does not matter: ``timestamp(3) with time zone``."""
    if match := _TEMPORAL.fullmatch(type_name):
        return match[1] + ("tz" if match[3] == "with" else "")
    return type_name


def numeric_of(type_name: str) -> tuple[int, int] | None:
    """Precision and scale of a numeric that has them, else None."""
    match = _NUMERIC.fullmatch(type_name)
    return (int(match[1]), int(match[2])) if match else None


def decimal_of(type_name: str) -> tuple[int, int] | None:
    """Precision and scale where a fixed decimal holds the type, else None."""
    numeric = numeric_of(type_name)
    return numeric if numeric and 0 <= numeric[1] <= numeric[0] <= _MAX_DECIMAL_DIGITS else None


def second_digits_of(type_name: str) -> int | None:
    """The decimals of the second that a time or timestamp keeps, where it says so."""
    match = _TEMPORAL.fullmatch(type_name)
    return int(match[2]) if match and match[2] else None


def length_of(type_name: str) -> int | None:
    """The most characters that a varchar(n) or char(n) takes, else None."""
    match = _LENGTH.fullmatch(type_name)
    return int(match[1]) if match else None


def arrow_type(type_name: str) -> pa.DataType:
    """The Arrow type that carries a Postgres type (as ``format_type`` spells it)."""
    if decimal := decimal_of(type_name):
        return pa.decimal128(*decimal)
    return _ARROW.get(base_of(type_name), pa.string())


def duckdb_type(type_name: str) -> str:
    """The DuckDB type that carries a Postgres type; VARCHAR where text does."""
    if decimal := decimal_of(type_name):
        return f"DECIMAL({decimal[0]},{decimal[1]})"
    return _DUCKDB.get(base_of(type_name), "VARCHAR")


def identity(expression: str, type_name: str) -> str:
    """A DuckDB expression that is the same for two values just where Postgres calls them equal."""
    if type_name == "numeric" or (numeric_of(type_name) and not decimal_of(type_name)):
        # 1.0 = 1.00, and both travel as text.
        trimmed = rf"regexp_replace({expression}, '(\.\d*?)0+$', '\1')"
        return f"regexp_replace({trimmed}, '\\.$', '')"
    if base_of(type_name) in {"real", "double precision"}:
        return f"({expression} + 0)"  # -0 = 0
    if type_name.startswith("character("):
        return f"rtrim({expression}, ' ')"
    if type_name == "citext":
        # Which other letters are the same is for the database's locale to say; source.tables asks it about I.
        return f"translate({expression}, '{ascii_uppercase}', '{ascii_lowercase}')"
    return expression


def has_identity(column: Column) -> bool:
    """Whether :func:`identity` knows when Postgres calls two values of the column equal."""
    if column.equality != "exact":
        return False
    return comparable(column) != "no" or numeric_of(column.type) is not None or column.type == "numeric"


def comparable(column: Column) -> Literal["as Postgres", "for equality", "no"]:
    """How far DuckDB compares what carries a column as Postgres compares its values."""
    if column.equality == "collation" or (column.equality != "exact" and column.type.endswith("[]")):
        return "no"
    if column.labels or column.equality == "case-insensitive" or duckdb_type(column.type) != "VARCHAR":
        return "as Postgres"
    base = re.sub(r"\(\d+\)", "", base_of(column.type))
    if base in _TEXTS:
        return "as Postgres"
    return "for equality" if base in _SAME_TEXT else "no"


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of the rows that :func:`read` yields."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns])
