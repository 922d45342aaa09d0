"""What DuckDB's planner tells of a model: rows that come one from one, what is unstable, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.columns import Column
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models import inputs, library, unstable
from pipeline.models.analysis import Analysis
from pipeline.models.inputs import RESULT
from pipeline.models.target import Target
from tests.support import made_target, write_models

TABLES = {
    name: tuple(
        Column(name=column, type=type_)
        for column, type_ in {"a": "integer", "b": "integer", "c": "text", "f": "double precision"}.items()
    )
    for name in ("t", "u", "T")
}
TYPES = {"INTEGER": "integer", "BIGINT": "bigint", "DOUBLE": "double precision", "BOOLEAN": "boolean"}


KEYS: dict[str, tuple[str, ...]] = dict.fromkeys(TABLES, ("a",))


def analysed(folder: Path, *texts: str, keys: dict[str, tuple[str, ...]] | None = KEYS) -> Analysis:
    """What is told of the last of some models, m0, m1, …, whose tables have the columns that they yield."""
    files = {f"m{place}": f"-- kind: dimension\n{text}" for place, text in enumerate(texts)}
    known = write_models(folder, files)
    targets: dict[str, Target] = {}
    for name in known:
        below = library.closure(known, name)
        with session() as connection:
            inputs.bind_empty(connection, below, targets, TABLES)
            found = connection.execute(f"DESCRIBE FROM {RESULT}").fetchall()
        types = {str(row[0]): TYPES.get(str(row[1]), "text") for row in found}
        targets[name] = made_target(name, (next(iter(types)),), **types)
    below = library.closure(known, f"m{len(texts) - 1}")
    return inputs.analysed(below, targets, TABLES, keys)[0]


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
def test_rows_that_come_from_one_row_each(tmp_path: Path, sql: str) -> None:
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
        "SELECT list(b ORDER BY b)::varchar AS bs FROM t",
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
        "SELECT weighted_avg(b, a) AS b FROM t",  # a macro that is an aggregate
        "SELECT a, unnest([1, 2]) AS b FROM t",
        "SELECT a, x FROM t, unnest([a, b]) AS s (x)",
        "SELECT a, generate_series FROM t, generate_series(1, a)",
        "SELECT a FROM iso_4217, t",
        "SELECT t.a FROM t POSITIONAL JOIN u",
        "SELECT t.a FROM t ASOF JOIN u ON t.a >= u.a",
        "SELECT t.a FROM t SEMI JOIN u ON t.a = u.a",
    ],
)
def test_rows_that_may_come_from_several_rows(tmp_path: Path, sql: str) -> None:
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
def test_columns_that_are_the_tables_own(tmp_path: Path, sql: str, carries: dict[str, str]) -> None:
    assert analysed(tmp_path, sql).carries == carries


@pytest.mark.parametrize(
    ("sql", "filtered"),
    [
        ("SELECT a FROM t", False),
        ("SELECT a FROM t WHERE b > 1", True),
        ("WITH c AS (SELECT a FROM t WHERE b > 1) SELECT a FROM c", True),
    ],
)
def test_whether_rows_are_left_out(tmp_path: Path, sql: str, filtered: bool) -> None:
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


UNSTABLE = [
    ("SELECT a, now() AS x FROM t", r"(now|get_current_timestamp|current_timestamp).*join reference\.batch"),
    ("SELECT a, current_date AS x FROM t", r"changes by itself; .*reference\.batch \(moment\)"),
    ("SELECT a, random() AS x FROM t", r"random\(\) changes by itself"),
    ("SELECT a, gen_random_uuid()::varchar AS x FROM t", "changes by itself"),
    ("SELECT b, string_agg(c, ',') AS x FROM t GROUP BY b", r"string_agg\(\) without ORDER BY depends"),
    ("SELECT b, first(c) AS x FROM t GROUP BY b", r"first\(\) without ORDER BY depends on the order"),
    ("SELECT b, list(c)::varchar AS x FROM t GROUP BY b", r"list\(\) without ORDER BY depends"),
    ("SELECT a, row_number() OVER () AS x FROM t", r"row_number\(\) without ORDER BY depends"),
    ("SELECT a, lag(b) OVER (PARTITION BY c) AS x FROM t", r"lag\(\) without ORDER BY depends"),
    ("SELECT b, sum(f) AS x FROM t GROUP BY b", r"sum\(\) over floating point .* cast .* to DECIMAL"),
    ("SELECT a, sum(f) OVER (PARTITION BY b) AS x FROM t", r"sum\(\) over floating point"),
    ("SELECT b, avg(f) AS x FROM t GROUP BY b", r"avg\(\) over floating point"),
    ("SELECT a, (SELECT b FROM u LIMIT 1) AS x FROM t", "LIMIT without ORDER BY"),
    ("SELECT a, (SELECT first(b) FROM u) AS x FROM t", r"first\(\) without ORDER BY"),
    ("SELECT a FROM t LIMIT 5", r"LIMIT without ORDER BY depends on the order of rows; order by t\.a"),
    ("SELECT DISTINCT ON (b) b, a FROM t", "DISTINCT ON without ORDER BY depends on the order"),
    ("SELECT a FROM t USING SAMPLE 10%", "takes rows by chance"),
    ("SELECT a FROM t TABLESAMPLE 10%", "takes rows by chance"),
    ("SELECT a FROM t WHERE b > (SELECT random())", r"random\(\) changes by itself"),
    ("SELECT a, year(now()) AS x FROM t", r"now\(\) changes by itself"),
    ("SELECT a FROM t WHERE b > year(current_date)", r"current_date changes by itself"),
    ("SELECT a, (localtimestamp - INTERVAL 1 DAY)::varchar AS x FROM t", r"localtimestamp changes by itself"),
    ("SELECT a, (SELECT year(today()) FROM u) AS x FROM t", r"today\(\) changes by itself"),
    ("SELECT a, year(ago(INTERVAL 1 DAY)) AS x FROM t", r"ago\(\) changes by itself"),
    ("SELECT a, age(DATE '2020-01-01')::varchar AS x FROM t", r"age\(\) changes by itself"),
    ("SELECT a, current_localtime()::varchar AS x FROM t", r"current_localtime\(\) changes by itself"),
    ("SELECT a, coalesce(getvariable('x'), 1) AS x FROM t", r"getvariable\(\) changes by itself"),
    ("SELECT b, mean(f) AS x FROM t GROUP BY b", r"mean\(\) over floating point"),
    ("SELECT b, favg(a) AS x FROM t GROUP BY b", r"favg\(\) may depend on the order of rows"),
    ("SELECT b, stddev(a) AS x FROM t GROUP BY b", r"stddev\(\) may depend on the order of rows"),
    ("SELECT b, mode(a) AS x FROM t GROUP BY b", r"mode\(\) may depend on the order of rows"),
    ("SELECT approx_quantile(a, 0.5) AS x FROM t", r"approx_quantile\(\) may depend on the order"),
    (
        "SELECT b, arg_max(a, c) AS x FROM t GROUP BY b",
        r"arg_max\(\) takes any .* write arg_max\(x, \(y, key\)\)",
    ),
    ("SELECT b, min_by(a, c) AS x FROM t GROUP BY b", r"min_by\(\) takes any of the rows that tie"),
    ("SELECT a, first_value(b) OVER (PARTITION BY c) AS x FROM t", r"first_value\(\) without ORDER BY"),
    ("SELECT json_group_array(a)::varchar AS x FROM t", r"\(\) without ORDER BY depends"),
    (
        "SELECT t.a, u.b FROM t POSITIONAL JOIN u",
        "POSITIONAL JOIN depends on the order of rows; join on a key",
    ),
    ("SELECT a, row_number() OVER () AS x FROM t, iso_4217", r"row_number\(\) without ORDER BY depends"),
    (
        "WITH RECURSIVE r (x) USING KEY (x) AS (SELECT a FROM t UNION SELECT b FROM r, u WHERE x = a) FROM r",
        "USING KEY keeps any of the rows that have a key",
    ),
    (
        "WITH RECURSIVE r (x, y) USING KEY (x) AS (SELECT a, b FROM t UNION SELECT b, y FROM r, u) FROM r",
        "DuckDB does not show its plan, so it may depend on",
    ),
    # Rows that tie in an order: of t and u column a is the key.
    (
        "SELECT a, row_number() OVER (PARTITION BY c ORDER BY b) AS x FROM t",
        r"row_number\(\) ORDER BY b: rows that tie come in any order; add t\.a to its ORDER BY",
    ),
    (
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY c) = 1",
        r"ORDER BY c: .* add t\.a to",
    ),
    ("SELECT a, lag(b) OVER (ORDER BY b) AS x FROM t", r"lag\(\) ORDER BY b: rows that tie"),
    ("SELECT a, ntile(3) OVER (ORDER BY b) AS x FROM t", r"ntile\(\) ORDER BY b: rows that tie"),
    (
        "SELECT a, first_value(a) OVER (ORDER BY b) AS x FROM t",
        r"first_value\(\) ORDER BY b: rows that tie",
    ),
    (
        "SELECT a, sum(b) OVER (ORDER BY b ROWS 2 PRECEDING) AS x FROM t",
        r"sum\(\) over a frame of ROWS ORDER BY b: rows that tie",
    ),
    ("SELECT b, string_agg(c, ',' ORDER BY b) AS x FROM t GROUP BY b", r"string_agg\(\) ORDER BY b: "),
    ("SELECT b, first(c ORDER BY f) AS x FROM t GROUP BY b", r"first\(\) ORDER BY f: rows that tie"),
    ("SELECT b, arg_max(c, (f, b)) AS x FROM t GROUP BY b", r"arg_max\(x, \(y, key\)\), where key is t\.a"),
    ("SELECT a FROM t ORDER BY b LIMIT 5", r"LIMIT ORDER BY b: rows that tie come in any order; add t\.a"),
    (
        "SELECT a, (SELECT u.c FROM u WHERE u.b = t.a ORDER BY u.f LIMIT 1) AS x FROM t",
        r"LIMIT ORDER BY f: rows that tie come in any order; add u\.a",
    ),
    ("SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, c", r"DISTINCT ON ORDER BY b, c: rows that tie"),
    ("SELECT t.a, u.f FROM t ASOF JOIN u ON t.c = u.c AND t.b >= u.b", r"ASOF JOIN .* compares u\.a"),
    (
        "SELECT t.a, u.a AS d, row_number() OVER (ORDER BY t.a) AS x FROM t JOIN u ON t.b = u.b",
        r"row_number\(\) ORDER BY a: rows that tie come in any order; add u\.a",
    ),
    ("SELECT b, row_number() OVER (ORDER BY sum(a)) AS x FROM t GROUP BY b", r"add b to its ORDER BY"),
    # An outer join adds rows of NULLs.
    (
        "FROM (SELECT x FROM t LEFT JOIN (SELECT a, 1 AS x FROM u) AS u ON t.b = u.a) LIMIT 1",
        r"LIMIT without ORDER BY depends on the order of rows; order by t\.a",
    ),
    (
        "FROM (SELECT x, n FROM t LEFT JOIN (SELECT b x, 1 n FROM u GROUP BY b) ON a = 1) ORDER BY x LIMIT 1",
        r"LIMIT ORDER BY x: rows that tie come in any order",
    ),
    (
        "SELECT a, ntile(2) OVER (ORDER BY f) AS x FROM (SELECT a, f FROM t UNION ALL SELECT b, f FROM t)",
        "add all the columns that it reads to its ORDER BY",
    ),
]


@pytest.mark.parametrize(("sql", "words"), UNSTABLE)
def test_what_is_unstable_is_refused_with_what_to_write(tmp_path: Path, sql: str, words: str) -> None:
    with pytest.raises(ModelError, match=rf"m0\.sql: .*{words}") as caught:
        analysed(tmp_path, sql)
    assert str(caught.value).endswith("; or write `-- unstable: allowed` at its head")
    assert "\n" not in str(caught.value)
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
        "SELECT b, arg_max(c, (f, a)) AS x, avg(a) AS y, quantile_disc(a, 0.5) AS z FROM t GROUP BY b",
        "SELECT b, first(c ORDER BY a) AS x FROM t GROUP BY b",
        "SELECT a, rank() OVER (ORDER BY b) AS x, sum(b) OVER (PARTITION BY c) AS y FROM t",
        "SELECT a, age(DATE '2020-01-01', DATE '2019-01-01')::varchar AS x FROM t",
        "SELECT t.current_date AS x FROM (SELECT a AS current_date FROM t) AS t",
        "SELECT CASE WHEN a > 0 THEN a ELSE error('a is negative') END AS a FROM t",
        # What orders and groups determines the row, by way of joins, groups and filters.
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
        # What ties looks the same.
        "SELECT b, string_agg(c, ',' ORDER BY c) AS x FROM t GROUP BY b",
        "SELECT b, arg_max(c, (b, c)) AS x FROM t GROUP BY b",
        "SELECT b, c FROM t ORDER BY c, b LIMIT 3",
        "SELECT a, first_value(b) OVER (PARTITION BY c ORDER BY b) AS x FROM t",
        "SELECT a, dense_rank() OVER (ORDER BY b) AS x, sum(b) OVER (ORDER BY b) AS y FROM t",
        "SELECT a, count(*) OVER (ORDER BY b RANGE 2 PRECEDING) AS x, max(b) OVER (ORDER BY c) AS y FROM t",
    ],
)
def test_what_is_stable_is_allowed(tmp_path: Path, sql: str) -> None:
    assert analysed(tmp_path, sql).unstable == ()


def test_without_keys_what_may_tie_is_not_judged(tmp_path: Path) -> None:
    """As where an old batch is replayed, whose tables may have had no key yet."""
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


def test_every_aggregate_of_duckdb_is_judged() -> None:
    with session() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        ).fetchall()
    known = unstable.STABLE | unstable.ORDERED | unstable.TYING | unstable.SUMS
    refused = {name for (name,) in rows} - known
    assert refused == set(REFUSED.split()), (
        "a new one is refused until somebody has looked whether it is stable"
    )


def test_a_model_over_an_unstable_one_needs_the_header_too(tmp_path: Path) -> None:
    below = "-- unstable: allowed\nSELECT a, random() AS r FROM t"
    with pytest.raises(ModelError, match=r"m1\.sql: random\(\) changes by itself"):
        analysed(tmp_path, below, "SELECT a, r FROM m0")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_json('{file}')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM glob('{file}')",
        "SELECT a FROM t WHERE c IN (SELECT content FROM read_text('{file}'))",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_tables()",
        "SELECT * FROM query('FROM duckdb_settings()')",
        "SELECT * FROM query_table('duckdb_settings')",
    ],
)
def test_files_and_settings_are_out_of_reach(tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"m0\.sql") as caught:
        analysed(tmp_path / "models", sql.format(file=file))
    assert "\n" not in str(caught.value)


def test_no_function_of_duckdb_reads_anything_but_its_arguments(tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    with session() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN ('table', 'table_macro') ORDER BY 1"
        ).fetchall()
    allowed = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"}
    # Macros over the rows that they are given.
    over_rows = {"histogram", "histogram_values", "summary"}
    names = {name for (name,) in rows} - allowed - over_rows
    assert len(names) > 50
    for place, name in enumerate(sorted(names)):
        for number, arguments in enumerate(("", f"'{file}'", f"'{file}', 'a'", f"['{file}']")):
            folder = tmp_path / f"models-{place}-{number}"
            with pytest.raises(ModelError, match=r"m0\.sql"):
                analysed(folder, f"SELECT * FROM {name}({arguments})")


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{file}'",
        "COPY t FROM '{file}'",
        "ATTACH '{file}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CALL duckdb_settings()",
        "EXPORT DATABASE '{file}'",
        "EXPLAIN SELECT 1 AS a",
        "SELECT getenv('HOME') AS a",
    ],
)
def test_no_statement_reaches_out(tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"m0\.sql") as caught:
        analysed(tmp_path / "models", sql.format(file=file))
    assert "\n" not in str(caught.value)


def test_a_file_is_no_table(tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    known = write_models(tmp_path / "models", {"dim_x": f"SELECT a FROM '{file}'"})
    assert library.source_tables(known) == {str(file)}, "it is asked of the source, which does not have it"
    with session() as connection, pytest.raises(Exception, match=re.escape(str(file))):
        connection.execute(f"FROM '{file}'")


def test_variables_of_python_are_out_of_reach() -> None:
    secret = {"a": [1]}
    with session() as connection, pytest.raises(Exception, match="secret does not exist"):
        connection.execute("FROM secret")
    assert secret
