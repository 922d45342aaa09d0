"""SQL that means something else in DuckDB than in Postgres is refused, and what to write means the same."""

from __future__ import annotations

import re

import pytest

from pipeline.errors import ModelError
from pipeline.warehouse import ledger
from tests.pair import EMPTY, Pair
from tests.system import own_version

SOURCE = (
    "CREATE TABLE t (id integer PRIMARY KEY, i integer, j integer, r real, d double precision)",
    "ALTER TABLE t ADD n numeric(8,2), ADD x text, ADD f boolean, ADD ts timestamp, ADD tags integer[]",
    "ALTER TABLE t ADD u uuid, ADD b bytea, ADD ip inet",
    "ALTER TABLE t ADD w numeric(20,10), ADD m numeric(18,6), ADD z numeric, ADD c char(5) DEFAULT 'ab'",
    "INSERT INTO t VALUES (1, 7, 2, 1.1, 100, 1.00, '', true, '2024-01-01 00:00:01.5', '{}')",
    "INSERT INTO t VALUES (2, -7, 3, 2.5, 0.5, 1.01, 'a_b,c', false, '2024-02-29 23:59:59', '{1,2}')",
    "INSERT INTO t (id, j) VALUES (3, 1)",
    "UPDATE t SET m = 123456789012.345678 / j, z = 1234567.0000000001 WHERE id = 1",
    r"UPDATE t SET u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', b = '\x0aff', ip = '10.0.0.1' WHERE id < 3",
)
# What is refused, why, and what to write for the same value as in Postgres; after a = for one that Postgres
# computes otherwise.
CASES = [
    ("i / j", r"i / j of integers is a fraction in DuckDB.*write //", "i // j"),
    ("length(x) / 2", "of integers is a fraction", "length(x) // 2"),
    ("n / 3", "n / 3 is computed in floating point, in Postgres exactly.* write round", "=round(n / 3, 6)"),
    ("n / 3 > 0.35", "n / 3 is computed in floating point", "=round(n / 3, 6) > 0.35"),
    ("1 / 3.0 * n", "1 / 3.0 . n is computed in floating point", "=round(1 / 3.0 * n, 6)"),
    ("n - (1 / 3.0 - 1)", r"n - \(1 / 3.0 .*is computed in floating point", None),
    ("n * (1 / 2)", "1 / 2 of integers is a fraction", "n * (1 // 2)"),
    (
        "COALESCE(z * z, z)",
        r"z \* z is rounded to 11 decimals.* write CAST",
        "COALESCE(CAST(z * z AS DECIMAL(38, 20)), CAST(z AS DECIMAL(38, 20)))",
    ),
    ("z / 3", "z / 3 is computed in floating point, in Postgres exactly.* write round", None),
    ("j * z / 7", "is computed in floating point", None),
    ("round(sqrt(n), 12)", r"sqrt\(n\) is computed in floating point", None),
    ("(n / 3)::numeric(30, 11)", "n / 3 is computed in floating point", None),
    ("sqrt(z)", r"sqrt\(z\) is computed in floating point", None),
    ("avg(z) OVER ()", r"avg\(.*\) is computed in floating point", None),
    ("m * m / 3", r"(?<!DECIMAL)m \* m / 3 is computed", None),
    ("w / 8", "w / 8 is computed in floating point", "=round(w / 8, 6)"),
    ("n - floor(n / 3) * n", r"n - floor\(n / 3\) . n is computed", "round(n - floor(n / 3) * n, 6)"),
    (
        "round(n / 3, 2)::text",
        r"round\(n / 3, 2\)::text prints floating point",
        "=CAST(CAST(round(n / 3, 2) AS DECIMAL(18, 2)) AS text)",
    ),
    ("CAST(n / 3 AS double precision)", r"(?<!CAST\()n / 3 is computed", "CAST(n AS double precision) / 3"),
    ("n ^ 2", r"n \^ 2 is computed in floating point", "n * n"),
    (
        "CAST(ts::time AS interval)",
        "no such cast; write extract",
        "extract(epoch FROM ts::time) * INTERVAL '1 second'",
    ),
    ("c IN ('y', 'ab  ')", r"'ab  ' is compared as text, .*; write 'ab'", "c IN ('y', 'ab')"),
    (
        "extract(epoch FROM ts::date)::text",
        "prints decimals.* cast it to bigint",
        "CAST(CAST(extract(epoch FROM ts::date) AS bigint) AS text)",
    ),
    ("(SELECT avg(n) FROM t)", r"(?<=:2: )avg\(n\) is computed in floating point", None),
    ("rank() OVER (ORDER BY i / 3.0)", "i / 3.0 is computed", "rank() OVER (ORDER BY round(i / 3.0, 9))"),
    ("r * i", r"r \* i takes 4 bytes .* in Postgres 8; cast the real", "CAST(r AS double precision) * i"),
    ("r = 1.1", "r = 1.1 takes 4 bytes", "CAST(r AS double precision) = 1.1"),
    ("d || x", "d prints floating point as 100.0, Postgres as 100", "=CAST(d AS DECIMAL(18, 2)) || x"),
    ("concat(f, x)", "f in concat.. is printed as true", "concat(left(CAST(f AS text), 1), x)"),
    (
        "CAST(ts - ts AS text)",
        "prints an interval as 1 month, Postgres as 1 mon",
        "=CAST(extract(epoch FROM ts - ts) AS text)",
    ),
    (r"x LIKE 'a\_%'", r"LIKE 'a\\_%': a backslash escapes nothing.*add ESCAPE", r"x LIKE 'a\_%' ESCAPE '\'"),
    (r"x NOT ILIKE 'A\_%'", "a backslash escapes nothing", r"x NOT ILIKE 'A\_%' ESCAPE '\'"),
    ("x SIMILAR TO 'a%'", "SIMILAR TO takes a regular expression", "x LIKE 'a%'"),
    ("extract(second FROM ts)", "is without its fraction", "extract(microsecond FROM ts) / 1000000.0"),
    ("(string_to_array(x, ','))[1]", "one empty element", "(string_split(NULLIF(x, ''), ','))[1]"),
    ("tags || i", r"\|\| does not take an array and an element.* write list_append", "list_append(tags, i)"),
    (
        "upper(tags)",
        r"upper does not take \(integer\[\]\); write array_to_string\(tags, ','\)",
        "=upper(array_to_string(tags, ','))",
    ),
    ("(tags || ARRAY[i])[1]", "is NULL where one side is.* list_concat", "(list_concat(tags, ARRAY[i]))[1]"),
    (
        "CAST(tags[1:2] AS text)",
        r"prints a list as \[1, 2\], Postgres as \{1,2\}; write",
        "=array_to_string(tags[1:2], ',')",
    ),
    ("tags[-1]", "counts from the end in DuckDB", "tags[99]"),
    (
        "cardinality(COALESCE(tags, '{}'))",
        "does not read '{}' as an array; write ARRAY",
        "cardinality(COALESCE(tags, []))",
    ),
    ("substring(x, -1, 3)", "counts from the end in DuckDB; write places from 1 on", "substring(x, 1, 1)"),
    (
        "CAST(date_trunc('month', CAST(ts AS date)) AS text)",
        "prints a date, in Postgres a timestamptz",
        "=CAST(CAST(date_trunc('month', CAST(ts AS date)) AS date) AS text)",
    ),
    ("CAST(ts AT TIME ZONE 'UTC' AS time)", "DuckDB has no such cast; write CAST", "CAST(ts AS time)"),
    (
        "ts AT TIME ZONE 'UTC+2'",
        "has the other sign in Postgres; write the name of a zone",
        "=ts AT TIME ZONE 'Europe/London'",
    ),
    (
        "TIMESTAMP '2024-01-31 12:00:00.1234567'",
        "is cut to microseconds in DuckDB",
        "TIMESTAMP '2024-01-31 12:00:00.123457'",
    ),
    ("degrees(d)", "differs from Postgres in its last digits", "d / (pi() / 180)"),
    (
        "(SELECT percentile_cont(0.3) WITHIN GROUP (ORDER BY i) FROM t)",
        "differs from Postgres in its last digits; write CAST",
        "=(SELECT CAST(percentile_cont(0.3) WITHIN GROUP (ORDER BY i) AS numeric(18, 6)) FROM t)",
    ),
    (
        "u IN ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11')",
        "Postgres prints this uuid otherwise; write 'a0ee",
        "u IN ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')",
    ),
    (r"b = '\x0AFF'", "Postgres prints this bytea otherwise", r"b = '\x0aff'"),
    ("ip <> '10.0.0.1/32'", "Postgres prints this inet otherwise; write '10.0.0.1'", "ip <> '10.0.0.1'"),
    ("lag(i, 1, 0.5) OVER (ORDER BY id)", "rounds its default", "lag(i * 1.0, 1, 0.5) OVER (ORDER BY id)"),
    ("array_length(tags, 1)", "is 0 for an empty array, in Postgres NULL", "NULLIF(cardinality(tags), 0)"),
    ("format('%s', x)", "leaves %s as it is", "COALESCE(x, '')"),
    ("date_trunc('century', ts)", "begins a year earlier", None),
    (
        "(SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FROM t)",
        "rounded to its digits",
        (
            "=(SELECT CAST(percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(n AS double precision))"
            " AS numeric(18, 6)) FROM t)"
        ),
    ),
    (
        "ts + INTERVAL '1 month - 1 day'",
        "does not read '1 month - 1 day' as interval",
        "ts + INTERVAL '1 month' - INTERVAL '1 day'",
    ),
    ("CAST('20240131' AS date)", "does not read '20240131' as date", "CAST('2024-01-31' AS date)"),
    ("CAST(i AS float) / 3", "float has 4 bytes in DuckDB", "CAST(i AS double precision) / 3"),
    ("CAST(x AS varchar(2))", r"varchar\(2\) does not cut a longer text in DuckDB; write left", "left(x, 2)"),
    ("CAST(i AS bit(8))", "bit.* takes other bits", None),
    ("CAST(x AS char)", "char is one character in Postgres", "=left(x, 1)"),
    (
        "(SELECT string_agg(x, NULL ORDER BY id) FROM t)",
        "is NULL in DuckDB; write ''",
        "(SELECT string_agg(x, '' ORDER BY id) FROM t)",
    ),
    ("generate_series(1, 2)", r"generate_series\(\) is a list in SELECT; write unnest", None),
]
# The same in both.
ALIKE = [
    *(["n / 1_000 + n / .5"] if own_version() >= 16 else []),
    "extract(month FROM ts) / 4", "r > 0", "r + r", "CAST(f AS text)", "x LIKE 'a%'",
    "CAST(CAST(d AS numeric(8, 2)) AS text)", "CAST(x AS varchar)", "i % j",
    "substring(x, i - 8, 4)", "substr(x, j - 3)", "substring(x FROM j FOR 1)", "substring(x, 0, 2)",
    "u = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'::uuid",
    "btrim(x, 'ac')", "initcap(x)", "regexp_count(x, '[a-c]')", "regexp_like(x, '^a')",
    "tags = array_remove(tags, 1)",
    "array_upper(tags, 1)", "array_lower(tags, 1)", "2 = ANY(tags)", "2 <> ALL(tags)",
    "NOT 5 > SOME (tags[1:2])", "2 = ANY(ARRAY[i, j])",
    "ARRAY[1] || ARRAY[2]",
    "1.5 = ANY(SELECT n FROM t)", "n / 100", "n / 0.8 = 1.25", "n / 3 > 0", "sign(n / 3)",
    "CAST(i / 2.0 AS integer)", "n /* / */ / /* 100 */ -50", "d * (pi() / 180)",
    "'NaN'::double precision / 2 = 'NaN'", "d + '-Infinity'::double precision / 2",
    "(i * 100000000000.0)::numeric(18, 6) / 2", "n::numeric(9, 2) / -0.5",
    "round(2.5::double precision)", "n * i / 100 / 10", "1.0 / 8", "floor(n / 3) % 2",
    "NOT 2 = ANY(/* ( */ tags /* ) */)", "CAST /* ( */ (n / 3 AS numeric(9, 2))", "floor(n / 3) + 1",
    "(floor(n / 3) - i) * 2", "w / 100",
    "m * m", "-1.5 * m", "i % 3 * m * n", "m * (m + n) /* * */ * -0.5", "CASE WHEN i > 0 THEN m END * m",
    "(SELECT max(m * n) * 1000000 FROM t GROUP BY m * n ORDER BY 1 LIMIT 1)", "max(m) OVER () * m",
    "(SELECT max(s.m * s.m) FROM t AS s WHERE s.id = t.id)",
    "(SELECT max(v * i) FROM (SELECT m * m AS v, i FROM t) AS s)",
    "(WITH c AS (SELECT m * m AS v FROM t) SELECT max(v) * 2 FROM c)",
    "(SELECT max(a * b) FROM (SELECT m AS a, n AS b FROM t) AS s)",
    "(SELECT max(a * b) FROM (SELECT n AS a, m AS b FROM t) AS s)",
    "(SELECT max(floor(a / 7)) FROM (SELECT d AS a FROM t) AS s)",
    "(SELECT max(floor(a / 7)) FROM (SELECT n AS a FROM t) AS s)",
    "(SELECT round(n / 7, 1) FROM t GROUP BY round(n/7, 1) ORDER BY 1 LIMIT 1)",
    "floor(extract(epoch FROM ts + INTERVAL '999999 microseconds') / 86400)", "ceil((n - 3) / i)",
    "n * 1e-5", "i / 1e2 > 0", "x || '1e5' /* 1e5 */", "d * 1E2 + .5e+1", "CAST(i * 1e0 AS text)",
    "tags @> ARRAY[NULL::integer]", "ARRAY[NULL, 1] <@ tags", "ARRAY[2] <@ tags", "tags @> NULL",
    "(SELECT max(t1.id) FROM t AS t1 GROUP BY 2 = ANY(t1.tags) ORDER BY 1 LIMIT 1)",
    "round(m * m / j, 4)", "trunc(m*m/7,3)", "(123456789012345.67 * m / 7)::numeric(38, 4)",
    "round((z / 7), 2)",
    "extract('epoch' FROM ts - '0001-01-01'::timestamp + INTERVAL '1 microsecond')",
    "round(z / 3, 2)", "round(j * z / 7, 2)", "round(sqrt(z), 6)", "round(avg(z) OVER (), 6)",
    "(z / 3)::numeric(12, 4)",
    "(w::numeric(35, 30) / 1000000000)::numeric(20, 10)",
    "CAST(floor(n / 3) AS integer)",
    "(n / 3)::numeric(8, 4)",
    "CAST(extract(epoch FROM ts) AS bigint)", "extract(epoch FROM ts)::numeric(18, 6)",
    "extract(epoch FROM ts)", "CAST(extract(epoch FROM ts + INTERVAL '123457 microseconds') * 1e6 AS bigint)",
    "floor(extract(epoch FROM ts + INTERVAL '123457 microseconds') * 1000000)",
    "(extract(epoch FROM ts + INTERVAL '123457 microseconds') * 1000000)::numeric(20, 2)",
    "floor((n - 0.71) / 0.1)", "trunc(n / 3, 3)", "ceil(n / 0.3)", "round(d)", "round(n / 0.4)",
    "round(CAST(i AS double precision) / 2)", "(d / 100 + 0.005)::double precision::numeric(8, 2)",
    "CAST(r + 1e7 AS numeric(12, 1))", "CASE WHEN i > 0 THEN n / 3 END IS NULL",
]  # fmt: skip


def model_of(*columns: str) -> str:
    listed = ", ".join(f"{column} AS v{place}" for place, column in enumerate(columns))
    return f"-- key: id\nSELECT id, {listed} FROM t"


def types_of(pair: Pair, columns: list[str]) -> list[str]:
    listed = ", ".join(f"pg_typeof({column})::text" for column in columns)
    (types,) = pair.source(f"SELECT {listed} FROM t WHERE id = 1")
    return list(types)


def refusal(pair: Pair, expressions: list[str]) -> str:
    tables = "".join(f"CREATE TABLE fact_{place} (id integer, v0 text);" for place in range(len(expressions)))
    models = {f"fact_{place}": model_of(expression) for place, expression in enumerate(expressions)}
    try:
        pair.fresh({"schema": tables, **models}, *SOURCE)
        pair.run()
    except ModelError as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("cases", [CASES[:-6], CASES[-6:]])  # the latter are found when models are read
def test_what_differs_is_refused_with_file_and_line(
    shared: Pair, cases: list[tuple[str, str, str | None]]
) -> None:
    refused = refusal(shared, [expression for expression, _, _ in cases])
    for place, (expression, message, _) in enumerate(cases):
        assert re.search(rf"fact_{place}\.sql(:2)?: .*{message}", refused), expression


def test_what_to_write_and_what_is_alike_is_as_in_postgres(shared: Pair) -> None:
    shared.do(*EMPTY, *SOURCE)
    remedies = {each: each for each in ALIKE}
    for expression, _, remedy in CASES:
        if remedy:
            written = remedy.removeprefix("=")
            remedies[written] = expression if remedy == written else written
    types = types_of(shared, list(remedies.values()))
    columns = ", ".join(f"v{place} {type_}" for place, type_ in enumerate(types))
    models = {"schema": f"CREATE TABLE fact_t (id integer, {columns});", "fact_t": model_of(*remedies)}
    shared.fresh(models, *SOURCE)
    shared.run()
    for place, (remedy, expression) in enumerate(remedies.items()):
        expected = shared.source(f"SELECT id, CAST({expression} AS {types[place]}) FROM t ORDER BY id")
        found = shared.house.query(f"SELECT id, v{place} FROM fact_t_current ORDER BY id")
        assert found == expected, remedy


def test_what_a_model_below_does_is_named_there(shared: Pair) -> None:
    below = "-- key: id\nSELECT id, CAST(d AS numeric(8, 1)) AS d, ts - ts AS gap FROM t"
    schema = (
        "CREATE TABLE fact_below (id integer, d numeric, gap interval);"
        "CREATE TABLE fact_above (id integer, d text, gap interval);"
    )
    above = "-- key: id\nSELECT id, CAST(d AS text) AS d, gap FROM fact_below"
    shared.fresh({"schema": schema, "fact_below": below, "fact_above": above}, *SOURCE)
    shared.run()
    assert shared.house.query("SELECT count(*) FROM fact_above_current") == [(3,)]


def test_a_smallint_is_an_integer_and_a_product_as_wide_as_it_needs_row_by_row(shared: Pair) -> None:
    source = (
        "CREATE TABLE part (id smallint PRIMARY KEY, units smallint, rate numeric(18,6))",
        "INSERT INTO part VALUES (1, 400, 987654321098.7), (2, 32767, 1.5), (3, NULL, -0.000001)",
        "INSERT INTO part VALUES (4, 1, 987654321098.7)",
    )
    select = (
        "SELECT id, units * 1000 AS grams, rate * units * rate AS more, round(rate / 7, 2) AS part FROM part"
    )
    grouped = "SELECT rate * rate AS k, rate * rate * 2 AS v FROM part GROUP BY rate * rate"
    schema = (
        "CREATE TABLE fact_part (id smallint, grams integer, more numeric, part numeric);"
        "CREATE TABLE fact_rate (k numeric, v numeric);"
    )
    models = {"fact_part": f"-- key: id\n{select}", "fact_rate": f"-- key: k\n{grouped}"}
    shared.live({"schema": schema, **models}, source, [["DELETE FROM part WHERE id = 1"]])
    rates = shared.house.query("SELECT k, v FROM fact_rate_current ORDER BY k")
    assert rates == shared.source(f"{grouped} ORDER BY 1")
    found = shared.house.query("SELECT id, grams, more, part FROM fact_part_current ORDER BY id")
    assert found == shared.source(f"{select} ORDER BY id")
    loaded = ledger.fetch_loaded_models(shared.house.url, shared.house.schema)
    assert loaded["fact_part"].result is None, "it runs row by row"
