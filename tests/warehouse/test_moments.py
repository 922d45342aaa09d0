"""Tables and views as of any moment."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.pair import Pair
from tests.support import execute, value

MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "bridge_shop_street": "-- key: shop_id, street_id\nSELECT shop_id, street_id FROM shop_street",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "schema": """
        CREATE TABLE dim_shop (shop_id integer PRIMARY KEY, city text);
        CREATE TABLE bridge_shop_street (
            shop_id integer, street_id integer, PRIMARY KEY (shop_id, street_id)
        );
        CREATE TABLE fact_sale (
            record_id serial PRIMARY KEY, sale_id integer, shop_id integer REFERENCES dim_shop, amount integer
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
    "CREATE TABLE shop_street (shop_id int, street_id int, PRIMARY KEY (shop_id, street_id))",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount int)",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO shop_street VALUES (1, 10), (2, 20)",
    "INSERT INTO sale VALUES (1, 1, 10), (2, 2, 20)",
)
DAYS: tuple[tuple[str, ...], ...] = (
    ("UPDATE shop SET city = 'Hull' WHERE shop_id = 1", "UPDATE sale SET amount = 11 WHERE sale_id = 1"),
    ("DELETE FROM sale WHERE shop_id = 2", "DELETE FROM shop WHERE shop_id = 2", "DELETE FROM shop_street"),
    ("INSERT INTO shop VALUES (2, 'Bath')", "INSERT INTO sale VALUES (2, 2, 21)"),
)
JOINED = "SELECT sale_id, city, amount FROM {0}sale JOIN {0}shop USING (shop_id) ORDER BY 1"
Rows = list[tuple[Any, ...]]


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A shop, before its first batch."""
    shared.fresh(MODELS, *SOURCE)
    return shared


@pytest.fixture
def seen(pair: Pair) -> dict[datetime, tuple[Rows, Rows]]:
    """The source's rows at the moment of each of four batches: sales with their shops, and streets."""
    moments = {}
    for day in ((), *DAYS):
        pair.do(*day)
        pair.run()
        moment: datetime = value(pair.house.url, "SELECT snapshot_at FROM etl.watermark")
        moments[moment] = (
            pair.source(JOINED.format("")),
            pair.source("SELECT * FROM shop_street ORDER BY 1"),
        )
    return moments


def test_facts_and_dimensions_of_a_moment_join(pair: Pair, seen: dict[datetime, tuple[Rows, Rows]]) -> None:
    as_of = "SELECT sale_id, city, amount FROM fact_sale_as_of(%s) JOIN dim_shop_as_of(%s) USING (shop_id)"
    views = "SELECT sale_id, city, amount FROM as_of.fact_sale JOIN as_of.dim_shop USING (shop_id) ORDER BY 1"
    streets = "SELECT * FROM as_of.bridge_shop_street ORDER BY 1"
    with psycopg.connect(pair.house.url, autocommit=True) as reader:
        for moment, (sales, links) in seen.items():
            assert reader.execute(as_of + " ORDER BY 1", (moment, moment)).fetchall() == sales
            reader.execute("SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'SQL, DMY'")
            assert reader.execute("SELECT etl.look_at(%s) = %s", (moment, moment)).fetchone() == (True,)
            reader.execute("SET TimeZone = 'America/Lima'; SET DateStyle = 'German'")
            assert (reader.execute(views).fetchall(), reader.execute(streets).fetchall()) == (sales, links)
        latest, _ = list(seen.values())[-1]
        for now in (None, "infinity"):
            reader.execute("SELECT etl.look_at(%s::timestamptz)", (now,))
            assert reader.execute(views).fetchall() == latest


def test_each_version_of_a_fact_joins_the_dimensions_version_of_its_time(
    pair: Pair, seen: dict[datetime, tuple[Rows, Rows]]
) -> None:
    joined = """
        SELECT f.sale_id, s.city, f.amount
        FROM fact_sale_history AS f
        INNER JOIN dim_shop_history AS s
            ON f.shop_id = s.shop_id AND f.valid_from >= s.valid_from
            AND (s.valid_to IS NULL OR f.valid_from < s.valid_to)
        WHERE NOT f.deleted
        ORDER BY f.valid_from, 1
    """
    expected = [(1, "York", 10), (2, "Bath", 20), (1, "Hull", 11), (2, "Bath", 21)]
    assert pair.house.query(joined) == expected
    assert len(seen) == 4


def test_a_moment_may_be_set_for_one_transaction(pair: Pair, seen: dict[datetime, tuple[Rows, Rows]]) -> None:
    first, *_, last = seen
    with psycopg.connect(pair.house.url, autocommit=True) as reader:
        with reader.transaction():
            reader.execute("SELECT etl.look_at(%s, for_transaction => true)", (first,))
            amounts = reader.execute("SELECT sum(amount) FROM as_of.fact_sale").fetchone()
            assert amounts == (sum(row[2] for row in seen[first][0]),)
        amounts = reader.execute("SELECT sum(amount) FROM as_of.fact_sale").fetchone()
        assert amounts == (sum(row[2] for row in seen[last][0]),)


@pytest.mark.parametrize("moment", ["before", "-infinity"])
def test_a_moment_before_the_first_batch_is_an_error(
    pair: Pair, seen: dict[datetime, tuple[Rows, Rows]], moment: str
) -> None:
    first = next(iter(seen))
    if moment == "before":
        moment = str(first - timedelta(microseconds=1))
    with psycopg.connect(pair.house.url, autocommit=True) as reader:
        reader.execute("SET TimeZone = 'UTC'")
        message = rf"nothing is known of .*: the first batch shows {first:%Y-%m-%d %H:%M:%S}"
        for table in MODELS.keys() - {"schema"}:
            with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
                reader.execute(f"SELECT FROM {table}_as_of('{moment}')")
            reader.execute("SELECT etl.look_at(%s)", (moment,))
            with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
                reader.execute(f"SELECT FROM as_of.{table}")


def test_a_reader_needs_only_the_select_privilege(
    pair: Pair, seen: dict[datetime, tuple[Rows, Rows]]
) -> None:
    first = next(iter(seen))
    execute(
        pair.house.url,
        "DROP ROLE IF EXISTS analyst",
        "CREATE ROLE analyst",
        "GRANT USAGE ON SCHEMA public, as_of TO analyst",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public, as_of TO analyst",
    )
    with psycopg.connect(pair.house.url, autocommit=True) as reader:
        reader.execute("SET ROLE analyst")
        reader.execute("SELECT etl.look_at(%s)", (first,))
        assert reader.execute("SELECT count(*) FROM as_of.fact_sale").fetchone() == (2,)
        assert reader.execute("SELECT count(*) FROM fact_sale_as_of(%s)", (first,)).fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("TABLE etl.batch")
    execute(pair.house.url, "DROP OWNED BY analyst", "DROP ROLE analyst")


def test_each_schema_has_views_of_its_own(pair: Pair) -> None:
    execute(pair.house.url, "DROP SCHEMA IF EXISTS dw, dw_as_of CASCADE", "CREATE SCHEMA dw")
    pair.house.schema = "dw"
    try:
        pair.run()
        assert value(pair.house.url, "SELECT count(*) FROM dw_as_of.fact_sale") == 2
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="the first batch shows"):
            pair.house.query("SELECT FROM dw.fact_sale_as_of('2001-01-01')")
    finally:
        pair.house.schema = "public"
        execute(pair.house.url, "DROP SCHEMA IF EXISTS dw, dw_as_of CASCADE")


def test_new_and_retyped_columns_are_in_the_history(
    pair: Pair, seen: dict[datetime, tuple[Rows, Rows]]
) -> None:
    execute(
        pair.house.url,
        "ALTER TABLE dim_shop ADD COLUMN size integer",
        'ALTER TABLE dim_shop ALTER COLUMN city TYPE varchar(9) COLLATE "C"',
        "UPDATE dim_shop SET size = 5",
    )
    pair.house.prepare()
    history = "SELECT shop_id, city, size FROM dim_shop_history ORDER BY valid_from, shop_id"
    assert pair.house.query(history) == [(1, "York", None), (2, "Bath", None), (1, "Hull", 5), (2, "Bath", 5)]
    types = sql.SQL("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = {}::regclass")
    shown = [
        {name for (name,) in pair.house.query(types.format(relation).as_string())}
        for relation in ("dim_shop_version", "dim_shop_history")
    ]
    assert all("character varying(9)" in names for names in shown)
    assert value(pair.house.url, "SELECT max(size) FROM as_of.dim_shop") == 5


@pytest.mark.since(17, "a parallel plan beside subqueries")
def test_queries_of_history_run_in_parallel(pair: Pair) -> None:
    pair.run()
    relations = [f"{table}{suffix}" for table in ("fact_sale", "dim_shop") for suffix in ("", "_history")]
    relations += ["fact_sale_current", "fact_sale_as_of(now())", "dim_shop_as_of(now())"]
    with psycopg.connect(pair.house.url) as reader:
        reader.execute("SET debug_parallel_query = on")
        for relation in [*relations, "as_of.fact_sale", "as_of.dim_shop"]:
            plan = reader.execute(f"EXPLAIN SELECT count(*) FROM {relation}").fetchall()
            assert any("Gather" in line for (line,) in plan), (relation, plan)
