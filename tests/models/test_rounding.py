"""Averages and quotients of numbers are rounded as in Postgres, although DuckDB divides in floating point."""

from __future__ import annotations

from tests.pair import Pair

SOURCE = (
    "CREATE TABLE item (id integer PRIMARY KEY, price numeric(10,2), units smallint, free numeric)",
    "INSERT INTO item SELECT k, k * 7 % 977 / 100.0, k % 9, k % 5 / 8.0 FROM generate_series(1, 600) AS k",
    "INSERT INTO item VALUES (601, 1234567.89, 3, NULL), (602, NULL, NULL, 1), (603, -2.01, 2, 0)",
)
ROWS = """
    SELECT id, round(price / 2, 2) AS a, ROUND(price * units / 8.0, 1) AS b, round(price, 1) AS c,
        round(round(price / 4, 3), 2) AS d, round(-price / 200, 3) AS e, round(price / 0.5, -1) AS f,
        round(free * 3, 1) AS g, round(0.7 * price / 7, 2) AS h
    FROM item
"""
CASTS = """
    SELECT CAST(price / 200 AS numeric(8, 3)) AS id, CAST(price / 8 AS integer) AS a, count(*) AS b,
        CAST(avg(price) AS numeric(12, 2)) AS c, sum(units)::numeric(9, 1) / 2 AS d,
        (avg(units) FILTER (WHERE units > 1))::numeric(12, 1) AS e
    FROM item WHERE price IS NOT NULL
    GROUP BY CAST(price / 200 AS numeric(8, 3)), CAST(price / 8 AS integer)
"""
GROUPS = """
    SELECT id / 2.0 - id % 2 / 2.0 AS grp, floor(id / 6.0) * 2 + 1 AS f, floor(id / 6.0) AS h,
        round(avg(price), 2) AS a, round(sum(price) / count(*), 2) AS b,
        round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS c, round(avg(units), 0) AS d
    FROM item GROUP BY id / 2.0 - id % 2 / 2.0, floor(id / 6.0)
    HAVING round(avg(price), 2) <> 0.33 ORDER BY avg(price)
"""
ABOVE = "SELECT grp, round(a / 2, 2) AS half FROM fact_groups WHERE round(a / 2, 2) > 1"
SCHEMA = """
    CREATE TABLE fact_rows (id integer, a numeric, b numeric, c numeric, d numeric, e numeric, f numeric,
        g numeric, h numeric);
    CREATE TABLE fact_casts (id numeric, a integer, b bigint, c numeric, d numeric, e numeric);
    CREATE TABLE fact_groups (
        grp numeric, f numeric, h numeric, a numeric(12, 2), b numeric, c numeric, d numeric);
    CREATE TABLE fact_above (grp numeric, half numeric(12, 2));
"""
MODELS = {
    "schema": SCHEMA,
    "fact_rows": f"-- key: id\n{ROWS}",
    "fact_casts": f"-- key: id, a\n{CASTS}",
    "fact_groups": f"-- key: grp\n{GROUPS}",
    "fact_above": f"-- key: grp\n{ABOVE}",
}


def test_rounded_numbers_are_those_of_postgres(shared: Pair) -> None:
    day = ["UPDATE item SET price = price + 0.01 WHERE id % 3 = 0", "DELETE FROM item WHERE id % 17 = 0"]
    shared.live(MODELS, SOURCE, [day])
    tables = {
        "fact_rows": ROWS,
        "fact_casts": CASTS,
        "fact_groups": GROUPS,
        "fact_above": ABOVE.replace("fact_groups", f"({GROUPS}) AS g"),
    }
    for table, sql in tables.items():
        expected = set(shared.source(sql))
        columns = {
            "fact_rows": "id, a, b, c, d, e, f, g, h",
            "fact_casts": "id, a, b, c, d, e",
            "fact_above": "grp, half",
        }.get(table, "grp, f, h, a, b, c, d")
        assert set(shared.house.query(f"SELECT {columns} FROM {table}_current")) == expected, table
