"""SQL that does something else in DuckDB than it says is refused."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models import library
from tests.support import value

PAGE = Path("docs/models.md")
DIFFERING = re.findall(
    r"^\| `(.+)` \| ([^`|]+) \| ([^`|]+) \| [^|]+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(
    "type_", ["numeric", "DECIMAL", "dec[]", "STRUCT(n numeric)", '"numeric"', 'main."Dec"']
)
def test_a_numeric_without_digits_is_refused(type_: str) -> None:
    message = r"dim_a\.sql:2: numeric without digits rounds to 3 decimals in DuckDB; write them, such as"
    with pytest.raises(ModelError, match=message):
        library.parse(Path("dim_a.sql"), f"SELECT 'ü' AS a,\n  TRY_CAST(b AS {type_}) AS b FROM t")
    library.parse(Path("dim_a.sql"), "SELECT CAST(b AS numeric(9)) AS b, 1.5 AS c FROM t")


def test_a_parameter_is_refused() -> None:
    for parameter in "?", "$1", "$name":
        with pytest.raises(ModelError, match=r"dim_a\.sql:2: a model has no parameters such as \? or \$1"):
            library.parse(Path("dim_a.sql"), f"SELECT a FROM t\nWHERE a = {parameter}")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT a\nFROM db.crm.t",
            r"dim_m\.sql:2: names db\.crm\.t; name a table .* as schema\.table, without its database",
        ),
        (
            "-- Ä\nSELECT a FROM\nreference.t",
            r"dim_m\.sql:3: names reference\.t; that schema is the pipeline's own, with reference",
        ),
        (
            "SELECT a FROM pg_catalog.pg_class",
            r"dim_m\.sql:1: names pg_catalog\.pg_class, a table of Postgres itself",
        ),
        ("SELECT crm.t.* FROM crm.t", r"before \.\* a table has no schema; write its name or its alias"),
        ("SELECT * FROM (SUMMARIZE t)", r"reads t by TABLE, DESCRIBE or SUMMARIZE, which no model can"),
        (
            "WITH x AS (TABLE t) SELECT a FROM x",
            r"reads t by TABLE, DESCRIBE or SUMMARIZE, which no model can",
        ),
    ],
)
def test_what_a_model_cannot_read_is_refused(sql: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        library.parse(Path("dim_m.sql"), sql)


def test_what_the_page_says_to_differ_differs(source_url: str) -> None:
    """Each expression in DuckDB and in Postgres; ``error`` and ``NULL`` stand for themselves."""
    wrong = []
    with session() as connection:
        for expression, in_model, in_postgres in DIFFERING:
            query_text = f"SELECT CAST({expression} AS text)"
            ((in_duckdb,),) = connection.execute(query_text).fetchall()
            try:
                printed = value(source_url, query_text)
            except psycopg.Error:
                printed = "error"
            found = [str(each or "NULL").removesuffix(".0") for each in (in_duckdb, printed)]
            wrong += [] if found == [in_model, in_postgres] else [(expression, found)]
    assert len(DIFFERING) > 10
    assert wrong == []
