"""Large tables and versions are counted only if Postgres' counter of changed rows has moved since."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic, sleep

import pytest

from pipeline.postgres import Connection, transaction
from pipeline.warehouse import bindings
from pipeline.warehouse.mismatches import examine_tables
from tests.house import plan_batch
from tests.pair import Pair
from tests.support import execute

MODELS = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "dim_sale": "SELECT sale_id, amount FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS fact_sale (record_id serial, sale_id int NOT NULL, amount int);
        CREATE TABLE IF NOT EXISTS dim_sale (sale_id int PRIMARY KEY, amount int);
    """,
}
TABLES = ("dim_sale", "dim_sale_version", "fact_sale")
REPLACE = """
    CREATE TABLE other (LIKE dim_sale_version INCLUDING ALL);
    INSERT INTO other SELECT * FROM dim_sale_version;
    DROP TABLE dim_sale_version CASCADE;
    ALTER TABLE other RENAME TO dim_sale_version
"""
INHERIT = "CREATE TABLE other () INHERITS ({0}); INSERT INTO other SELECT * FROM ONLY {0} LIMIT 1"
FLUSH = "SELECT pg_stat_force_next_flush()"


@pytest.fixture
def large(shared: Pair) -> Pair:
    """A fact and a dimension with more rows than are always counted, examined once after the first load."""
    shared.fresh(
        MODELS,
        "CREATE TABLE sale (sale_id int PRIMARY KEY, amount int)",
        "INSERT INTO sale SELECT i, i FROM generate_series(1, 10000) AS i",
    )
    shared.run()
    wait_for_counters(shared, 10_000)
    assert reasons(shared) == []
    return shared


def counted(pair: Pair) -> list[str]:
    """The tables that the next run would count."""
    with transaction(pair.house.url, "warehouse") as connection:
        dimension, fact = bindings.read(connection, "public", ["dim_sale", "fact_sale"])
    trusted = dimension.is_untouched, dimension.has_untouched_versions, fact.is_untouched
    return [name for name, is_trusted in zip(TABLES, trusted, strict=True) if not is_trusted]


def reasons(pair: Pair) -> list[str]:
    """What the start of a run finds wrong with the tables."""
    return [each.reason for each in examine_tables(pair.house.url, "public", ["dim_sale", "fact_sale"])]


def test_our_own_loads_need_no_count(large: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(large) == []
    counts = list[str]()
    real = bindings.count_rows

    def noted(connection: Connection, schema: str, tables: Iterable[str]) -> dict[str, int]:
        counts.extend(names := list(tables))
        return real(connection, schema, names)

    monkeypatch.setattr(bindings, "count_rows", noted)
    for edit in (
        "UPDATE sale SET amount = 0 WHERE sale_id <= 100",
        "DELETE FROM sale WHERE sale_id > 9990",
        "INSERT INTO sale VALUES (20000, 1), (9999, 1)",
    ):
        large.do(edit)
        large.run()
        wait_for_counters(large)
        assert reasons(large) == []
        assert counted(large) == []
    assert counts == []
    recorded = large.house.query("SELECT row_count, version_count FROM etl.model ORDER BY table_name")
    assert recorded == [(10_001, 10_102), (10_112, None)]
    for name, number in zip(TABLES, (10_001, 10_102, 10_112), strict=True):
        assert large.house.query(f"SELECT count(*) FROM {name}") == [(number,)]


@pytest.mark.parametrize(
    ("harm", "table", "found"),
    [
        ("DELETE FROM fact_sale WHERE sale_id = 7", "fact_sale", "has 9,999 rows, and 10,000 were loaded"),
        (
            "INSERT INTO fact_sale (sale_id, recorded_at) VALUES (0, now())",
            "fact_sale",
            "has 10,001 rows, and 10,000",
        ),
        ("TRUNCATE fact_sale", "fact_sale", "has 0 rows, and 10,000 were loaded"),
        ("DELETE FROM dim_sale_version WHERE sale_id = 7", "dim_sale_version", "has 9,999 versions"),
        (
            "INSERT INTO dim_sale_version (sale_id, valid_from) VALUES (0, now())",
            "dim_sale_version",
            "10,001 versions",
        ),
        (
            "TRUNCATE dim_sale_version",
            "dim_sale_version",
            "has 0 versions of its rows, and 10,000 were loaded",
        ),
        (REPLACE, "dim_sale_version", "has another history table"),
        (INHERIT.format("fact_sale"), "fact_sale", "has 10,001 rows, and 10,000 were loaded"),
        (INHERIT.format("dim_sale_version"), "dim_sale_version", "10,001 versions"),
    ],
)
def test_rows_that_others_insert_or_delete_are_found(large: Pair, harm: str, table: str, found: str) -> None:
    execute(large.house.url, harm, FLUSH)
    assert counted(large) == [table]
    (reason,) = reasons(large)
    assert found in reason


@pytest.mark.parametrize(
    "change",
    [
        "VACUUM FULL {}",
        "UPDATE etl.model SET row_changes = NULL, version_changes = NULL -- {}",
        "UPDATE etl.model SET version_filenode = NULL, filenode = NULL -- {}",
    ],
)
def test_a_table_whose_counter_says_nothing_is_counted_once(large: Pair, change: str) -> None:
    execute(large.house.url, *(change.format(name) for name in TABLES))
    assert counted(large) == [*TABLES]
    assert reasons(large) == []
    assert counted(large) == []


def test_versions_are_counted_in_a_restored_warehouse(large: Pair) -> None:
    execute(large.house.url, "UPDATE etl.model SET etl_oid = 1")
    assert counted(large) == [*TABLES]
    assert len(reasons(large)) == 2, "the tables may be ahead"


def test_counters_that_were_reset_are_not_trusted_until_they_are_high(large: Pair) -> None:
    """A crash loses counters; low ones could come to agree although others changed rows before it."""
    reset = "SELECT pg_stat_reset_single_table_counters('{}'::regclass)"
    execute(large.house.url, *(reset.format(name) for name in TABLES))
    for _ in range(2):
        assert reasons(large) == []
        assert counted(large) == [*TABLES]
    large.do("UPDATE sale SET amount = amount + 1")
    large.run()
    wait_for_counters(large, 10_000)
    assert reasons(large) == []
    assert counted(large) == ["dim_sale"], "whose rows were updated"


def wait_for_counters(pair: Pair, rows: int | str = "NULL") -> None:
    """A session that has ended reports its changes a moment later."""
    low = (
        "SELECT count(*) FROM pg_stat_user_tables AS s, etl.model AS m WHERE n_tup_ins + n_tup_del <"
        f" COALESCE({rows}, CASE relname WHEN 'fact_sale' THEN row_changes ELSE version_changes END)"
        " AND (relname, table_name) IN (('fact_sale', 'fact_sale'), ('dim_sale_version', 'dim_sale'))"
    )
    end = monotonic() + 60
    while pair.house.query(low) != [(0,)] and monotonic() < end:
        sleep(0.02)


@pytest.mark.parametrize(
    ("harm", "table", "found"),
    [
        ("DELETE FROM fact_sale WHERE sale_id = 7", "fact_sale", "has 10,000 rows, and 10,001 were loaded"),
        ("TRUNCATE fact_sale", "fact_sale", "has 1 row, and 10,001 were loaded"),
        (
            "DELETE FROM dim_sale_version WHERE sale_id = 7",
            "dim_sale_version",
            "has 10,000 versions of its rows, and 10,001 were loaded",
        ),
        (
            "TRUNCATE dim_sale_version",
            "dim_sale_version",
            "has 1 version of its rows, and 10,001 were loaded",
        ),
    ],
)
def test_a_change_by_others_during_a_load_is_found(large: Pair, harm: str, table: str, found: str) -> None:
    """Only what the load itself has changed is added to the recorded counter."""
    large.do("UPDATE sale SET amount = 0 WHERE sale_id = 1")
    _, manifest = plan_batch(large.source_url, large.house)
    assert manifest is not None
    execute(large.house.url, harm, FLUSH)
    large.house.bring(manifest)
    wait_for_counters(large)
    assert table in counted(large)
    assert any(found in reason for reason in reasons(large))


def test_counters_that_are_switched_off_are_not_trusted(large: Pair) -> None:
    name = "SELECT format('ALTER DATABASE %I SET track_counts = off', current_database())"
    ((statement,),) = large.house.query(name)
    execute(large.house.url, str(statement))
    assert counted(large) == [*TABLES]
