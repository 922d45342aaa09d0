"""A name that is a keyword has to be quoted, as the error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ModelError
from tests.support import write_models


@pytest.mark.parametrize(
    ("sql", "line", "word"),
    [
        ("SELECT id,\n    at\nFROM t", 2, "at"),
        ("SELECT id,\n    at,\n    order\nFROM t", 2, "at"),
        ("SELECT id, end FROM t", 1, "end"),
        ("SELECT id FROM t\nWHERE asof > 1", 2, "asof"),
        ("SELECT id, 'at' AS \"at\", qualify -- at\nFROM t", 1, "qualify"),
        ("SELECT é, window FROM t", 1, "window"),
        ("SELECT id pivot FROM t", 1, "pivot"),
        ("SELECT id FROM Order", 1, "Order"),
        ("SELECT t.id FROM t JOIN group ON group.id = t.id", 1, "group"),
    ],
)
def test_a_keyword_that_is_a_name_has_to_be_quoted(tmp_path: Path, sql: str, line: int, word: str) -> None:
    message = f'dim_m.sql:{line}: syntax error at or near .+; {word} is a keyword: quote it .+ "{word}"$'
    with pytest.raises(ModelError, match=message):
        write_models(tmp_path, {"dim_m": sql})


@pytest.mark.parametrize(
    "sql", ["SELECT id FROM WHERE id = 1", "SELECT id, (1 FROM t", "SELECT id FROM t w x"]
)
def test_other_mistakes_blame_no_keyword(tmp_path: Path, sql: str) -> None:
    with pytest.raises(
        ModelError, match=r"dim_m\.sql:1: syntax error .+; correct the SQL here or just before$"
    ):
        write_models(tmp_path, {"dim_m": sql})


def test_keywords_that_are_quoted_or_follow_a_table_are_names(tmp_path: Path) -> None:
    write_models(tmp_path, {"dim_m": 'SELECT id, t.at, t.order AS end, "window" FROM t'})
