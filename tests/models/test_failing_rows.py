"""Rows for which the SQL of a model that is computed row by row fails."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.models import failing_rows
from pipeline.models.work import Work
from tests.pair import Pair
from tests.support import query

SOURCE = (
    "CREATE TABLE visit (visit_id int PRIMARY KEY, code text, parts int)",
    "INSERT INTO visit SELECT i, i, 1 + i % 3 FROM generate_series(1, 50) AS i",
)
MODELS = {
    "fact_visit": """
        -- key: visit_id
        SELECT visit_id, CAST(code AS INTEGER) * 2 AS code, 12 // parts AS part, parts
        FROM visit
        WHERE CAST(code AS INTEGER) < 1000
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS fact_visit (
            visit_id integer NOT NULL, code integer NOT NULL, part integer, parts integer
        );
        CREATE TABLE IF NOT EXISTS dim_code (code integer PRIMARY KEY);
    """,
}
CURRENT = "SELECT visit_id, code, part, parts FROM fact_visit_current ORDER BY 1"
REJECTED = (
    "SELECT key ->> 'visit_id', reason, \"row\" ->> 'parts' FROM etl.rejected WHERE NOT resolved ORDER BY 1"
)


def right(pair: Pair, *lacking: int, old: tuple[tuple[int, int, int, int], ...] = ()) -> None:
    """Assert that the warehouse equals the SQL on the source but for these rows, and old ones of them."""
    rows = query(
        pair.source_url,
        "SELECT visit_id, CAST(code AS integer) * 2, 12 / parts, parts FROM visit WHERE visit_id <>"
        f" ALL('{{{', '.join(map(str, lacking))}}}') AND CAST(code AS integer) < 1000",
    )
    assert pair.house.query(CURRENT) == sorted([*rows, *old])


def test_they_are_rejected_and_block_no_others(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.do("UPDATE visit SET code = 'seven' WHERE visit_id = 7")
    shared.run()
    right(shared, 7)
    ((key, reason, parts),) = shared.house.query(REJECTED)
    assert (key, parts) == ("7", "2")
    assert reason.startswith("fact_visit.sql: Conversion Error: a value of code does not fit integer")
    assert "seven" not in reason

    shared.do(
        "UPDATE visit SET code = 'x' WHERE visit_id = 8",
        "UPDATE visit SET parts = 0 WHERE visit_id = 9",
        "UPDATE visit SET code = '2000' WHERE visit_id = 10",
        "UPDATE visit SET parts = 4 WHERE visit_id = 11",
        "DELETE FROM visit WHERE visit_id = 12",
    )
    shared.run()
    old = ((8, 16, 4, 3), (9, 18, 12, 1))
    right(shared, 7, 8, 9, old=old)
    found = shared.house.query(REJECTED)
    assert [key for key, _, _ in found] == ["7", "8", "9"]
    assert "a row is divided by zero" in found[2][1]
    assert shared.run() is None
    shared.run(reconcile=True)
    right(shared, 7, 8, 9, old=old)

    shared.do("UPDATE visit SET code = '7' WHERE visit_id = 7", "DELETE FROM visit WHERE visit_id = 8")
    shared.do("UPDATE visit SET parts = 2 WHERE visit_id = 9")
    shared.run()
    right(shared)
    assert shared.house.query(REJECTED) == []


def test_a_model_fails_if_it_fails_for_all_rows_or_for_many(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.do("UPDATE visit SET code = 'x'")
    with pytest.raises(ModelError, match=r"fact_visit\.sql.* a value of code does not fit integer"):
        shared.run()
    shared.fresh(MODELS, *SOURCE, "INSERT INTO visit SELECT i, 'x', 1 FROM generate_series(100, 1101) AS i")
    with pytest.raises(ModelError, match=r"fact_visit\.sql.* a value of code does not fit integer"):
        shared.run()


def test_the_only_changed_rows_of_a_batch_block_no_others(shared: Pair) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    shared.do("UPDATE visit SET code = 'x' WHERE visit_id IN (7, 8)")
    shared.run()
    shared.do("UPDATE visit SET code = 'y' WHERE visit_id = 7")
    shared.run()
    right(shared, 7, 8, old=((7, 14, 6, 2), (8, 16, 4, 3)))
    assert [key for key, _, _ in shared.house.query(REJECTED)] == ["7", "8"]


def test_a_model_that_fails_for_each_of_many_rows_fails_soon(
    shared: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are searched by halves, and one query for each of a large table's would take days."""
    queries = []
    failure = failing_rows._failure

    def counted(connection: Any, work: Work) -> str | None:
        queries.append(work)
        return failure(connection, work)

    monkeypatch.setattr(failing_rows, "_failure", counted)
    shared.fresh(MODELS, *SOURCE, "INSERT INTO visit SELECT i, 'x', 1 FROM generate_series(100, 9999) AS i")
    with pytest.raises(ModelError, match=r"fact_visit\.sql.* a value of code does not fit integer"):
        shared.run()
    assert len(queries) < 3_000


def test_a_model_that_is_computed_as_a_whole_fails(shared: Pair) -> None:
    whole = {"dim_code": "SELECT DISTINCT CAST(code AS INTEGER) AS code FROM visit"}
    shared.fresh(MODELS | whole, *SOURCE)
    shared.do("UPDATE visit SET code = 'x' WHERE visit_id = 7")
    with pytest.raises(ModelError, match=r"dim_code\.sql.* a value of code does not fit integer"):
        shared.run()
