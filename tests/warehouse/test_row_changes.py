"""Large tables are counted only if Postgres' counter of changed rows has moved since."""

from __future__ import annotations

from time import monotonic, sleep

import pytest

from pipeline.postgres import transaction
from pipeline.warehouse import bindings
from pipeline.warehouse.mismatches import examine_tables
from tests.house import plan_batch
from tests.pair import Pair
from tests.support import execute

MODELS = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "schema": "CREATE TABLE IF NOT EXISTS fact_sale (record_id serial, sale_id int NOT NULL, amount int);",
}
FLUSH = "SELECT pg_stat_force_next_flush()"


@pytest.fixture
def large(shared: Pair) -> Pair:
    """A fact with more rows than are always counted, examined once after its first load."""
    shared.fresh(
        MODELS,
        "CREATE TABLE sale (sale_id int PRIMARY KEY, amount int)",
        "INSERT INTO sale SELECT i, i FROM generate_series(1, 10000) AS i",
    )
    shared.run()
    wait_for_counter(shared, 10_000)
    assert reasons(shared) == []
    return shared


def is_untouched(pair: Pair) -> bool:
    """Whether the fact would not be counted."""
    with transaction(pair.house.url, "warehouse") as connection:
        (binding,) = bindings.read(connection, "public", ["fact_sale"])
    return binding.is_untouched


def reasons(pair: Pair) -> list[str]:
    """What the start of a run finds wrong with the fact."""
    return [each.reason for each in examine_tables(pair.house.url, "public", ["fact_sale"])]


def test_our_own_loads_need_no_count(large: Pair) -> None:
    assert is_untouched(large)
    for edit in (
        "UPDATE sale SET amount = 0 WHERE sale_id <= 100",
        "DELETE FROM sale WHERE sale_id > 9990",
        "INSERT INTO sale VALUES (20000, 1)",
    ):
        large.do(edit)
        recorded = large.house.query("SELECT row_changes FROM etl.model WHERE table_name = 'fact_sale'")
        large.run()
        wait_for_counter(large, int(recorded[0][0]) + 1)
        assert is_untouched(large)
        assert reasons(large) == []
    rows = large.house.query("SELECT row_count FROM etl.model WHERE table_name = 'fact_sale'")
    assert rows == large.house.query("SELECT count(*) FROM fact_sale") == [(10_111,)]


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("DELETE FROM fact_sale WHERE sale_id = 7", "has 9,999 rows, and 10,000 were loaded"),
        ("INSERT INTO fact_sale (sale_id, recorded_at) VALUES (0, now())", "has 10,001 rows, and 10,000"),
        ("TRUNCATE fact_sale", "has 0 rows, and 10,000 were loaded"),
    ],
)
def test_rows_that_others_insert_or_delete_are_found(large: Pair, harm: str, found: str) -> None:
    execute(large.house.url, harm, FLUSH)
    assert not is_untouched(large)
    (reason,) = reasons(large)
    assert found in reason


@pytest.mark.parametrize("change", ["VACUUM FULL fact_sale", "UPDATE etl.model SET row_changes = NULL"])
def test_a_table_whose_counter_says_nothing_is_counted_once(large: Pair, change: str) -> None:
    execute(large.house.url, change)
    assert not is_untouched(large)
    assert reasons(large) == []
    assert is_untouched(large)


def test_counters_that_were_reset_are_not_trusted_until_they_are_high(large: Pair) -> None:
    """A crash loses counters; low ones could come to agree although others changed rows before it."""
    execute(large.house.url, "SELECT pg_stat_reset_single_table_counters('fact_sale'::regclass)")
    for _ in range(2):
        assert reasons(large) == []
        assert not is_untouched(large)
    large.do("UPDATE sale SET amount = amount + 1")
    large.run()
    wait_for_counter(large, 10_000)
    assert reasons(large) == []
    assert is_untouched(large)


def wait_for_counter(pair: Pair, rows: int) -> None:
    """A session that has ended reports its changes a moment later."""
    counter = "SELECT n_tup_ins + n_tup_del FROM pg_stat_user_tables WHERE relname = 'fact_sale'"
    end = monotonic() + 60
    while pair.house.query(counter)[0][0] < rows and monotonic() < end:
        sleep(0.02)


def test_a_change_by_others_during_a_load_is_found(large: Pair) -> None:
    """Only what the load itself has changed is added to the recorded counter."""
    large.do("UPDATE sale SET amount = 0 WHERE sale_id = 1")
    _, manifest = plan_batch(large.source_url, large.house)
    assert manifest is not None
    execute(large.house.url, "DELETE FROM fact_sale WHERE sale_id = 7", FLUSH)
    large.house.bring(manifest)
    assert not is_untouched(large)
    (reason,) = reasons(large)
    assert "has 10,000 rows, and 10,001 were loaded" in reason


def test_counters_that_are_switched_off_are_not_trusted(large: Pair) -> None:
    name = "SELECT format('ALTER DATABASE %I SET track_counts = off', current_database())"
    ((statement,),) = large.house.query(name)
    execute(large.house.url, str(statement))
    assert not is_untouched(large)
