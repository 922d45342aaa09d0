"""The shipped marts, case by case: ``marts/<mart>/<case>.yaml``, over the shop in ``shop.yaml``.

A case has the ``expected`` rows, and may have the moment that is ``looked_at``, the ``arguments`` of a
function, and a condition (``where``). Times are UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency
from psycopg import sql
from psycopg.rows import dict_row

from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.lake.buckets import folder
from pipeline.models import library, marts
from pipeline.models.target import ADDED_TO_FACTS
from pipeline.review import dictionary
from pipeline.warehouse import catalogue
from tests.house import Warehouse
from tests.made_up import SOME_TIME, MadeUp
from tests.shipped import TRANSFORMS, as_arrow, as_text, source_columns
from tests.support import Row, database

HERE = PROJECT / "tests" / "marts"
CASES = sorted(HERE.glob("*/*.yaml"))
MARTS = {mart.name: mart for mart in marts.load(TRANSFORMS)}


def load_shop(house: Warehouse, source_url: str) -> None:
    """Load the batches of the shop, each at its moment."""
    columns = source_columns(source_url, library.load(TRANSFORMS))
    batches = MadeUp(house.raw, columns)
    for batch in yaml.safe_load((HERE / "shop.yaml").read_text(encoding="utf-8")):
        # MadeUp counts the minutes from its first moment.
        batches.number = int((batch["at"].replace(tzinfo=UTC) - SOME_TIME).total_seconds()) // 60 - 1
        rows, deleted = (
            {name: as_arrow(rows, columns[name][0]) for name, rows in batch.get(part, {}).items()}
            for part in ("given", "deleted")
        )
        house.bring(batches.batch(rows, deleted=deleted))


@pytest.fixture(scope="module")
def shop(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The warehouse of the shop after its batches."""
    home = tmp_path_factory.mktemp("marts")
    with database(postgres, "marts") as url, database(postgres, "totesys") as source_url:
        house = Warehouse(url, TRANSFORMS, folder(f"{home}/raw"), folder(f"{home}/processed"))
        load_shop(house, source_url)
        yield house


@pytest.fixture(scope="module")
def reader(shop: Warehouse) -> Iterator[psycopg.Connection[Row]]:
    """A connection that shows times in UTC."""
    with psycopg.connect(shop.url, row_factory=dict_row, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def rows_of(reader: psycopg.Connection[Row], name: str, case: dict[str, Any]) -> list[Row]:
    """The rows of a mart as a case asks for them, as text."""
    called: sql.Composable = sql.Identifier("reporting", name)
    if MARTS[name].is_function:
        called = sql.SQL("{}({})").format(called, sql.SQL(", ").join(map(sql.Literal, case["arguments"])))
    reader.execute("SELECT etl.look_at(%s)", (case.get("looked_at"),))
    condition = sql.SQL(case.get("where", "true"))
    rows = reader.execute(sql.SQL("SELECT * FROM {} WHERE {}").format(called, condition)).fetchall()
    reader.execute("SELECT etl.look_at(NULL)")
    return [{column: None if v is None else as_text(v) for column, v in row.items()} for row in rows]


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}/{path.stem}" for path in CASES])
def test_a_mart(path: Path, reader: psycopg.Connection[Row]) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(case) <= {"about", "looked_at", "arguments", "where", "expected"}
    rows = rows_of(reader, path.parent.name, case)
    expected = [
        {column: None if v is None else as_text(v) for column, v in row.items()} for row in case["expected"]
    ]
    assert sorted(rows, key=str) == sorted(expected, key=str)


def test_every_mart_has_a_case_and_every_case_a_mart() -> None:
    assert {path.parent.name for path in CASES} == set(MARTS)


def test_every_column_of_a_mart_has_a_meaning(reader: psycopg.Connection[Row]) -> None:
    moment = datetime(2024, 5, 10, 9, tzinfo=UTC)
    for name, mart in MARTS.items():
        arguments = sql.SQL("(%s)") if mart.is_function else sql.SQL("")
        query = sql.SQL("SELECT * FROM {}{} LIMIT 0").format(sql.Identifier("reporting", name), arguments)
        described = reader.execute(query, (moment,) if mart.is_function else None).description
        assert list(mart.columns) == [column.name for column in described or ()], name
        assert mart.meaning.startswith("One row"), name


def test_amendments_list_every_column_of_a_fact(reader: psycopg.Connection[Row]) -> None:
    text = MARTS["amendments"].sql
    listed = set(re.findall(r"(\w+)_history AS former", text))
    for fact in (table for table in listed if table.startswith("fact_")):
        part = text.partition(f"FROM {fact}_history")[2].partition("UNION ALL")[0]
        described = reader.execute(
            sql.SQL("SELECT * FROM {} LIMIT 0").format(sql.Identifier(fact))
        ).description
        columns = [column.name for column in described or ()]
        left_out = (
            "_record_id",
            "last_updated_date",
            "last_updated_time",
            *library.load(TRANSFORMS)[fact].key,
        )
        expected = [name for name in columns if not name.endswith(left_out) and name not in {*ADDED_TO_FACTS}]
        found = re.findall(r"jsonb_build_array\(\s*'(\w+)',\s+former\.(\w+),\s+later\.(\w+)\s*\)", part)
        assert found == [(name, name, name) for name in expected], fact


@pytest.mark.since(17, "the planner's choice of an index alone here")
def test_unpaid_amounts_are_found_in_an_index_alone(reader: psycopg.Connection[Row]) -> None:
    reader.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
    plan = reader.execute("EXPLAIN SELECT * FROM reporting.unpaid_by_age").fetchall()
    reader.execute("RESET ALL; SET TimeZone = 'UTC'")
    lines = [line for row in plan for line in row.values() if " on fact_payment" in line]
    assert lines
    assert all("Index Only Scan using fact_payment_not_paid" in line for line in lines)


def test_the_documented_questions_have_answers(reader: psycopg.Connection[Row]) -> None:
    text = (PROJECT / "docs" / "marts.md").read_text(encoding="utf-8")
    questions = re.findall(r"^```sql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(questions) == 10
    for question in questions:
        assert reader.execute(question.encode()).fetchall(), question
    table = "".join(line for line in text.splitlines() if line.startswith("| "))
    assert set(re.findall(r"`(\w+)(?:\(shown_at\))?`", table)) - {"last_updated"} == set(MARTS)


def test_the_documented_questions_stand_in_the_heads_of_their_marts() -> None:
    text = (PROJECT / "docs" / "marts.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\d+\. (.+)\n```sql\n(?:.*\n)*?FROM reporting\.(\w+)", text, re.MULTILINE)
    assert sorted(documented) == sorted(
        (each, name) for name, mart in MARTS.items() for each in mart.questions
    )


def test_the_facts_cover_the_days_of_their_first_column_of_dates(shop: Warehouse) -> None:
    models = library.load(TRANSFORMS)
    with psycopg.connect(shop.url) as reader:
        targets = catalogue.existing_targets(reader, shop.schema, models)
        for name, target in targets.items():
            if target.fact:
                query = sql.SQL("SELECT min(created_date)::text, max(created_date)::text FROM {}")
                bounds = reader.execute(query.format(sql.Identifier("reporting", name))).fetchone()
                days = dictionary.days_of(reader, shop.schema, target)
                assert days is not None
                assert (days.column, (days.first_day, days.last_day)) == ("created_date", bounds), name


def test_the_marts_of_sales_agree(reader: psycopg.Connection[Row]) -> None:
    """Each one has all orders, once."""
    for kind, amount in (("sales", "revenue"), ("purchases", "amount")):
        total = sql.SQL("SELECT currency_code, sum({}) AS amount, {} AS orders FROM {} GROUP BY 1 ORDER BY 1")
        orders = sql.Identifier("reporting", kind)
        expected = reader.execute(
            total.format(sql.Identifier(amount), sql.SQL("count(*)"), orders)
        ).fetchall()
        assert len(expected) > 1
        for name in MARTS:
            if name.startswith(f"{kind}_by_"):
                mart = sql.Identifier("reporting", name)
                query = total.format(sql.Identifier(amount), sql.SQL("sum(orders)"), mart)
                assert reader.execute(query).fetchall() == expected, name


def test_a_moment_before_the_first_batch_is_an_error(reader: psycopg.Connection[Row]) -> None:
    """In one line, whatever rows the mart would have."""
    message = "nothing is known of 2020-01-01 .*: the first batch shows 2024-05-10 09:00:00"
    for name in MARTS:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
            rows_of(reader, name, {"looked_at": "2020-01-01", "arguments": ["2020-01-01"]})


def test_an_empty_warehouse_has_no_rows(postgres: Postgres) -> None:
    with database(postgres, "empty") as url:
        catalogue.prepare(url, "public", library.load(TRANSFORMS), TRANSFORMS)
        with psycopg.connect(url, row_factory=dict_row, autocommit=True) as reader:
            for name in MARTS.keys() - {"today"}:
                assert rows_of(reader, name, {"arguments": ["2024-05-13"]}) == [], name
            assert rows_of(reader, "today", {}) == [{"day": None}]
