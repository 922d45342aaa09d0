"""Models whose rows each come from one source row, by DuckDB's plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.plans import analysed


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, upper(c) AS b FROM t",
        "SELECT a FROM t WHERE b > 1",
        "WITH c AS (SELECT a, b FROM t) SELECT a FROM c",
        "WITH t AS (SELECT * FROM t), c AS (SELECT a FROM t WHERE b = 1) SELECT * FROM c",
        "WITH c AS MATERIALIZED (SELECT a, b FROM t) SELECT a FROM c",
        "SELECT CASE WHEN a > 1 THEN 'x' END AS x, coalesce(b, 0) AS b FROM t AS q",
        "SELECT list_sort([a, b])[1] AS least, greatest(a, b) AS most FROM t",
        "SELECT list_transform([a, b], lambda x: x + 1)[1] AS x FROM t",
        "SELECT a FROM (SELECT a FROM t) AS s",
        "SELECT x FROM t AS q (x, y, z, f)",
        "SELECT * FROM t",
        "SELECT COLUMNS('a|b') FROM t",
        "SELECT a, c LIKE 'x%' AS d FROM t WHERE a IN (1, 2)",
        "SELECT nullif(a, 0) AS a FROM t WHERE a BETWEEN 1 AND 5 AND NOT (b IS NULL OR c = '')",
    ],
)
def test_models_whose_rows_come_from_one_row_each(tmp_path: Path, sql: str) -> None:
    assert analysed(tmp_path, sql).table == "t"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t.a FROM t JOIN u ON t.a = u.a",
        "SELECT t.a FROM t, u",
        "SELECT x.a FROM t AS x LEFT JOIN t AS y ON x.a = y.b",
        "WITH c AS (SELECT * FROM t) SELECT x.a FROM c AS x JOIN c AS y ON x.a = y.b",
        "WITH c AS (SELECT max(a) AS a FROM t) SELECT t.a FROM t, c",
        "SELECT count(*) AS n FROM t",
        "SELECT a, sum(b) AS b FROM t GROUP BY a",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT a + max(b) AS x FROM t GROUP BY a",
        "SELECT list(b ORDER BY b)[1] AS bs FROM t",
        "SELECT a, row_number() OVER (ORDER BY b) AS n FROM t",
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1",
        "SELECT DISTINCT a FROM t",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b",
        "SELECT a FROM t ORDER BY b LIMIT 5",
        "SELECT a FROM t UNION ALL SELECT b FROM t",
        "SELECT a FROM t UNION SELECT a FROM t",
        "SELECT a FROM t EXCEPT SELECT b FROM t",
        "SELECT a FROM t WHERE b = (SELECT max(b) FROM t)",
        "SELECT a FROM t WHERE a IN (SELECT b FROM t)",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u)",
        "SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
        "SELECT a, (SELECT b FROM u WHERE u.a = 1) AS x FROM t",
        "SELECT a, (SELECT b FROM u WHERE u.a = t.a) AS x FROM t",
        "SELECT a, (SELECT max(u.b) FROM u WHERE u.a = t.a) AS m FROM t",
        "WITH RECURSIVE r AS (SELECT a FROM t UNION ALL SELECT a + 1 FROM r WHERE a < 9) SELECT a FROM r",
        "SELECT MAX(a) AS a FROM t",
        "SELECT 1 AS a",
        "SELECT round(weighted_avg(b, a), 2) AS b FROM t",  # a macro that is an aggregate
        "SELECT a, unnest([1, 2]) AS b FROM t",
        "SELECT a, x FROM t, unnest([a, b]) AS s (x)",
        "SELECT a, generate_series FROM t, generate_series(1, a)",
        "SELECT a FROM iso_4217, t",
        "SELECT t.a FROM t POSITIONAL JOIN u",
        "SELECT t.a FROM t ASOF JOIN u ON t.a >= u.a",
        "SELECT t.a FROM t SEMI JOIN u ON t.a = u.a",
    ],
)
def test_models_whose_rows_may_come_from_several_rows(tmp_path: Path, sql: str) -> None:
    assert analysed(tmp_path, f"-- unstable: allowed\n{sql}").table is None


@pytest.mark.parametrize(
    ("sql", "carries"),
    [
        ("SELECT a, t.b AS x, a + 1 AS d FROM t WHERE a > 1", {"a": "a", "x": "b"}),
        ("SELECT b AS a FROM (SELECT a AS b, b AS a FROM t) AS s", {"a": "a"}),
        ("SELECT a FROM (SELECT a + 1 AS a FROM t) AS s", {}),
        ("SELECT a FROM t AS q (b, a, c, f)", {"a": "b"}),
        ("WITH s (b) AS (SELECT a FROM t) SELECT b FROM s", {"b": "a"}),
        ("WITH t AS (SELECT b AS a FROM t) SELECT a FROM t", {"a": "b"}),
        ("SELECT * FROM t", {"a": "a", "b": "b", "c": "c", "f": "f"}),
        ("SELECT * EXCLUDE (b, f) REPLACE (upper(c) AS c) FROM t", {"a": "a"}),
        ("SELECT a::bigint AS a FROM t", {}),
        ("SELECT a, unnest([1, 2]) AS b FROM t", {}),
        ("SELECT t.a FROM t JOIN u USING (a)", {}),
    ],
)
def test_columns_that_are_carried_from_the_table(tmp_path: Path, sql: str, carries: dict[str, str]) -> None:
    assert analysed(tmp_path, sql).carries == carries


@pytest.mark.parametrize(
    ("sql", "filtered"),
    [
        ("SELECT a FROM t", False),
        ("SELECT a FROM t WHERE b > 1", True),
        ("WITH c AS (SELECT a FROM t WHERE b > 1) SELECT a FROM c", True),
    ],
)
def test_filters_that_may_leave_rows_out(tmp_path: Path, sql: str, filtered: bool) -> None:
    assert analysed(tmp_path, sql).filtered == filtered


def test_tables_whose_names_differ_by_case_are_two(tmp_path: Path) -> None:
    assert analysed(tmp_path, 'SELECT a FROM "T"').table == "T"
    assert analysed(tmp_path, "SELECT a FROM T").table == "T", "a name means the relation that is spelled so"
    assert analysed(tmp_path, "SELECT a FROM t").table == "t"


def test_models_over_models_are_composed(tmp_path: Path) -> None:
    double = "SELECT a AS id, b * 2 AS n FROM t"
    over = analysed(tmp_path, double, "SELECT id AS key, n + 1 AS n FROM m0 WHERE n > 2")
    assert (over.table, dict(over.carries), over.filtered) == ("t", {"key": "a"}, True)
    assert analysed(tmp_path, double, "SELECT id FROM m0", "SELECT id FROM m1").table == "t"
    assert analysed(tmp_path, double, "SELECT x.id FROM m0 AS x JOIN u ON x.id = u.a").table is None
    assert analysed(tmp_path, "SELECT max(a) AS id FROM t", "SELECT id FROM m0").table is None
    assert analysed(tmp_path, "SELECT a FROM t", "SELECT b AS a FROM t", "SELECT a FROM m1").table == "t"
