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
