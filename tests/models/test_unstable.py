"""Models that may yield different rows for the same data are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models import unstable
from tests.models.plans import analysed

UNSTABLE = [
    ("SELECT a, now() AS x FROM t", r"(now|get_current_timestamp|current_timestamp).*join reference\.batch"),
    ("SELECT a, current_date AS x FROM t", r"yields another value each time; .*reference\.batch \(moment\)"),
    ("SELECT a, random() AS x FROM t", r"random\(\) yields another value each time"),
    ("SELECT a, gen_random_uuid()::varchar AS x FROM t", "yields another value each time"),
    ("SELECT b, string_agg(c, ',') AS x FROM t GROUP BY b", r"string_agg\(\) without ORDER BY depends"),
    ("SELECT b, first(c) AS x FROM t GROUP BY b", r"first\(\) without ORDER BY depends on the order"),
    ("SELECT b, list(c)[1] AS x FROM t GROUP BY b", r"list\(\) without ORDER BY depends"),
    (
        "SELECT b, array_agg(DISTINCT c)[1] AS x FROM t GROUP BY b",
        r"write array_agg\(DISTINCT x ORDER BY x\)",
    ),
    ("SELECT b, ARRAY(SELECT a FROM u ORDER BY b)[1] AS x FROM t", "tied rows come in any order"),
    ("SELECT a, row_number() OVER () AS x FROM t", r"row_number\(\) without ORDER BY depends"),
    ("SELECT a, lag(b) OVER (PARTITION BY c) AS x FROM t", r"lag\(\) without ORDER BY depends"),
    ("SELECT b, sum(f) AS x FROM t GROUP BY b", r"sum\(\) over floating point .* cast .* to DECIMAL"),
    ("SELECT a, sum(f) OVER (PARTITION BY b) AS x FROM t", r"sum\(\) over floating point"),
    ("SELECT b, avg(f) AS x FROM t GROUP BY b", r"avg\(\) over floating point"),
    ("SELECT a, (SELECT b FROM u LIMIT 1) AS x FROM t", "LIMIT without ORDER BY"),
    ("SELECT a, (SELECT first(b) FROM u) AS x FROM t", r"first\(\) without ORDER BY"),
    ("SELECT a, x FROM t, unnest([b, a]) AS s(x) LIMIT 5", "LIMIT without ORDER BY depends"),
    ("SELECT a, v FROM t, (SELECT x AS v FROM unnest([t.b]) AS s(x) LIMIT 1)", "LIMIT without ORDER BY"),
    ("SELECT a, v FROM t, (SELECT b AS v FROM u LIMIT 1)", "LIMIT without ORDER BY depends"),
    ("SELECT a, v FROM t, (SELECT u.b AS v FROM u WHERE u.b > t.b LIMIT 1)", "LIMIT without ORDER BY"),
    (
        "SELECT a, n FROM t, (SELECT row_number() OVER () AS n FROM unnest([t.b]) AS s(x))",
        r"row_number\(\) wi",
    ),
    ("SELECT a, row_number() OVER () AS limit_rownum FROM t", r"row_number\(\) without ORDER BY depends"),
    ("SELECT c, list(x)[1] AS x FROM t, unnest([b, a]) AS s(x) GROUP BY c", r"list\(\) without ORDER BY"),
    ("SELECT a FROM t LIMIT 5", r"LIMIT without ORDER BY depends on the order of rows; order by t\.a"),
    ("SELECT DISTINCT ON (b) b, a FROM t", "DISTINCT ON without ORDER BY depends on the order"),
    ("SELECT a FROM t USING SAMPLE 10%", "takes random rows"),
    ("SELECT a FROM t TABLESAMPLE 10%", "takes random rows"),
    (
        "SELECT a, j + 1 AS x FROM (SELECT a, (j ->> 'k')::int AS j FROM docs TABLESAMPLE 10%)",
        "takes random rows",
    ),
    (
        "SELECT b, max(lower(c) COLLATE NOACCENT) AS x FROM t GROUP BY b",
        r"COLLATE NOACCENT takes several spel",
    ),
    ("SELECT upper(c COLLATE nfc) AS x, max(a) AS a FROM t GROUP BY 1", r"COLLATE nfc takes several"),
    ("SELECT a FROM t WHERE b > (SELECT random())", r"random\(\) yields another value each time"),
    ("SELECT a, year(now()) AS x FROM t", r"now\(\) yields another value each time"),
    ("SELECT a FROM t WHERE b > year(current_date)", r"current_date yields another value each time"),
    (
        "SELECT a, (localtimestamp - INTERVAL 1 DAY)::varchar AS x FROM t",
        r"localtimestamp yields another value each time",
    ),
    ("SELECT a, (SELECT year(today()) FROM u) AS x FROM t", r"today\(\) yields another value each time"),
    ("SELECT a, year(ago(INTERVAL 1 DAY)) AS x FROM t", r"ago\(\) yields another value each time"),
    ("SELECT a, month(age(DATE '2020-01-01')) AS x FROM t", r"age\(\) yields another value each time"),
    (
        "SELECT a, current_localtime()::varchar AS x FROM t",
        r"current_localtime\(\) yields another value each time",
    ),
    (
        "SELECT a, coalesce(getvariable('x'), 1) AS x FROM t",
        r"getvariable\(\) yields another value each time",
    ),
    ("SELECT b, mean(f) AS x FROM t GROUP BY b", r"mean\(\) over floating point"),
    ("SELECT b, favg(a) AS x FROM t GROUP BY b", r"favg\(\) may depend on the order of rows"),
    ("SELECT b, stddev(a) AS x FROM t GROUP BY b", r"stddev\(\) may depend on the order of rows"),
    ("SELECT b, mode(a) AS x FROM t GROUP BY b", r"mode\(\) may depend on the order of rows"),
    ("SELECT approx_quantile(a, 0.5) AS x FROM t", r"approx_quantile\(\) may depend on the order"),
    (
        "SELECT b, arg_max(a, c) AS x FROM t GROUP BY b",
        r"arg_max\(\) takes any .* write arg_max\(x, \(y, key\)\)",
    ),
    ("SELECT b, min_by(a, c) AS x FROM t GROUP BY b", r"min_by\(\) takes any of the tied rows"),
    ("SELECT a, first_value(b) OVER (PARTITION BY c) AS x FROM t", r"first_value\(\) without ORDER BY"),
    ("SELECT json_group_array(a)::varchar AS x FROM t", r"\(\) without ORDER BY depends"),
    (
        "SELECT t.a, u.b FROM t POSITIONAL JOIN u",
        "POSITIONAL JOIN depends on the order of rows; join on a key",
    ),
    ("SELECT a, row_number() OVER () AS x FROM t, iso_4217", r"row_number\(\) without ORDER BY depends"),
    (
        "WITH RECURSIVE r (x) USING KEY (x) AS (SELECT a FROM t UNION SELECT b FROM r, u WHERE x = a) FROM r",
        "USING KEY keeps any of the rows of a key",
    ),
    (
        "WITH RECURSIVE r (x, y) USING KEY (x) AS (SELECT a, b FROM t UNION SELECT b, y FROM r, u) FROM r",
        "DuckDB does not show its plan, so it may depend on",
    ),
    # Ties; column a is the key of t and u.
    (
        "SELECT a, row_number() OVER (PARTITION BY c ORDER BY b) AS x FROM t",
        r"row_number\(\) ORDER BY b: tied rows come in any order; add t\.a to its ORDER BY",
    ),
    (
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY c) = 1",
        r"ORDER BY c: .* add t\.a to",
    ),
    ("SELECT a, lag(b) OVER (ORDER BY b) AS x FROM t", r"lag\(\) ORDER BY b: tied rows"),
    ("SELECT a, ntile(3) OVER (ORDER BY b) AS x FROM t", r"ntile\(\) ORDER BY b: tied rows"),
    ("SELECT a, first_value(a) OVER (ORDER BY b) AS x FROM t", r"first_value\(\) ORDER BY b: tied rows"),
    (
        "SELECT a, sum(b) OVER (ORDER BY b ROWS 2 PRECEDING) AS x FROM t",
        r"sum\(\) over a frame of ROWS ORDER BY b: tied rows",
    ),
    ("SELECT b, string_agg(c, ',' ORDER BY b) AS x FROM t GROUP BY b", r"string_agg\(\) ORDER BY b: "),
    ("SELECT b, string_agg(c, ',' ORDER BY lower(c)) AS x FROM t GROUP BY b", r"ORDER BY an expression: "),
    ("SELECT b, list(f + 1 ORDER BY f + 1)[1] AS x FROM t GROUP BY b", r"list\(\) ORDER BY an expression: "),
    (
        "SELECT a, row_number() OVER (ORDER BY a) AS n FROM (SELECT a, unnest([b, a]) AS x FROM t)",
        r"row_number\(\) ORDER BY a: tied rows come in any order; add all the columns",
    ),
    ("SELECT b, first(c ORDER BY f) AS x FROM t GROUP BY b", r"first\(\) ORDER BY f: tied rows"),
    ("SELECT b, arg_max(c, (f, b)) AS x FROM t GROUP BY b", r"arg_max\(x, \(y, key\)\), where key is t\.a"),
    ("SELECT a FROM t ORDER BY b LIMIT 5", r"LIMIT ORDER BY b: tied rows come in any order; add t\.a"),
    (
        "SELECT a, (SELECT u.c FROM u WHERE u.b = t.a ORDER BY u.f LIMIT 1) AS x FROM t",
        r"LIMIT ORDER BY f: tied rows come in any order; add u\.a",
    ),
    ("SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, c", r"DISTINCT ON ORDER BY b, c: tied rows"),
    ("SELECT t.a, u.f FROM t ASOF JOIN u ON t.c = u.c AND t.b >= u.b", r"ASOF JOIN .* compares u\.a"),
    (
        "SELECT t.a, u.a AS d, row_number() OVER (ORDER BY t.a) AS x FROM t JOIN u ON t.b = u.b",
        r"row_number\(\) ORDER BY a: tied rows come in any order; add u\.a",
    ),
    ("SELECT b, row_number() OVER (ORDER BY sum(a)) AS x FROM t GROUP BY b", r"add b to its ORDER BY"),
    # An outer join adds rows of NULLs.
    (
        "FROM (SELECT x FROM t LEFT JOIN (SELECT a, 1 AS x FROM u) AS u ON t.b = u.a) LIMIT 1",
        r"LIMIT without ORDER BY depends on the order of rows; order by t\.a",
    ),
    (
        "FROM (SELECT x, n FROM t LEFT JOIN (SELECT b x, 1 n FROM u GROUP BY b) ON a = 1) ORDER BY x LIMIT 1",
        r"LIMIT ORDER BY x: tied rows come in any order",
    ),
    (
        "SELECT a, ntile(2) OVER (ORDER BY f) AS x FROM (SELECT a, f FROM t UNION ALL SELECT b, f FROM t)",
        "add all the columns that it reads to its ORDER BY",
    ),
]


@pytest.mark.parametrize(("sql", "message"), UNSTABLE)
def test_unstable_models_are_refused_with_a_remedy(tmp_path: Path, sql: str, message: str) -> None:
    with pytest.raises(ModelError, match=rf"m0\.sql: .*{message}") as raised:
        analysed(tmp_path, sql)
    assert str(raised.value).endswith("; or write `-- unstable: allowed` at its head")
    assert "\n" not in str(raised.value)
    assert analysed(tmp_path, f"-- unstable: allowed\n{sql}").unstable


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, b, moment::varchar AS m FROM t, reference.batch",
        "SELECT b, string_agg(c, ',' ORDER BY a) AS x FROM t GROUP BY b",
        "SELECT a, row_number() OVER (ORDER BY a) AS x FROM t",
        "SELECT b, sum(a) AS x FROM t GROUP BY b",
        "SELECT a FROM t ORDER BY a LIMIT 5",
        "SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a",
        "SELECT b, max(f) AS x, count(*) AS n FROM t GROUP BY b",
        "SELECT b, arg_max(c, (f, a)) AS x, round(avg(a), 2) AS y FROM t GROUP BY b",
        "SELECT b, quantile_disc(a, 0.5) AS x FROM t GROUP BY b",
        "SELECT b, first(c ORDER BY a) AS x FROM t GROUP BY b",
        "SELECT a, rank() OVER (ORDER BY b) AS x, sum(b) OVER (PARTITION BY c) AS y FROM t",
        "SELECT a, month(age(DATE '2020-01-01', DATE '2019-01-01')) AS x FROM t",
        "SELECT t.current_date AS x FROM (SELECT a AS current_date FROM t) AS t",
        "SELECT CASE WHEN a > 0 THEN a ELSE error('a is negative') END AS a FROM t",
        # The columns to order and group by determine the row through joins, groups and filters.
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY c, a::bigint) AS x FROM t",
        "SELECT t.a, row_number() OVER (ORDER BY u.c, t.a) AS x FROM t LEFT JOIN u ON t.b = u.a",
        "SELECT t.a, row_number() OVER (ORDER BY u.c, t.a) AS x FROM t, u WHERE t.b = u.a AND u.c = 'x'",
        "SELECT t.a, row_number() OVER (ORDER BY t.a, u.a) AS x FROM t JOIN u ON t.b = u.b",
        "SELECT u.a, row_number() OVER (ORDER BY t.b, u.a) AS x FROM u JOIN t ON u.b = t.a",
        "SELECT a, row_number() OVER (ORDER BY b, a) AS x FROM t JOIN iso_4217 ON c = code, reference.batch",
        "SELECT b, row_number() OVER (ORDER BY sum(a), b) AS x FROM t GROUP BY b",
        "SELECT b, c, row_number() OVER (ORDER BY c, b) AS x FROM (SELECT DISTINCT b, c FROM t)",
        "FROM (FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY a) = 1) ORDER BY c, b LIMIT 1",
        "SELECT a, (SELECT u.c FROM u WHERE u.b = t.a ORDER BY u.b, u.a LIMIT 1) AS x FROM t",
        "SELECT t.a, u.c FROM t ASOF JOIN u ON t.b >= u.a",
        "SELECT max(b) AS x FROM t LIMIT 1",
        # Tied rows are equal.
        "SELECT b, max(j ->> 'k') AS x, min(lower(j ->> 'k')) AS y FROM docs GROUP BY b",
        "SELECT a, max(j ->> 'k') OVER (PARTITION BY b) AS x FROM docs",
        "SELECT b, string_agg(c, ',' ORDER BY c) AS x FROM t GROUP BY b",
        "SELECT b, string_agg(DISTINCT lower(c), ',' ORDER BY lower(c)) AS x FROM t GROUP BY b",
        "SELECT a, ARRAY(SELECT x FROM unnest([b, a]) AS s(x) ORDER BY x)[1] AS x FROM t",
        "SELECT a, ARRAY(SELECT c FROM u ORDER BY b, c)[1] AS x FROM t",
        "SELECT a, (SELECT string_agg(x::text, ',' ORDER BY x) FROM unnest([b, a]) AS s(x)) AS x FROM t",
        "SELECT a, (SELECT list(x ORDER BY x)[1] FROM unnest([b, a]) AS s(x)) AS x FROM t",
        "SELECT a, row_number() OVER (ORDER BY a, x) AS n FROM (SELECT a, unnest([b, a]) AS x FROM t)",
        "SELECT a, x, n FROM t, unnest([b, a]) WITH ORDINALITY AS s(x, n)",
        "SELECT a, x FROM t, unnest([b, a]) AS s(x)",
        "SELECT c, max(x) AS x FROM t, unnest([b, a]) AS s(x) GROUP BY c",
        "SELECT b, arg_max(c, (b, c)) AS x FROM t GROUP BY b",
        "SELECT b, c FROM t ORDER BY c, b LIMIT 3",
        "SELECT a, first_value(b) OVER (PARTITION BY c ORDER BY b) AS x FROM t",
        "SELECT a, dense_rank() OVER (ORDER BY b) AS x, sum(b) OVER (ORDER BY b) AS y FROM t",
        "SELECT a, count(*) OVER (ORDER BY b RANGE 2 PRECEDING) AS x, max(b) OVER (ORDER BY c) AS y FROM t",
    ],
)
def test_stable_models_are_allowed(tmp_path: Path, sql: str) -> None:
    assert analysed(tmp_path, sql).unstable == ()


def test_without_keys_ties_are_not_refused(tmp_path: Path) -> None:
    """A replay of an old batch does not know the keys of its tables."""
    sql = "SELECT a, row_number() OVER (ORDER BY b) AS x FROM t"
    assert analysed(tmp_path, sql, keys=None).unstable == ()
    with pytest.raises(ModelError, match="add all the columns that it reads to its ORDER BY"):
        analysed(tmp_path, sql, keys={"t": ()})


REFUSED = """
    approx_quantile approx_top_k combine_aggr corr covar_pop covar_samp entropy favg fsum
    kahan_sum kurtosis kurtosis_pop lttb mode product regr_avgx regr_avgy regr_intercept
    regr_r2 regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev
    stddev_pop stddev_samp sumkahan var_pop var_samp variance variant_group_object
"""


def test_each_aggregate_of_duckdb_is_classified() -> None:
    with session() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        ).fetchall()
    known = unstable.STABLE | unstable.ORDERED | unstable.TYING | unstable.SUMS
    refused = {name for (name,) in rows} - known
    assert refused == set(REFUSED.split()), (
        "a new one is refused until somebody has looked whether it is stable"
    )


def test_a_reader_of_an_unstable_model_needs_the_header_too(tmp_path: Path) -> None:
    below = "-- unstable: allowed\nSELECT a, random() AS r FROM t"
    with pytest.raises(ModelError, match=r"m1\.sql: random\(\) yields another value each time"):
        analysed(tmp_path, below, "SELECT a, r FROM m0")
