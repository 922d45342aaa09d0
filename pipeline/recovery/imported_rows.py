"""Rows to import as versions: those of a CSV file, or of a table of the warehouse."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from psycopg import sql

from pipeline.errors import SettingsError
from pipeline.postgres import Connection, each, texts


@dataclass(frozen=True)
class Rows:
    """Rows of texts, NULL where they are empty, each after the number that messages give it.

    ``place`` is what they come from, and ``columns`` are their names.
    """

    place: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[str | None]]]


@contextmanager
def from_csv(path: Path) -> Iterator[Rows]:
    """The rows of a CSV file in UTF-8, whose first line names the columns; an empty field is NULL."""
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise SettingsError(f"FILE: {path}: {error.strerror}") from None
    with file:
        lines = _lines(path, file)
        _, columns = next(lines, (0, ()))
        yield Rows(str(path), tuple(map(str.strip, columns)), _values(path, lines, len(columns)))


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, Sequence[str]]]:
    """The fields of each row, after the number of its last line."""
    reader = csv.reader(file, strict=True)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except (csv.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}:{reader.line_num + 1}: {error}") from None


def _values(
    path: Path, lines: Iterator[tuple[int, Sequence[str]]], width: int
) -> Iterator[tuple[int, Sequence[str | None]]]:
    for line, fields in lines:
        if len(fields) != width:
            raise SettingsError(f"{path}:{line}: {len(fields)} fields, and {width} columns")
        yield line, [field or None for field in fields]


def from_table(connection: Connection, name: str) -> Rows:
    """The rows of a table or view of the warehouse, named with its schema."""
    parts = name.split(".")
    if len(parts) != 2:  # noqa: PLR2004  schema and table
        raise SettingsError(f"FROM: {name}: write schema.table")
    query = (
        "SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0"
        " AND NOT a.attisdropped ORDER BY a.attnum"
    )
    table = sql.Identifier(*parts)
    columns = tuple(texts(connection, query, (table.as_string(connection),)))
    if not columns:
        raise SettingsError(f"FROM: the warehouse has no table {name}")
    rows = sql.SQL("SELECT row_number() OVER (), ARRAY[{}] FROM {} AS t").format(
        each("t.{0}::text", columns), table
    )
    return Rows(name, columns, iter(connection.execute(rows).fetchall()))  # type: ignore[arg-type]
