"""Names and values that break careless SQL and paths."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from tests.support import query

NAMES = [
    'a"b',
    "it's",
    "x; DROP TABLE canary; --",
    'x"; DROP TABLE canary; --',
    "x'); DROP TABLE canary; --",
    "/* x */",
    "100%",
    "%s %(x)s %d",
    "{} {0} {table} {{}}",
    "$1 $body$ ${HOME} $(id) `id`",
    " lead and trail ",
    "naïve Ω 日本 🧾",
    "line\nbreak\ttab",
    "back\\slash",
    "UPPER lower",
    "select",
    "recorded at",
    "*",
    "a.b",
    "?",
    "-",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "x" * 63,
    "é" * 31,
]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def insert(url: str, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows with bound values."""
    places = sql.SQL(", ").join([sql.Placeholder()] * len(rows[0]))
    statement = sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table.replace("%", "%%")), places)
    with psycopg.connect(url) as connection:
        connection.cursor().executemany(statement, rows)


def all_rows(url: str, table: str, order: str = "1") -> list[tuple[Any, ...]]:
    return query(url, f"SELECT * FROM {quoted(table)} ORDER BY {order}")
