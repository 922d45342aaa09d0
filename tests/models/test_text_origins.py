"""What a function makes of a column compares as text wherever it is passed on; the column does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ModelError
from tests.models.comparison_cases import TABLES, Models
from tests.models.test_citext_and_enums import CITEXT, TEXT, compared

# Each gives rows of a column a, which is text.
TEXTS = {
    "cte": "WITH c AS (SELECT id, v ->> 'a' AS a FROM {jsonb}) SELECT id, a FROM c",
    "recursive": "WITH RECURSIVE c AS (SELECT id, v ->> 'a' AS a FROM {jsonb}"
    " UNION ALL SELECT id + 10, a FROM c WHERE id < 2 AND a = 'x') SELECT id, a FROM c",
    "distinct": "SELECT 1 AS id, a FROM (SELECT DISTINCT v ->> 'a' AS a FROM {jsonb}) AS s",
    "union": "SELECT 1 AS id, a FROM (SELECT v ->> 'a' AS a FROM {jsonb} UNION SELECT v FROM {text}) AS s",
    "union all": "SELECT id, v AS a FROM {text} UNION ALL SELECT id, v ->> 'a' FROM {jsonb}",
    "except": "SELECT 1 AS id, a FROM (SELECT v AS a FROM {text} EXCEPT SELECT v ->> 'a' FROM {jsonb}) AS s",
    "coalesce": "SELECT id, COALESCE(v ->> 'a', 'none') AS a FROM {jsonb}",
    "nullif": "SELECT id, NULLIF(v ->> 'a', '') AS a FROM {jsonb}",
    "case": "SELECT id, CASE WHEN id > 0 THEN v ->> 'a' ELSE 'b' END AS a FROM {jsonb}",
    "maximum": "SELECT id, max(v ->> 'a') AS a FROM {jsonb} GROUP BY id",
    "lag": "SELECT id, lag(v ->> 'a') OVER (ORDER BY id) AS a FROM {jsonb}",
    "first of a group": "SELECT min(id) AS id, v ->> 'a' AS a FROM {jsonb} GROUP BY v ->> 'a'",
    "join": "SELECT t.id, j.v ->> 'a' AS a FROM {text} AS t LEFT JOIN {jsonb} AS j ON j.id = t.id",
    "subquery": "SELECT id, (SELECT max(v ->> 'a') FROM {jsonb} AS j WHERE j.id <= t.id) AS a"
    " FROM {text} AS t",
    "lateral": "SELECT id, s.a FROM {jsonb}, LATERAL (SELECT v ->> 'a' AS a) AS s",
    "list": "SELECT id, unnest(ARRAY[v ->> 'a', 'b']) AS a FROM {jsonb}",
    "lateral list": "SELECT id, s.a FROM {jsonb}, LATERAL unnest(ARRAY[v ->> 'a', 'b']) AS s(a)",
    "item of a list": "SELECT id, (ARRAY[v ->> 'a', 'b'])[1] AS a FROM {jsonb}",
    "json as text": "SELECT id, CAST(v -> 'a' AS text) AS a FROM {jsonb}",
    "interval as text": "SELECT id, upper(CAST(v AS text)) AS a FROM {interval}",
}
USES = {
    "equal": "SELECT '{kind}' AS kind, id, 1 AS n FROM ({sql}) AS q WHERE a = 'x'",
    "group": "SELECT '{kind}' || COALESCE(a, '-') AS kind, max(id) AS id, count(*) AS n"
    " FROM ({sql}) AS q GROUP BY a",
    "rank": "SELECT '{kind}' AS kind, id, rank() OVER (ORDER BY a) AS n FROM ({sql}) AS q",
    "join": "SELECT '{kind}' AS kind, q.id, t.id AS n FROM ({sql}) AS q JOIN {text} AS t ON t.v = q.a",
    "in": "SELECT '{kind}' AS kind, id, 1 AS n FROM {text} WHERE v IN (SELECT a FROM ({sql}) AS q)",
    "maximum": "SELECT max(a) AS kind, count(DISTINCT a) AS id, 1 AS n FROM ({sql}) AS q",
}
# Each gives rows of a column a, which is an interval in Postgres, in some rows at least.
STORED = {
    "cte": "WITH c AS (SELECT id, v AS a FROM {interval}) SELECT id, a FROM c",
    "coalesce": "SELECT id, COALESCE(v, '1 mon') AS a FROM {interval}",
    "case": "SELECT id, CASE WHEN id > 0 THEN v END AS a FROM {interval}",
    "mixed": "SELECT id, CASE WHEN id > 0 THEN v ELSE 'x' || id END AS a FROM {interval}",
    "greatest": "SELECT id, greatest(v, '1 mon') AS a FROM {interval}",
    "lag": "SELECT id, lag(v) OVER (ORDER BY id) AS a FROM {interval}",
    "union": "SELECT id, v AS a FROM {interval} UNION ALL SELECT id, v FROM {interval}",
    "values": "SELECT id, a FROM (VALUES (1, (SELECT v FROM {interval} WHERE id = 0))) AS s(id, a)",
    "item of a list": "SELECT id, (ARRAY[v])[1] AS a FROM {interval}",
    "items of a list": "SELECT id, unnest(ARRAY[v]) AS a FROM {interval}",
    "lateral list": "SELECT id, s.a FROM {interval}, LATERAL unnest(ARRAY[v]) AS s(a)",
    "record": "SELECT id, struct_pack(q := v).q AS a FROM {interval}",
    "list": "SELECT id, ARRAY[v] AS a FROM {interval}",
    "list of json": "SELECT id, ARRAY[v -> 'n'] AS a FROM {jsonb}",
    "json": "SELECT id, v -> 'n' AS a FROM {jsonb}",
}


@pytest.mark.parametrize("kind", [*TEXTS])
def test_texts_compare_as_in_postgres(models: Models, kind: str) -> None:
    for use in USES.values():
        sql = use.format(kind=kind, sql=TEXTS[kind].format_map(TABLES), **TABLES)
        assert models.yields(sql) == models.expected(sql), sql


@pytest.mark.parametrize("kind", [*STORED])
def test_columns_that_compare_differently_are_refused(models: Models, kind: str) -> None:
    for use in (
        "SELECT 'x' AS kind, max(id) AS id, count(*) AS n FROM ({sql}) AS q GROUP BY a",
        "SELECT 'x' AS kind, p.id, q.id AS n FROM ({sql}) AS p JOIN ({sql}) AS q ON p.a = q.a",
    ):
        with pytest.raises(ModelError, match="differently from Postgres; cast it in the model"):
            models.yields(use.format(sql=STORED[kind].format_map(TABLES)))


@pytest.mark.parametrize("type_", ["interval", "jsonb", "pair"])
def test_a_recursive_union_of_such_columns_is_refused(models: Models, type_: str) -> None:
    sql = "WITH RECURSIVE c AS (SELECT id, v FROM {t} WHERE id < 2"
    sql += " {union} SELECT id + 1, v FROM c WHERE id < 3)"
    sql += " SELECT 'x' AS kind, id, count(*) AS n FROM c GROUP BY id"
    table = TABLES[type_]
    with pytest.raises(ModelError, match="differently from Postgres; cast it in the model"):
        models.yields(sql.format(t=table, union="UNION"))
    repeated = sql.format(t=table, union="UNION ALL")
    assert models.yields(repeated) == models.expected(repeated)


def test_lists_of_such_columns_are_not_searched(models: Models) -> None:
    sql = "SELECT 'x' AS kind, id, 1 AS n FROM {interval} WHERE list_contains(ARRAY[v], '1 mon')"
    with pytest.raises(ModelError, match="differently from Postgres; cast it in the model"):
        models.yields(sql.format_map(TABLES))


@pytest.mark.parametrize(
    "items",
    [
        "SELECT c.id, u.item FROM c, unnest(c.items) AS u(item)",
        "SELECT c.id, u.value AS item FROM c, json_each(c.document) AS u",
        "SELECT c.id, unnest(c.items) AS item FROM c",
    ],
)
def test_json_arrays_are_unnested(models: Models, items: str) -> None:
    """The planner joins what it unnests with the row, by the text of the document or list."""
    document = """'[{"sku": "p", "n": 2}, {"sku": "q", "n": 1.0}, {"sku": "p"}]'"""
    table = TABLES["jsonb"]
    c = f"SELECT id, CAST({document} AS JSON) AS document, CAST({document} AS JSON[]) AS items FROM {table}"
    sql = f"WITH c AS ({c}), items AS ({items}), named AS (SELECT id, item ->> 'sku' AS sku FROM items)"
    sql += " SELECT sku AS kind, max(id) AS id, count(*) AS n FROM named GROUP BY sku"
    rows = len(models.postgres.execute(f"SELECT * FROM {table}".encode()).fetchall())
    assert models.yields(sql) == [("p", rows - 1, 2 * rows), ("q", rows - 1, rows)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n FROM (SELECT left(mail, 3) AS n FROM t) AS s WHERE n = 'ann'",
        "SELECT COALESCE(mail, name) AS n FROM t WHERE COALESCE(mail, name) = 'ann'",
        "SELECT mail AS n FROM (SELECT mail FROM t UNION ALL SELECT name FROM t) AS s WHERE mail = 'ann'",
        "SELECT n FROM (SELECT max(mail || '') AS n FROM t GROUP BY name) AS s WHERE n = 'ann'",
    ],
)
def test_text_of_citext_is_case_sensitive_wherever_it_is_passed(tmp_path: Path, sql: str) -> None:
    with pytest.raises(ModelError, match="differently from Postgres; Postgres is case-sensitive here"):
        compared(tmp_path, sql, CITEXT, TEXT)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WITH c AS (SELECT lower(mail) AS n FROM t) SELECT n FROM c GROUP BY n", ["ann", "bob"]),
        ("WITH c AS (SELECT mail AS n FROM t) SELECT n FROM c WHERE n = 'ann'", ["ANN", "Ann"]),
        ("SELECT COALESCE(mail, 'x') AS n FROM t WHERE COALESCE(mail, 'x') = 'ann'", ["ANN", "Ann"]),
        (
            "SELECT mail AS n FROM t WHERE EXISTS (FROM t AS b WHERE b.mail = t.mail AND b.name = 'x')",
            ["bob"],
        ),
    ],
)
def test_citext_stays_without_case_wherever_it_is_passed(
    tmp_path: Path, sql: str, expected: list[str]
) -> None:
    assert compared(tmp_path, sql, CITEXT, TEXT) == expected
