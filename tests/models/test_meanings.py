"""Every column of the shipped models and marts has a meaning, as a comment in the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.models import library, marts
from pipeline.warehouse import catalogue
from tests.support import database, query

TRANSFORMS = PROJECT / "transforms"


@pytest.fixture(scope="module")
def warehouse(postgres: Postgres) -> Iterator[str]:
    """The shipped tables and marts, empty."""
    with database(postgres, "meanings") as url:
        catalogue.prepare(url, "public", library.load(TRANSFORMS), TRANSFORMS)
        yield url


def test_every_object_and_column_has_a_meaning(warehouse: str) -> None:
    without = query(
        warehouse,
        "SELECT n.nspname || '.' || c.relname || COALESCE('.' || a.attname, '')"
        " FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " CROSS JOIN LATERAL (SELECT NULL AS attname, 0 AS attnum UNION ALL SELECT attname, attnum"
        " FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS a"
        " WHERE n.nspname IN ('public', 'as_of', 'reporting') AND c.relkind IN ('r', 'v')"
        " AND NOT EXISTS (SELECT FROM pg_description AS d WHERE d.classoid = 'pg_class'::regclass"
        " AND d.objoid = c.oid AND d.objsubid = a.attnum) ORDER BY 1",
    )
    assert without == [], "schema.sql or the mart's head says what a column means"


def test_every_function_has_a_meaning_and_those_of_marts_describe_their_columns(warehouse: str) -> None:
    functions = query(
        warehouse,
        "SELECT p.proname::text, obj_description(p.oid, 'pg_proc'), p.proargnames, p.proargmodes::text[]"
        " FROM pg_proc AS p WHERE p.pronamespace IN ('public'::regnamespace, 'reporting'::regnamespace)",
    )
    described = {mart.name: mart.columns for mart in marts.load(TRANSFORMS)}
    assert functions
    for name, comment, columns, modes in functions:
        assert comment, name
        returned = {column for column, mode in zip(columns or (), modes or (), strict=False) if mode == "t"}
        assert returned <= described.get(name, {}).keys(), name


def test_each_model_and_mart_says_what_one_row_is() -> None:
    models = library.load(TRANSFORMS).values()
    assert [model.name for model in models if not model.meaning.startswith("One row per ")] == []
    silent = [mart.name for mart in marts.load(TRANSFORMS) if not mart.meaning.startswith("One row")]
    assert silent == []


def test_the_mart_of_the_documentation_can_be_made(warehouse: str) -> None:
    _, _, page = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8").partition("\n## Marts\n")
    text = page.partition("```sql\n")[2].partition("```")[0]
    mart = marts.read(Path("daily.sql"), text)
    assert mart.meaning.startswith("One row per ")
    with psycopg.connect(warehouse, options="-c search_path=reporting") as reader:
        assert reader.execute(mart.sql.encode()).fetchall() == []
    assert mart.columns.keys() == {"day", "currency_code", "revenue"}
