"""Readers of a table that is restated, and what its users made on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pipeline.errors import WarehouseError
from pipeline.warehouse import integrity, ledger, references
from tests.pair import Pair
from tests.recovery.restating import DAYS, MODELS, SOURCE, change, restated
from tests.support import execute

EVERY_VERSION = {"fact_sale": MODELS["fact_sale"].replace("amount", "amount + 1 AS amount")}
TOTAL = "SELECT sum(amount), count(*) FROM fact_sale"
OBJECTS_OF_USERS = (
    "CREATE ROLE restate_reader",
    "GRANT SELECT (sale_id, amount) ON fact_sale TO restate_reader",
    "CREATE VIEW big_sale AS SELECT sale_record_id, amount FROM fact_sale WHERE amount > 10",
    "CREATE MATERIALIZED VIEW sales_per_shop AS SELECT shop_id, count(*) FROM fact_sale GROUP BY 1",
    "CREATE TABLE note (sale_record_id int PRIMARY KEY REFERENCES fact_sale)",
    "INSERT INTO note SELECT sale_record_id FROM fact_sale WHERE sale_id = 7",
    "CREATE INDEX by_amount ON fact_sale (amount)",
    "COMMENT ON TABLE fact_sale IS 'ours'",
    "CREATE STATISTICS of_sales ON shop_id, amount FROM fact_sale",
    "CREATE TABLE seen (sale_id int)",
    """CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.seen VALUES (new.sale_id); RETURN new; END $$""",
    "CREATE TRIGGER see AFTER UPDATE ON fact_sale FOR EACH ROW EXECUTE FUNCTION see()",
)


@pytest.fixture
def proving(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """References of few rows are proven, too; the results of the proofs."""
    counts, real = list[int](), integrity.count_missing_references

    def counted(table: Any) -> int:
        counts.append(real(table))
        return counts[-1]

    monkeypatch.setattr(references, "_FEWEST_ROWS", 1)
    monkeypatch.setattr("pipeline.recovery.rebuilt_tables.integrity.count_missing_references", counted)
    return counts


@contextmanager
def reading(pair: Pair) -> Iterator[psycopg.Connection]:
    """A transaction whose snapshot is of now, and which waits for no lock."""
    with psycopg.connect(pair.house.url) as connection:
        connection.execute("SET default_transaction_isolation = 'repeatable read'; SET lock_timeout = '1s'")
        connection.commit()
        connection.execute("SELECT FROM etl.watermark")
        yield connection


def test_a_reader_sees_the_rows_of_its_snapshot_also_if_it_looks_later(lived: Pair) -> None:
    before = lived.house.query(TOTAL)
    with reading(lived) as reader:
        assert restated(lived, EVERY_VERSION) == ["fact_sale"]
        assert reader.execute(TOTAL).fetchall() == before
    assert lived.house.query(TOTAL) == [(before[0][0] + before[0][1], before[0][1])]


def test_readers_wait_for_nothing_while_a_table_is_restated(
    lived: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen, record = lived.house.query(TOTAL), [], ledger.record_model

    def look_first(*arguments: Any) -> None:
        """The restated table is written by now, and not committed."""
        with reading(lived) as reader:
            seen.extend(reader.execute(TOTAL).fetchall())
        record(*arguments)

    monkeypatch.setattr(ledger, "record_model", look_first)
    restated(lived, EVERY_VERSION)
    assert seen == before


def test_what_users_made_on_a_restated_table_stays(lived: Pair) -> None:
    house, numbers = lived.house, "SELECT sale_record_id, sale_id, recorded_at FROM fact_sale ORDER BY 1"
    execute(house.url, "DROP ROLE IF EXISTS restate_reader", *OBJECTS_OF_USERS)
    try:
        before = house.query(numbers)
        assert restated(lived, EVERY_VERSION) == ["fact_sale"]
        assert house.query(numbers) == before, "a version keeps its number"
        assert house.query("SELECT count(*) FROM big_sale JOIN note USING (sale_record_id)") == [(2,)]
        assert house.query("SELECT count(*) > 0 FROM seen") == [(True,)], "their trigger has run"
        assert house.query("SELECT obj_description('fact_sale'::regclass)") == [("ours",)]
        granted = "SELECT has_column_privilege('restate_reader', 'fact_sale', 'amount', 'SELECT')"
        assert house.query(granted) == [(True,)]
        assert house.query("SELECT to_regclass('by_amount') IS NOT NULL") == [(True,)]
        execute(house.url, "REFRESH MATERIALIZED VIEW sales_per_shop")
    finally:
        execute(house.url, "DROP OWNED BY restate_reader", "DROP ROLE restate_reader")


def test_references_are_proven_in_one_scan(shared: Pair, proving: list[int]) -> None:
    shared.live(MODELS, SOURCE, DAYS)
    proving.clear()
    moved = MODELS["fact_sale"].replace("shop_id", "3 - shop_id % 2 AS shop_id")
    assert change(shared, fact_sale=moved) == ["fact_sale"]
    assert proving.count(0) >= 1


def test_a_reference_that_the_changed_model_breaks_is_named_and_nothing_changes(
    lived: Pair, proving: list[int]
) -> None:
    house = lived.house
    execute(
        house.url,
        "CREATE TABLE price (amount numeric PRIMARY KEY)",
        "INSERT INTO price SELECT DISTINCT amount FROM fact_sale",
        "ALTER TABLE fact_sale ADD CONSTRAINT has_price FOREIGN KEY (amount) REFERENCES price",
    )
    before = house.query(TOTAL)
    message = 'table fact_sale: .*violates foreign key constraint "has_price".*; nothing was changed'
    with pytest.raises(WarehouseError, match=message):
        restated(lived, EVERY_VERSION)
    assert house.query(TOTAL) == before


def test_versions_have_what_a_dimension_computes_and_numbers(shared: Pair) -> None:
    """Also those that restating adds; our own row has a number that the rebuilt table must not give again."""
    before, after = (
        "shop_id integer PRIMARY KEY, total",
        (
            "total_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shop_id integer NOT NULL UNIQUE,"
            " twice numeric GENERATED ALWAYS AS (total * 2) STORED, total"
        ),
    )
    total = "-- key: shop_id\n" + MODELS["dim_total"]
    schema = MODELS["schema"].replace(before, after)
    shared.fresh(MODELS | {"schema": schema, "dim_total": total}, *SOURCE)
    house = shared.house
    house.targets()
    execute(house.url, "INSERT INTO dim_total (shop_id, total) VALUES (9, 9)")
    for day in ((), *DAYS):
        shared.do(*day)
        shared.run()
    versions = "SELECT count(*) FROM dim_total_version"
    ((number,),) = house.query(versions)
    changed = total.replace("sum(amount)", "sum(amount + CAST(item = 'item 9' AS integer))")
    assert restated(shared, {"dim_total": changed}) == ["dim_total"]
    assert house.query(versions) > [(number,)]
    same = "SELECT DISTINCT v.total_id = d.total_id, v.twice = 2 * v.total FROM dim_total_version AS v"
    assert house.query(f"{same} JOIN dim_total AS d USING (shop_id)") == [(True, True)]
    assert house.rejected() == [row for row in house.rejected() if row[0] != "dim_total"]
