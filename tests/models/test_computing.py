"""Numbers of numeric without precision: models compute with them as Postgres does, or are refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.lake.buckets import folder
from pipeline.models import inputs
from pipeline.models.computing import Probe
from pipeline.models.transform import transform
from pipeline.models.work import Work
from tests.made_up import MadeUp, made_target
from tests.models.both import Both
from tests.pair import Pair
from tests.support import parquet_rows, query, write_models

EXPRESSIONS = (
    "units * price", "price * units * rate", "price + 1", "1 - price", "price * 1.1", "-price", "abs(price)",
    "round(price, 2)", "round(price * units, 1)", "floor(price)", "ceil(price)", "trunc(price)",
    "price % 2", "coalesce(price, 0)", "coalesce(price, rate)", "greatest(price, rate, 1)", "least(price, 2)",
    "CASE WHEN price > 1.5 THEN price ELSE rate END", "CASE WHEN price = 1.50 THEN 1 ELSE 0 END",
    "CASE WHEN units > 1 THEN price END", "nullif(price, 1.5)", "price BETWEEN 1 AND 2.0",
    "price IN (1.5, 2)", "price IS NULL", "price > units", "price = 1.5 AND note = 'a'",
    "CAST(price AS integer)", "CAST(price AS numeric(30, 1))", "CAST(price AS double precision)",
    "CAST(price * 2 AS integer)", "CAST(units * price AS numeric(30, 2))", "price IS DISTINCT FROM 1.500",
    "(SELECT max(cost) FROM offer) + price", "price > (SELECT min(cost) FROM offer)",
    "price IN (SELECT cost FROM offer)", "sum(price) OVER (PARTITION BY note)",
    "rank() OVER (ORDER BY price)",
    "lag(price) OVER (ORDER BY id) * 2", "max(price) OVER (PARTITION BY price)", "price / CAST(id AS float8)",
    "CAST(sum(price) OVER () AS double precision) / 3", "price || note",
)  # fmt: skip
QUERIES = {
    "groups": "SELECT min(id) AS id, price AS v FROM sale WHERE price IS NOT NULL GROUP BY price",
    "groups by place": "SELECT min(id) AS id, s.price AS v FROM sale AS s GROUP BY 2",
    "groups of a qualified name": "SELECT min(id) AS id, sum(units) * s.price AS v FROM sale AS s\n"
    "GROUP BY\nprice",
    "having": "SELECT min(id) AS id, sum(price * units) AS v FROM sale GROUP BY price\nHAVING price > 1",
    "distinct": "SELECT 1 AS id, count(*) AS v FROM (SELECT DISTINCT price FROM sale) AS s",
    "count distinct": "SELECT 1 AS id, count(DISTINCT price) AS v FROM sale",
    "join": "SELECT s.id, s.price * o.cost AS v FROM sale AS s"
    " JOIN offer AS o ON s.price = o.cost WHERE s.id < 2",
    "exists": "SELECT id, price + 0 AS v FROM sale AS s WHERE EXISTS (SELECT FROM offer"
    " WHERE cost = s.price)",
    "alias": "WITH c AS (SELECT id, price AS p FROM sale), d AS (SELECT *"
    " FROM c) SELECT id, p * 2 AS v FROM d",
    "union": "SELECT id, v * 2 AS v FROM (SELECT id, price AS v FROM sale"
    " UNION ALL SELECT id + 9, 7 FROM sale) AS u",
    "union of both": "SELECT id, v * 2 AS v FROM (SELECT id, price FROM sale UNION ALL"
    " SELECT id + 9, cost FROM offer) AS u (id, v)",
    "union distinct": "SELECT 1 AS id, count(*) AS v FROM (SELECT price FROM sale"
    " UNION SELECT cost FROM offer) AS u",
    "except": "SELECT 1 AS id, count(*) AS v FROM (SELECT price FROM sale EXCEPT SELECT cost"
    " FROM offer) AS u",
    "top": "SELECT id, v + 1 AS v FROM (SELECT id, price AS v FROM sale"
    " ORDER BY price NULLS LAST, id LIMIT 3) AS s",
    "order": "SELECT id, row_number() OVER (ORDER BY price DESC NULLS LAST, id) AS v FROM sale",
    "another column of that name": "SELECT s.id, s.price * 2 AS v FROM sale AS s JOIN offer AS o USING (id)"
    " WHERE o.price > 'a'",
    "names in capitals": "SELECT ID, Units * PRICE AS v FROM sale",
    "subquery": "SELECT id, (SELECT sum(cost * s.price) FROM offer) AS v FROM sale AS s",
    "filter": "SELECT 1 AS id, sum(price) FILTER (WHERE price > 1) AS v FROM sale",
    "arguments of rows": "SELECT id, price * 2 AS v FROM sale"
    " WHERE (id, price) IN (SELECT id, cost FROM offer)",
}  # fmt: skip
# What passes a number on as it is.
PASSED = {
    "column": "SELECT id, price AS v FROM sale",
    "star": "SELECT id, v FROM (SELECT s.*, price AS v FROM sale AS s) AS s",
    "beside a computation": "SELECT id, price AS v FROM sale WHERE price * units > 0",
    "join": "SELECT s.id, s.price AS v FROM sale AS s JOIN offer AS o USING (id) WHERE cost > 1",
    "CTE": "WITH c AS (SELECT id, price FROM sale) SELECT id, price AS v FROM c WHERE price > 1",
    "union all": "SELECT id, price AS v FROM sale UNION ALL SELECT id + 9, cost FROM offer",
    "text": "SELECT id, CAST(price AS text) AS v FROM sale",
    "other": "SELECT id, rate AS v FROM sale",
}


def numbers(rows: list[tuple[Any, ...]]) -> list[tuple[int, Any]]:
    """Values without their spelling."""
    return [(key, Decimal(value) if isinstance(value, str) else value) for key, value in rows]


def test_expressions_equal_postgres(both: Both) -> None:
    wrong = []
    for expression in EXPRESSIONS:
        sql = f"SELECT id, {expression} AS v FROM sale"
        expected = both.expected(sql)
        kind = next((type(value) for _, value in expected if value is not None))
        type_ = {bool: "boolean", float: "double precision", str: "text"}.get(kind, "numeric")
        actual = both.yields(sql, type_)
        if (actual if type_ == "text" else numbers(actual)) != expected:
            wrong.append(f"{expression}: {actual} instead of {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", QUERIES)
def test_queries_equal_postgres(both: Both, kind: str) -> None:
    sql = QUERIES[kind].replace("SELECT FROM offer", "SELECT 1 FROM offer")
    assert numbers(both.yields(sql)) == both.expected(sql)


@pytest.mark.parametrize("kind", PASSED)
def test_a_number_that_is_passed_on_keeps_its_zeros(both: Both, kind: str) -> None:
    sql = PASSED[kind]
    assert both.yields(sql) == both.expected(f"SELECT id, CAST(v AS text) FROM ({sql}) AS rows")
    assert both.yields(sql, "text") == both.yields(sql)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (
            "CAST(units * price AS text)",
            r":3: .* as text it has other zeros than in Postgres; cast it first to",
        ),
        (
            "units * price || note",
            r":3: .* as text it has other zeros than in Postgres; cast it first to the",
        ),
    ],
)
def test_what_would_differ_from_postgres_is_refused(both: Both, expression: str, words: str) -> None:
    with pytest.raises(ModelError, match=rf"dim_m\.sql{words}") as raised:
        both.yields(f"SELECT id,\n{expression} AS v FROM sale")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [("NaN", "is NaN in a row"), ("-Infinity", "is -Infinity in a row"),
     ("0.00000000001", "has more than 28 digits before the point or 10 after it in a row"),
     ("12345678901234567890123456789", "has more than 28 digits before the point or 10")],
)  # fmt: skip
def test_a_number_without_an_exact_type_stops_only_models_that_compute_with_it(
    tmp_path: Path, value: str, words: str
) -> None:
    raw, processed = folder(str(tmp_path / "raw")), folder(str(tmp_path / "processed"))
    types = {"id": "integer", "price": "numeric"}
    batch = MadeUp(raw, {"sale": (types, ("id",))}).batch(
        {"sale": [{"id": 1, "price": value}, {"id": 2, "price": value}]}
    )
    target = {"dim_m": made_target("dim_m", ("id",), id="integer", v="numeric")}
    for sql in PASSED["column"], "SELECT id, price AS v FROM sale WHERE price IS NOT NULL":
        all_models = write_models(tmp_path / "models", {"dim_m": sql})
        output = transform(Work(all_models, target, batch, None, raw, processed))
        assert [row["v"] for row in parquet_rows(processed, output.files)] == [value] * 2
    all_models = write_models(tmp_path / "models", {"dim_m": "SELECT id,\n  price * 2 AS v FROM sale"})
    message = rf"dim_m\.sql:2: column sale\.price {words}.*, so a model cannot compute with it exactly; leave"
    with pytest.raises(ModelError, match=message) as raised:
        transform(Work(all_models, target, batch, None, raw, processed))
    assert value in str(raised.value) or "TOTESYS_SHOW_VALUES" in str(raised.value)
    is_number = value[-1].isdigit()
    assert ("cast it to other digits, such as DECIMAL(38, 18), or to" in str(raised.value)) == is_number
    assert "\n" not in str(raised.value)


def test_only_models_with_such_numbers_are_rewritten(both: Both) -> None:
    """Others run the SQL of their file."""
    all_models = write_models(both.home / "plain", {"dim_m": "SELECT id, units * 2 AS v FROM sale"})
    targets = {"dim_m": made_target("dim_m", ("id",), id="bigint", v="bigint")}
    columns = both.manifest.columns
    with session() as connection:
        assert inputs.bind_empty(connection, all_models, targets, columns) == {
            "dim_m": all_models["dim_m"].bound_sql
        }


def test_rewritten_sql_is_computed_once(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's check of its models computes it, and their transforms run it."""
    all_models = write_models(both.home / "once", {"dim_m": "SELECT id, price * 3 AS v FROM sale"})
    targets = {"dim_m": made_target("dim_m", ("id",), id="bigint", v="numeric")}
    columns = both.manifest.columns
    with session() as connection:
        first = inputs.bind_empty(connection, all_models, targets, columns)
    assert first["dim_m"] != all_models["dim_m"].bound_sql
    monkeypatch.delattr(Probe, "computable")
    with session() as connection:
        assert inputs.bind_empty(connection, all_models, targets, columns) == first
    assert inputs.texts_of(all_models, targets, columns) == first


def test_numbers_reach_the_warehouse_exactly(shared: Pair) -> None:
    """Through the buckets and a model over a model, in each batch and when a table is computed again."""
    shared.fresh(
        {
            "fact_sale": """
                -- key: id
                SELECT id, units, price, units * price AS amount FROM sale
            """,
            "dim_total": """
                SELECT price, CAST(sum(units) AS bigint) AS units, sum(amount) AS amount FROM fact_sale
                WHERE price IS NOT NULL GROUP BY price
            """,
            "schema": """
                CREATE TABLE fact_sale (id integer, units integer, price numeric, amount numeric(20, 3));
                CREATE TABLE dim_total (price numeric PRIMARY KEY, units bigint, amount numeric);
            """,
        },
        "CREATE TABLE sale (id int PRIMARY KEY, units int, price numeric)",
        "INSERT INTO sale VALUES (1, 3, 1.50), (2, 4, 1.5), (3, 7, 0.125), (4, 1, NULL)",
    )

    def holds() -> None:
        expected = "SELECT id, price::text, (units * price)::numeric(20, 3) FROM sale ORDER BY 1"
        rows = "SELECT id, price::text, amount FROM fact_sale_current ORDER BY 1"
        assert shared.house.query(rows) == shared.source(expected)
        sums = "SELECT price, sum(units), sum(units * price) FROM sale"
        totals = f"{sums} WHERE price IS NOT NULL GROUP BY 1 ORDER BY 1"
        assert shared.house.query(
            "SELECT price, units, amount FROM dim_total_history WHERE valid_to IS NULL ORDER BY 1"
        ) == shared.source(totals)

    shared.run()
    holds()
    shared.do("UPDATE sale SET price = 2.000 WHERE id = 2", "INSERT INTO sale VALUES (5, 2, 1.5000)")
    shared.run()
    holds()
    counts = shared.run(full=True)
    assert {count.summary for count in (counts or {}).values()} == {"nothing new"}
    assert query(shared.house.url, "SELECT DISTINCT amount::text FROM dim_total WHERE price = 0.125") == [
        ("0.875",)
    ]
