"""Instead of functions that DuckDB lacks, an error names some that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models.postgres_functions import INSTEAD
from tests.models.plans import analysed

SYNTAX = {"CAST", "DECIMAL", "NULLIF"}


def test_what_to_write_exists_and_the_function_does_not() -> None:
    with session() as connection:
        rows = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    known = {name for (name,) in rows} | SYNTAX | {"unnest"}
    written = {name for text in INSTEAD.values() for name in re.findall(r"(\w+)\(", text)}
    assert written - known == set()
    assert INSTEAD.keys() & known == {"regexp_split_to_table"}, "which is no table function"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (
            "SELECT a, to_char(DATE '2024-01-31', 'YYYY') AS x FROM t",
            r"no function to_char; write strftime\(",
        ),
        ("SELECT a, jsonb_build_object('a', b) AS x FROM t", r"jsonb_build_object; write json_object\("),
        ("SELECT b, every(a > 1) AS x FROM t GROUP BY b", r"no function every; write bool_and\(x\)"),
        ("SELECT a, regexp_matche(c, 'a') AS x FROM t", "no function regexp_matche; write regexp_matches"),
    ],
)
def test_an_error_names_it(tmp_path: Path, sql: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        analysed(tmp_path, sql)
