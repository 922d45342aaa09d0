"""Models compare, order and group values as Postgres does with the same SQL, or are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.errors import ModelError
from tests.models.comparison_cases import (
    EQUALITY,
    INCOMPARABLE,
    LITERAL,
    ONLY_EQUAL,
    ORDER,
    ORDERING,
    TABLES,
    VALUES,
    Models,
)


def cases(type_: str) -> dict[str, str]:
    """The kinds of comparisons, with their SQL."""
    literals = {"l": VALUES[type_][1], "k": VALUES[type_][0]}
    return {
        kind: f"SELECT '{kind}' AS kind, id, n FROM ({sql.format(t=TABLES[type_], **literals)}) AS rows"
        for kind, sql in (EQUALITY | ORDER | LITERAL).items()
    }


ARRAYS = tuple(type_ for type_ in VALUES if type_.endswith("[]"))
# USING names no column that could be cast, and the text of an array is no list.
REFUSED = (
    {(type_, kind) for type_ in ONLY_EQUAL for kind in ORDERING}
    | {(type_, "join using") for type_ in ("numeric", "numeric(45,3)", *ARRAYS)}
    | {(type_, kind) for type_ in ARRAYS for kind in LITERAL}
)


@pytest.mark.parametrize("type_", [type_ for type_ in VALUES if type_ not in INCOMPARABLE])
def test_models_compare_as_postgres_does(models: Models, type_: str) -> None:
    """Comparisons that Postgres does not have are left out."""
    given = [
        sql
        for kind, sql in cases(type_).items()
        if models.expected(sql) is not None and (type_, kind) not in REFUSED
    ]
    assert len(given) > len(EQUALITY) - 2
    every = " UNION ALL ".join(given)
    assert models.yields(every) == models.expected(every)


def refusals() -> Iterator[tuple[str, str]]:
    """All comparisons of one type, and a few of each other type."""
    yield "numeric", "join using"
    for type_ in ONLY_EQUAL:
        yield from ((type_, kind) for kind in (ORDERING if type_ == "inet" else ["rank", "maximum"]))
    for type_ in INCOMPARABLE:
        few = ["join", "group", "rank"]
        yield from ((type_, kind) for kind in ([*EQUALITY, *ORDER, *LITERAL] if type_ == "interval" else few))


@pytest.mark.parametrize(("type_", "kind"), [*refusals()])
def test_comparisons_that_differ_in_duckdb_are_refused(models: Models, type_: str, kind: str) -> None:
    """As text, 10 is less than 9, and 9.0 differs from 9.00."""
    sql = cases(type_)[kind]
    meant = r"rows as a whole" if kind == "row" else rf"{TABLES[type_]}\.v \(.+\)"
    message = rf"dim_m\.sql: compares {meant} differently from Postgres; c(ast it|ompare their columns)"
    with pytest.raises(ModelError, match=message):
        models.yields(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, 1 AS n FROM {numeric} WHERE id < 3 AND CAST(v AS DECIMAL(10, 2)) > 9",
        "SELECT max(id) AS id, count(*) AS n FROM {numeric} GROUP BY CAST(v AS DOUBLE PRECISION)",
        "SELECT id, 1 AS n FROM {inet} WHERE v = '9.0.0.1' OR v IN (SELECT v FROM {inet} WHERE id = 0)",
        "SELECT id, length(CAST(v AS text)) AS n FROM {pair} ORDER BY id",
        "SELECT max(id) AS id, count(*) AS n FROM {mood} WHERE v >= 'calm' AND COALESCE(v, 'zen') <> 'angry'",
        "SELECT id, 1 AS n FROM {mood} WHERE CAST(v AS text) > 'b'",
        "SELECT id, 1 AS n FROM {mood} WHERE v::text > 'calm' OR CAST(v AS text) IN ('zen', 'other')",
        "SELECT id, 1 AS n FROM {jsonb} WHERE CAST(v ->> 'n' AS DECIMAL(9, 2)) = 1",
        "SELECT max(id) AS id, count(*) AS n FROM {jsonb} GROUP BY v ->> 'a'",
        "SELECT count(DISTINCT v ->> 'a') AS id, length(max(v ->> 'a')) AS n FROM {jsonb}",
        "SELECT id, 1 AS n FROM {integer} WHERE (id, v) IN (SELECT id, v FROM {integer})",
        "SELECT id, 1 AS n FROM {integer} WHERE (id, v) IN (SELECT id, v FROM {integer}) IS NULL",
    ],
)
def test_columns_that_a_model_casts_can_be_compared(models: Models, sql: str) -> None:
    sql = f"SELECT 'x' AS kind, id, n FROM ({sql.format_map(TABLES)}) AS rows"
    assert models.yields(sql) == models.expected(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.id, 1 AS n FROM {integer} AS a JOIN {integer} AS b ON (a.v, 1) = (b.v, 1)",
        "SELECT id, 1 AS n FROM {integer} WHERE (v, id) < (9, 2)",
        "SELECT id, 1 AS n FROM {integer} WHERE (v, id) IN ((9, 1), (NULL, 2))",
        "SELECT id, 1 AS n FROM {integer} WHERE NOT (v, id) BETWEEN (9, 2) AND (10, 3)",
        "SELECT id, CASE (v, id) WHEN (9, 1) THEN 1 ELSE 2 END AS n FROM {integer}",
        "SELECT id, 1 AS n FROM {integer} WHERE (v, v) IS NULL",
        "SELECT id, 1 AS n FROM {integer} WHERE row(v, id) IS NOT NULL",
    ],
)
def test_comparisons_of_whole_rows_are_refused(models: Models, sql: str) -> None:
    """DuckDB compares a NULL in a row as a value."""
    message = r"dim_m\.sql: compares rows as a whole differently from Postgres; compare their columns"
    with pytest.raises(ModelError, match=message):
        models.yields(f"SELECT 'x' AS kind, id, n FROM ({sql.format_map(TABLES)}) AS rows")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS id, count(*) AS n FROM {jsonb} GROUP BY v -> 'a'",
        "SELECT id, rank() OVER (ORDER BY v -> 'a') AS n FROM {jsonb}",
        "SELECT a.id, 1 AS n FROM {jsonb} AS a JOIN {jsonb} AS b ON (a.v -> 'a') = (b.v -> 'a')",
        "SELECT count(DISTINCT v -> 'a') AS id, 1 AS n FROM {jsonb}",
        "SELECT count(DISTINCT v) AS id, 1 AS n FROM {jsonb}",
        "SELECT 1 AS id, length(max(v -> 'a')) AS n FROM {jsonb}",
    ],
)
def test_json_is_compared_by_postgres_only(models: Models, sql: str) -> None:
    """As text, 1.0 differs from 1."""
    with pytest.raises(ModelError, match=r"compares .+ \(jsonb\) differently from Postgres; cast it"):
        models.yields(f"SELECT 'x' AS kind, id, n FROM ({sql.format_map(TABLES)}) AS rows")


@pytest.mark.parametrize(
    "condition",
    ["v = 'other'", "'other' <> v", "v IN ('zen', 'other')", "v > 'other'", "v BETWEEN 'zen' AND 'other'",
     "CASE v WHEN 'other' THEN TRUE END", "greatest(v, 'other') = 'zen'", "v NOT IN ('other')"],
)  # fmt: skip
def test_comparing_an_enum_with_an_unknown_label_is_refused(models: Models, condition: str) -> None:
    """Postgres refuses it, too. An old batch may precede the label."""
    sql = f"SELECT 'x' AS kind, id, 1 AS n FROM {TABLES['mood']} WHERE {condition}"
    assert models.expected(sql) is None
    message = r"dim_m\.sql: compares v with 'other', which is no label of its enum \('zen', 'calm', 'angry'\)"
    with pytest.raises(ModelError, match=message):
        models.verify(sql)
    models.verify(sql, replays=True)
    models.verify(sql.replace("other", "calm"))
