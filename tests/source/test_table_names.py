"""The text that stands for a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source.table_names import identifier, of_column, of_user, parts, spelled, table_of

NAMES = st.text(st.sampled_from('ab."A ='), min_size=1, max_size=5)


@given(st.none() | NAMES, NAMES, NAMES)
def test_the_parts_of_a_text_are_those_that_it_was_made_of(
    schema: str | None, table: str, column: str
) -> None:
    text = spelled(table, schema)
    assert parts(text) == (schema, table)
    assert of_user(text) == text
    assert table_of(of_column(text, column)) == text


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("orders", '"main"."orders"'),
        ("tenant 1.orders", '"tenant 1"."orders"'),
        ('"a.b"', '"main"."a.b"'),
        ('"a""b"."c.d"', '"a""b"."c.d"'),
    ],
)
def test_a_text_is_a_table_in_sql(text: str, sql: str) -> None:
    assert identifier("main", text).as_string() == sql


def test_a_person_may_write_more_quotes() -> None:
    assert of_user('"sales"."order header"') == "sales.order header"


def test_a_person_may_write_a_dot_in_a_name_without_quotes() -> None:
    assert of_user("a.b", ['"a.b"', "c.a"]) == '"a.b"'
    assert of_user("a.b", ['"a.b"', "a.b"]) == "a.b"
    assert of_user("a.b.c", ['"a.b".c', 'a."b.c"']) == '"a.b.c"'
    assert of_user("a.b.c", ['a."b.c"']) == 'a."b.c"'
