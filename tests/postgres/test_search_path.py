"""The pipeline calls no function or operator that another user creates in its schemas."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from pipeline import status
from pipeline.errors import WarehouseError
from pipeline.postgres import transaction
from pipeline.warehouse import ledger
from tests.pair import Pair
from tests.support import execute, query, value

MODELS = {
    "dim_shop": "SELECT shop_id, label FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount, label FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id varchar PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_record_id serial PRIMARY KEY,
            sale_id bigint NOT NULL,
            shop_id varchar NOT NULL REFERENCES dim_shop,
            amount numeric NOT NULL CHECK (amount OPERATOR(pg_catalog.>) 0),
            label varchar
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id text PRIMARY KEY, label text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id text, amount numeric, label text)",
    "INSERT INTO shop VALUES ('a', 'York')",
    "INSERT INTO sale VALUES (1, 'a', 1, 'x'), (2, 'b', 2, NULL), (3, 'a', -1, NULL)",
)
# Functions that match a call better than the one of Postgres, which takes any type.
FUNCTIONS = (
    "concat_ws(text, text)",
    "concat_ws(text, text, text)",
    "concat(text, text, text)",
    "format(text, bigint)",
    "format(text, integer)",
    "jsonb_build_object(text, text)",
    "jsonb_build_object(text, text, text, text)",
    "jsonb_populate_record(dim_shop, jsonb)",
    "jsonb_populate_record(fact_sale, jsonb)",
    "to_jsonb(dim_shop)",
    "generate_series(bigint, bigint, integer)",
    "unnest(int2vector)",
    "unnest(smallint[])",
    "pg_advisory_xact_lock(integer)",
    "pg_advisory_lock(integer)",
    "lag(timestamptz)",
    "lead(timestamptz)",
    "to_regclass(varchar)",
)
PAIRS = (
    ("varchar", "varchar"),
    ("varchar", "text"),
    ("text", "varchar"),
    ("name", "varchar"),
    ("numeric", "integer"),
)
OPERATORS = ("=", "<>", "<", "<=", ">", ">=", "||")


@pytest.fixture
def pair(shared: Pair) -> Pair:
    shared.fresh(MODELS, *SOURCE)
    return shared


@pytest.fixture
def stranger(pair: Pair) -> Iterator[str]:
    """A role that may create objects in both schemas named public, and nothing else."""
    name = f"stranger_{pair.source_url.rsplit('_', 1)[1]}"
    execute(pair.house.url, f"CREATE ROLE {name}")
    for url in (pair.house.url, pair.source_url):
        execute(url, f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
    yield name
    for url in (pair.house.url, pair.source_url):
        execute(url, f"DROP OWNED BY {name} CASCADE")
    execute(pair.house.url, f"DROP ROLE {name}")


def lay_traps(url: str, role: str) -> int:
    """Create all traps that the types of the database allow; returns their number."""
    laid = 0
    operators = [(f"trap_{number}", left, right) for number, (left, right) in enumerate(PAIRS)]
    functions = [*FUNCTIONS, *(f"{name}({left}, {right})" for name, left, right in operators)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for signature in functions:
            body = f"BEGIN RAISE 'the trap {signature} was called'; END"
            try:
                connection.execute(
                    f"CREATE FUNCTION public.{signature} RETURNS boolean IMMUTABLE LANGUAGE plpgsql"
                    f" AS $$ {body} $$".encode()
                )
            except psycopg.errors.UndefinedObject:  # a table of the other database
                continue
            laid += 1
        for name, left, right in operators:
            for operator in OPERATORS:
                connection.execute(
                    (
                        f"CREATE OPERATOR public.{operator}"
                        f" (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.{name})"
                    ).encode()
                )
                laid += 1
    return laid


def test_a_careless_session_would_call_the_traps(pair: Pair, stranger: str) -> None:
    pair.house.prepare()
    assert lay_traps(pair.house.url, stranger) == len(FUNCTIONS) + len(PAIRS) * (1 + len(OPERATORS))
    for expression in (
        "concat_ws('; '::text, 'x'::text)",
        "'x'::varchar = 'y'::varchar",
        "jsonb_build_object('x'::text, 'y'::text)",
        "1.5 > 1",
    ):
        with pytest.raises(psycopg.errors.RaiseException, match=r"the trap .* was called"):
            query(pair.house.url, f"SELECT {expression}")


def whole_job(pair: Pair) -> None:
    """First batch, changes, rejected rows that come in, deletions, reconciling, status, and the lock."""
    with ledger.lock(pair.house.url, "public"):
        pair.run()
    pair.do(
        "UPDATE sale SET amount = 7, label = 'y' WHERE sale_id = 1",
        "UPDATE shop SET label = 'Leeds'",
        "INSERT INTO sale VALUES (4, 'a', 4, NULL)",
        "INSERT INTO shop VALUES ('b', 'Bath')",
    )
    pair.run()
    pair.do("DELETE FROM sale WHERE sale_id = 4")
    pair.run(reconcile=True)
    assert pair.run() is None
    with transaction(pair.house.url, "warehouse") as connection:
        assert len(status.recent(connection, "public", 9)) == 3
        assert len(status.rejected(connection, "public")) == 1
    house = pair.house
    assert house.query("SELECT sale_id, shop_id, amount, label FROM fact_sale_current ORDER BY 1") == [
        (1, "a", 7, "y"),
        (2, "b", 2, None),
    ]
    assert value(house.url, "SELECT count(*) FROM fact_sale_history") == 5
    assert value(house.url, "SELECT count(*) FROM fact_sale_as_of(now())") == 2
    assert value(house.url, "SELECT count(*) FROM dim_shop_history") == 3
    assert [key for _, key, _ in house.rejected()] == [{"sale_id": "3"}]


def test_no_function_of_another_user_in_the_warehouse_is_called(pair: Pair, stranger: str) -> None:
    pair.house.prepare()
    lay_traps(pair.house.url, stranger)
    whole_job(pair)


def test_no_function_of_another_user_is_called_in_the_schema_of_the_tables(pair: Pair, stranger: str) -> None:
    lay_traps(pair.house.url, stranger)
    pair.house.prepare()
    whole_job(pair)


def test_no_function_of_another_user_in_the_source_is_called(pair: Pair, stranger: str) -> None:
    pair.do("INSERT INTO sale SELECT i, 'a', i, 'x' FROM generate_series(100, 5000) AS i")
    assert lay_traps(pair.source_url, stranger) > 20
    pair.run()
    assert value(pair.house.url, "SELECT count(*) FROM fact_sale_current") == 4902
    pair.do("UPDATE sale SET amount = 9 WHERE sale_id = 200", "DELETE FROM sale WHERE sale_id > 200")
    pair.run(reconcile=True, max_deleted_share=1.0)
    assert value(pair.house.url, "SELECT count(*) FROM fact_sale_current") == 102


def test_a_table_that_would_call_another_users_function_is_not_created(pair: Pair, stranger: str) -> None:
    """Only the DDL of models uses names without a schema."""
    careless = MODELS["schema"].replace("OPERATOR(pg_catalog.>)", ">")
    pair.fresh(MODELS | {"schema": careless}, *SOURCE)
    execute(pair.house.url, f"GRANT CREATE, USAGE ON SCHEMA public TO {stranger}")
    lay_traps(pair.house.url, stranger)
    words = rf"schema\.sql: a table would call operator public\.>\(numeric,integer\) of role {stranger}"
    with pytest.raises(WarehouseError, match=words):
        pair.house.prepare()
    execute(pair.house.url, f"DROP OWNED BY {stranger} CASCADE")
    pair.house.prepare()


def test_the_function_of_an_older_warehouse_is_replaced(pair: Pair) -> None:
    pair.run()
    made = "SELECT prosrc FROM pg_proc WHERE proname = 'fact_sale_as_of'"
    pinned = value(pair.house.url, made)
    assert "OPERATOR(pg_catalog.<=)" in pinned
    execute(
        pair.house.url,
        "CREATE OR REPLACE FUNCTION fact_sale_as_of(moment timestamptz) RETURNS SETOF fact_sale_current"
        " LANGUAGE sql STABLE AS 'SELECT * FROM fact_sale_current WHERE now() <= $1'",
    )
    pair.house.prepare()
    assert value(pair.house.url, made) == pinned


def test_the_planner_looks_into_the_function(pair: Pair) -> None:
    """The planner inlines the function, so a condition narrows the scan."""
    pair.run()
    asked = "EXPLAIN SELECT * FROM fact_sale_as_of(now()) WHERE sale_id = 1"
    plan = "\n".join(line for (line,) in query(pair.house.url, asked))
    assert "Function Scan" not in plan
    assert "fact_sale" in plan


# Types of other schemas

CASELESS = """
    CREATE TYPE caseless;
    CREATE FUNCTION caseless_in(cstring) RETURNS caseless LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION caseless_out(caseless) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE FUNCTION caseless_recv(internal) RETURNS caseless LANGUAGE internal IMMUTABLE STRICT AS 'textrecv';
    CREATE TYPE caseless (
        INPUT = caseless_in, OUTPUT = caseless_out, RECEIVE = caseless_recv, LIKE = text, CATEGORY = 'S'
    );
    CREATE CAST (caseless AS text) WITHOUT FUNCTION AS IMPLICIT;
"""
COMPARED = """
    CREATE FUNCTION caseless_{name}(a caseless, b caseless) RETURNS boolean IMMUTABLE STRICT
    LANGUAGE sql AS $$ SELECT lower(a::text) {operator} lower(b::text) $$;
    CREATE OPERATOR {operator} (
        LEFTARG = caseless, RIGHTARG = caseless, FUNCTION = caseless_{name}, HASHES = false
    );
"""
ORDERED = """
    CREATE FUNCTION caseless_cmp(a caseless, b caseless) RETURNS integer IMMUTABLE STRICT
    LANGUAGE sql AS $$ SELECT bttextcmp(lower(a::text), lower(b::text)) $$;
    CREATE OPERATOR CLASS caseless_ops DEFAULT FOR TYPE caseless USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 caseless_cmp(caseless, caseless);
"""
COMPARISONS = {"lt": "<", "le": "<=", "eq": "=", "ge": ">=", "gt": ">"}


@pytest.mark.parametrize("home", ["public", 'else"where {x} %s'])
def test_keys_of_an_extensions_type_compare_as_the_type_does(pair: Pair, home: str) -> None:
    """Like citext, which no server here has: York and YORK are one key in two spellings."""
    schema = '"' + home.replace('"', '""') + '"'
    compared = [COMPARED.format(name=name, operator=text) for name, text in COMPARISONS.items()]
    parts = (CASELESS, *compared, ORDERED, "CREATE DOMAIN place AS caseless; CREATE DOMAIN town AS place")
    files = {
        "dim_shop": "SELECT shop_id, label FROM shop",
        "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
        "schema": f"""
            CREATE TABLE IF NOT EXISTS dim_shop (
                shop_id {schema}.caseless PRIMARY KEY, label {schema}.caseless
            );
            CREATE TABLE IF NOT EXISTS fact_sale (
                sale_id {schema}.town NOT NULL,
                shop_id {schema}.caseless NOT NULL REFERENCES dim_shop,
                amount numeric
            );
        """,
    }
    pair.fresh(
        files,
        "CREATE TABLE shop (shop_id text PRIMARY KEY, label text)",
        "CREATE TABLE sale (sale_id text PRIMARY KEY, shop_id text, amount numeric)",
        "INSERT INTO shop VALUES ('York', 'a')",
        "INSERT INTO sale VALUES ('one', 'YORK', 1), ('two', 'Bath', 2)",
    )
    with psycopg.connect(pair.house.url) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
        connection.execute(f"SET search_path TO {schema}".encode())
        for part in parts:
            connection.execute(part.encode())
    pair.run()
    assert [reason for *_, reason in pair.house.rejected()] == ["shop_id is not in dim_shop"]
    pair.do(
        "UPDATE sale SET sale_id = 'ONE', amount = 5 WHERE sale_id = 'one'",
        "UPDATE shop SET label = 'A'",
        "INSERT INTO shop VALUES ('bath', 'b')",
    )
    pair.run()
    house = pair.house
    assert house.query("SELECT sale_id::text, amount FROM fact_sale_current ORDER BY amount") == [
        ("two", 2),
        ("ONE", 5),
    ]
    assert value(house.url, "SELECT count(*) FROM fact_sale") == 3
    assert house.query("SELECT shop_id::text, label::text FROM dim_shop ORDER BY 1") == [
        ("York", "A"),
        ("bath", "b"),
    ]
    assert house.rejected() == []
    execute(house.url, "DROP TABLE dim_shop, fact_sale CASCADE", f"DROP SCHEMA {schema} CASCADE")
