"""The Arrow and DuckDB types that carry Postgres types, and how their values compare.

A type without an exact counterpart is carried as Postgres's own text, which its input function reads back
exactly: uuid, jsonb, arrays, enums, bytea, interval, numeric without precision and so on; models cast some
of them (pipeline.models.comparisons and .computing). No value passes through a float, and no type is guessed.
"""

import re
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from pipeline import spellings

# Arrow's default allocators do not return memory to the system: a fifth of a large run's memory.
pa.set_memory_pool(pa.system_memory_pool())


class Frozen(BaseModel):
    """An immutable value that is passed between tasks, and written to manifests, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """A source column. ``type`` is as ``format_type`` prints it; of a domain, its base type.

    ``cast`` is the type that values are cast to when they are read. ``labels`` are an enum's labels in order.
    ``equality`` is how Postgres compares two values: exactly, case-insensitively (citext), or by a
    nondeterministic collation. ``hashed_by`` is the id of the key if hashes are read instead of values.
    ``declared`` is the type of a column that is read as text, see :func:`as_text`.
    """

    name: str
    type: str
    cast: str | None = None
    labels: tuple[str, ...] = ()
    equality: Literal["exact", "case-insensitive", "collation"] = "exact"
    hashed_by: str | None = None
    declared: str | None = None

    @property
    def is_escaped(self) -> bool:
        """Whether the bytes of a text are read with escapes, because some of them may not be UTF-8."""
        return self.declared is not None and duckdb_type(self.declared) == "VARCHAR"


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

# Types whose texts have the same equality and order as their values.
_TEXTS = frozenset(
    ["text", "character varying", "character", "bpchar", "name", '"char"', "citext", "uuid", "bytea", "bit"]
).union(["bit varying", "macaddr", "macaddr8"])
# Types of which any text is a value, and equal to no other one.
_PLAIN = frozenset(["text", "character varying", "character", "bpchar", "name", '"char"'])
# Types whose texts have the same equality as their values, but another order.
_SAME_TEXT = frozenset(["inet", "cidr", "timetz", "oid", "xid", "xid8", "pg_lsn"])

_TEMPORAL = re.compile(r"(time|timestamp)(?:\((\d+)\))? (with|without) time zone")
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_RANGES = {"numrange": "numeric", "nummultirange": "numeric"}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_LENGTH = re.compile(r"character(?: varying)?\((\d+)\)")
_MAX_DECIMAL_DIGITS = 38


def base_of(type_name: str) -> str:
    """The type without the precision of seconds; ``timestamp(3) with time zone`` is timestamptz."""
    if match := _TEMPORAL.fullmatch(type_name):
        return match[1] + ("tz" if match[3] == "with" else "")
    return type_name


def numeric_of(type_name: str) -> tuple[int, int] | None:
    """Precision and scale of a numeric, or None without them."""
    match = _NUMERIC.fullmatch(type_name)
    return (int(match[1]), int(match[2])) if match else None


def decimal_of(type_name: str) -> tuple[int, int] | None:
    """Precision and scale if a DECIMAL can hold the type, else None."""
    numeric = numeric_of(type_name)
    return numeric if numeric and 0 <= numeric[1] <= numeric[0] <= _MAX_DECIMAL_DIGITS else None


def second_digits_of(type_name: str) -> int | None:
    """The declared digits of the seconds of a time or timestamp, else None."""
    match = _TEMPORAL.fullmatch(type_name)
    return int(match[2]) if match and match[2] else None


def length_of(type_name: str) -> int | None:
    """The length of a varchar(n) or char(n), else None."""
    match = _LENGTH.fullmatch(type_name)
    return int(match[1]) if match else None


def arrow_type(type_name: str) -> pa.DataType:
    """The Arrow type that carries a Postgres type, given as ``format_type`` prints it."""
    if decimal := decimal_of(type_name):
        return pa.decimal128(*decimal)
    return _ARROW.get(base_of(type_name), pa.string())


def duckdb_type(type_name: str) -> str:
    """The DuckDB type that carries a Postgres type; VARCHAR for types carried as text."""
    if decimal := decimal_of(type_name):
        return f"DECIMAL({decimal[0]},{decimal[1]})"
    return _DUCKDB.get(base_of(type_name), "VARCHAR")


# The ending of a type of which values are carried as text.
_AS_TEXT = " as text"


def as_text(column: Column) -> Column:
    """The column carried as text, because it holds a value that its Arrow type does not.

    That is NaN in a numeric with precision, a timestamp after the year 294246, or a text that is not UTF-8.
    """
    type_ = column.type
    if duckdb_type(type_) != "VARCHAR":
        type_ = "numeric" if numeric_of(type_) else f"{type_}{_AS_TEXT}"
    return column.model_copy(update={"type": type_, "declared": column.type})


def is_date_as_text(column: Column) -> bool:
    """Whether the column has dates or times that are carried as text."""
    return column.type.endswith(_AS_TEXT)


def spelled_for_duckdb(text: str) -> str:
    """A DuckDB expression for a date or time as DuckDB reads it: Postgres prints the era at the end."""
    return rf"regexp_replace({text}, '^(\S+)(.*) BC$', '\1 (BC)\2')"


def identity(expression: str, type_name: str) -> str:
    """A DuckDB expression that is equal for two values if and only if Postgres compares them as equal."""
    if is_wide_number(type_name):
        return spellings.of_number(expression)
    if base_of(type_name) in {"real", "double precision"}:
        return f"({expression} + 0)"  # -0 = 0
    if type_name.startswith("character(") or type_name == "bpchar":
        return f"rtrim({expression}, ' ')"
    if type_name == "citext":
        # Other letters depend on the database's locale; source/sql/tables.sql checks how it folds I.
        return f"translate({expression}, '{ascii_uppercase}', '{ascii_lowercase}')"
    return _in_one_spelling(expression, type_name) if has_spellings(type_name) else expression


def uncertain(expression: str, type_name: str) -> str | None:
    """A DuckDB condition that a value may equal one of another :func:`identity`; None if none may.

    That is a text that Postgres prints otherwise, as ``10.1/16``, or of a type whose equality is not known.
    """
    if unparameterized(type_name) in _PLAIN or duckdb_type(type_name) != "VARCHAR":
        return None
    form = spellings.PRINTED.get(unparameterized(type_name))
    return f"NOT regexp_full_match({expression}, '{form}')" if form else "true"


def unparameterized(type_name: str) -> str:
    """The type without length, precision and scale; of an interval, which is rounded to them, the same."""
    return type_name if type_name.startswith("interval") else re.sub(r"\(\d+(,-?\d+)?\)$", "", type_name)


def has_spellings(type_name: str) -> bool:
    """Whether equal values may have several texts, other than a number's, and identity has one for them."""
    element = _element_of(type_name)
    if element is not None:
        return _is_interval(element) or is_wide_number(element) or duckdb_type(element) in _FLOATS
    return type_name == "jsonb" or _is_interval(type_name)


def _in_one_spelling(expression: str, type_name: str) -> str:
    if type_name == "jsonb":
        return spellings.of_jsonb(expression)
    element = _element_of(type_name)
    if element is None:
        return spellings.of_interval(expression)
    if duckdb_type(element) in _FLOATS:
        return spellings.of_elements(expression, spellings.of_float("part"))
    spelled = spellings.of_interval if _is_interval(element) else spellings.of_number
    return spellings.of_elements(expression, spelled("trim(part, '\"')"))


def _element_of(type_name: str) -> str | None:
    """The type of an array's elements, or of the bounds of a range of numbers; None for other types."""
    return type_name.removesuffix("[]") if type_name.endswith("[]") else _RANGES.get(type_name)


def _is_interval(type_name: str) -> bool:
    return type_name.startswith("interval") and not type_name.endswith("[]")


def is_wide_number(type_name: str) -> bool:
    """Whether the type is a numeric that is carried as text; 1.0 = 1.00."""
    return type_name == "numeric" or (numeric_of(type_name) is not None and decimal_of(type_name) is None)


def has_identity(column: Column) -> bool:
    """Whether :func:`identity` is exact for the column."""
    if column.equality != "exact":
        return False
    if column.declared:
        column = column.model_copy(update={"type": column.declared})
    return comparable(column) != "no" or numeric_of(column.type) is not None or column.type == "numeric"


def comparable(column: Column) -> Literal["as Postgres", "for equality", "no"]:
    """Whether DuckDB compares the carried values as Postgres does: fully, for equality only, or not."""
    if column.equality == "collation" or (column.equality != "exact" and column.type.endswith("[]")):
        return "no"
    if column.labels or column.equality == "case-insensitive" or duckdb_type(column.type) != "VARCHAR":
        return "as Postgres"
    base = re.sub(r"\(\d+\)", "", base_of(column.type))
    if base in _TEXTS:
        return "as Postgres"
    return "for equality" if base in _SAME_TEXT else "no"


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema that carries these columns."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns])
