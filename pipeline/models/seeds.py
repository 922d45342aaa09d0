"""Seeds: small CSV files beside the models, which read them as tables by the names of the files.

The first line names the columns and may declare types, as in ``rate:numeric(10,4)``. Without one, a column's
type is the first of boolean, bigint, numeric, date and timestamp that all its values can be read as, or else
text: a number with a leading zero is text. An empty field is NULL.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.columns import Column, arrow_type, numeric_of
from pipeline.errors import ModelError
from pipeline.source.table_names import spelled
from pipeline.words import text_of

FOLDER = "seeds"
_MOST_BYTES = 10_000_000
_INTEGER = r"-?(0|[1-9]\d*)"
_DAY = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"
# The spelling of a type's values, and the function that reads them.
_TYPES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "boolean": (r"true|false", "true".__eq__),
    "smallint": (_INTEGER, int),
    "integer": (_INTEGER, int),
    "bigint": (_INTEGER, int),
    "numeric": (rf"{_INTEGER}(\.\d+)?", Decimal),
    "date": (_DAY, date.fromisoformat),
    "timestamp": (rf"{_DAY}[ T]{_CLOCK}", datetime.fromisoformat),
    "text": (r"(?s:.*)", str),
}
_INFERRED = ("boolean", "bigint", "numeric", "date", "timestamp")
_SHOWN = ", ".join(name if name != "numeric" else "numeric(10,2)" for name in _TYPES)
# Precisions of numeric: the usual one, with which products still fit, and the largest one.
_DIGITS = (18, 38)


@dataclass(frozen=True)
class Seed:
    """A seed as its file defines it; ``digest`` changes with its columns and rows.

    ``name`` is spelled as that of a table of the source.
    """

    name: str
    path: Path
    columns: tuple[Column, ...]
    rows: pa.Table
    digest: str


def load(folder: Path) -> dict[str, Seed]:
    """All seeds beside the models of a folder.

    Raises ModelError with file and line for an invalid file, and for a file in a subfolder.
    """
    if below := sorted((folder / FOLDER).glob("*/**/*.csv")):
        raise ModelError(f"{below[0]}: is in a subfolder; seeds lie directly in {folder / FOLDER}")
    paths = sorted((folder / FOLDER).glob("*.csv"))
    return {seed.name: seed for seed in map(read, paths)}


def read(path: Path) -> Seed:
    """Read one seed from its file."""
    lines = _lines(path)
    number, names = next(lines, (1, []))
    if not names:
        raise ModelError(f"{path}:1: is empty; its first line names the columns")
    declared = [_declared(f"{path}:{number}", name) for name in names]
    _refuse_repeated(f"{path}:{number}", [name for name, _ in declared])
    rows = list(lines)
    for at, fields in rows:
        if len(fields) != len(names):
            raise ModelError(f"{path}:{at}: has {len(fields)} of the {len(names)} fields that line 1 names")
    columns = tuple(
        Column(name=name, type=type_ or _inferred([fields[place] for _, fields in rows]))
        for place, (name, type_) in enumerate(declared)
    )
    values = {
        column.name: _values(path, column, [(at, fields[place]) for at, fields in rows])
        for place, column in enumerate(columns)
    }
    table = pa.table(values)
    digest = hashlib.sha256(repr((columns, table.to_pydict())).encode()).hexdigest()[:16]
    return Seed(spelled(path.stem), path, columns, table, digest)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row's first line and fields."""
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{path}: has more than {_MOST_BYTES:,} bytes; put it into the source as a table")
    reader = csv.reader(io.StringIO(text_of(path, keeps_line_ends=True), newline=""), strict=True)
    first_line = 1
    try:
        for fields in reader:
            yield first_line, fields
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise ModelError(f"{path}:{first_line}: is not valid CSV: {error}") from None


def _declared(where: str, field: str) -> tuple[str, str | None]:
    """A column's name, and its type if the field declares one."""
    name, colon, type_ = (part.strip() for part in field.partition(":"))
    if not name:
        raise ModelError(f"{where}: a column has no name")
    if not colon:
        return name, None
    spelled = re.sub(r"\s", "", type_.lower())
    if spelled in _TYPES.keys() - {"numeric"} or _fits_decimal(spelled):
        return name, spelled
    raise ModelError(f"{where}: column {name} has the type {type_!r}; use one of {_SHOWN}")


def _fits_decimal(type_: str) -> bool:
    digits = numeric_of(type_)
    return digits is not None and 1 <= digits[0] <= _DIGITS[-1] and 0 <= digits[1] <= digits[0]


def _refuse_repeated(where: str, names: Sequence[str]) -> None:
    """Refuse names that differ only by case, which DuckDB ignores."""
    folded = [name.lower() for name in names]
    for name in names:
        if folded.count(name.lower()) > 1:
            raise ModelError(f"{where}: more than one column has the name {name}")


def _inferred(values: Sequence[str]) -> str:
    """The first type that all values of a column can be read as."""
    not_null = [value for value in values if value]
    for name in _INFERRED if not_null else ():
        if all(re.fullmatch(_TYPES[name][0], value) for value in not_null):
            type_ = _decimal(not_null) if name == "numeric" else name
            if type_ and all(_is_a(type_, value) for value in not_null):
                return type_
    return "text"


def _decimal(values: Sequence[str]) -> str | None:
    """The numeric type that holds these numbers, if there is one."""
    parts = [value.lstrip("-").partition(".") for value in values]
    before, after = (max(len(part[place]) for part in parts) for place in (0, 2))
    return next((f"numeric({most},{after})" for most in _DIGITS if before + after <= most), None)


def _is_a(type_: str, value: str) -> bool:
    try:
        _value(type_, value)
    except (ValueError, OverflowError):  # Arrow's errors are ValueErrors
        return False
    return True


def _value(type_: str, value: str) -> "pa.Scalar[Any]":
    """The value of a field; raises ValueError or OverflowError if it is none of the type."""
    form, read_value = _TYPES["numeric" if numeric_of(type_) else type_]
    if value and not re.fullmatch(form, value):
        raise ValueError(value)
    return pa.scalar(read_value(value) if value else None, arrow_type(type_))


def _values(path: Path, column: Column, fields: Sequence[tuple[int, str]]) -> "pa.Array[Any]":
    values = []
    for line, value in fields:
        try:
            values.append(_value(column.type, value).as_py())
        except (ValueError, OverflowError):
            raise ModelError(
                f"{path}:{line}: column {column.name}: not a value of type {column.type}"
            ) from None
    return pa.array(values, arrow_type(column.type))
