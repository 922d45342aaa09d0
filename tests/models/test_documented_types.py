"""The examples in the documentation's table of types hold in a model where they hold in Postgres."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.models.comparison_cases import TABLES, VALUES, Models

PAGE = Path("docs/models.md")
# What the page calls a type, and the types of the sample tables.
MEANT = {
    "numeric(p,s), p ≤ 38": ["numeric(10,2)"],
    "numeric, numeric(p,s), p > 38": ["numeric", "numeric(45,3)"],
    'text, varchar(n), name, "char"': ["text", "varchar(5)", "name", '"char"'],
    "text with a collation": ['text COLLATE "C"'],
    "char(n)": ["char(5)"],
    "enum": ["mood"],
    "domain over a type": ["fee"],
    "domain over an enum": ["feeling"],
    "date (including infinity and BC)": ["date"],
    "array of integers": ["integer[]"],
    "array of numeric": ["numeric[]"],
    "array of text": ["text[]"],
    "bit(n), varbit": ["bit(3)", "varbit"],
    "range": ["int4range"],
    "tsvector, composite type": ["tsvector", "pair"],
    "all others, such as hstore": ["int4range"],
}  # fmt: skip
# A type, a value, an expression, what to write instead, and both results.
DIFFERING = re.findall(
    r"^\| ([\w() ]+) \| ([^|]+) \| `([^`]+)` \| (?:`([^`]+)`)?[^|]*? ?\| ([^`|]+) \| ([^`|]+) \|$",
    PAGE.read_text(encoding="utf-8"),
    re.MULTILINE,
)
ROWS = re.findall(r"^\| (.+?) \| .+? \| `(.+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def types_of(shown: str) -> list[str]:
    return MEANT.get(shown) or shown.split(", ")


def test_all_types_are_in_the_table() -> None:
    documented = {type_ for shown, _ in ROWS for type_ in types_of(shown)}
    assert documented == VALUES.keys()


@pytest.mark.parametrize(("shown", "example"), ROWS)
def test_an_example_holds_where_it_holds_in_postgres(models: Models, shown: str, example: str) -> None:
    number = f"CASE WHEN {example} THEN 1 WHEN NOT ({example}) THEN 0 END"
    sql = " UNION ALL ".join(
        f"SELECT '{TABLES[type_]}' AS kind, id, {number} AS n FROM {TABLES[type_]} WHERE v IS NOT NULL"
        for type_ in types_of(shown)
    )
    expected = models.expected(sql)
    assert expected
    assert models.yields(sql) == expected
    assert {n for _, _, n in expected} >= {1}


@pytest.mark.parametrize("row", DIFFERING, ids=lambda row: f"{row[2]} of {row[0]} {row[1]}")
def test_what_the_page_says_to_differ_differs(models: Models, row: tuple[str, ...]) -> None:
    """What it says to write gives the result of Postgres."""
    type_, shown, expression, instead, in_model, in_postgres = row
    places = {text: place for place, text in enumerate(VALUES[type_])}

    def query(of: str) -> str:
        return (
            f"SELECT CAST({of} AS text) AS kind, id, 1 AS n FROM {TABLES[type_]} WHERE id = {places[shown]}"
        )

    assert models.yields(query(expression)) == [(in_model, places[shown], 1)]
    assert models.expected(query(expression)) == [(in_postgres, places[shown], 1)]
    if instead:
        assert models.yields(query(instead)) == [(in_postgres, places[shown], 1)]


def test_the_page_has_such_rows() -> None:
    assert len(DIFFERING) > 10
