"""The status of a warehouse: freshness, rows to read, rejected rows and alarms; it changes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from pipeline import status
from pipeline.errors import ModelError
from pipeline.lake.buckets import Usage
from pipeline.postgres import transaction
from pipeline.settings import Settings
from pipeline.status import Counting, Status
from tasks.status import Verdict, show
from tests.pair import Pair
from tests.support import counted, execute, query, value, write_models

MODELS = {
    "dim_shop": "SELECT shop_id, label FROM shop",
    "fact_sale": """
        -- key: sale_id
        SELECT sale_id, shop_id, units FROM sale
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, label varchar(5) NOT NULL);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL, shop_id integer NOT NULL REFERENCES dim_shop, units smallint NOT NULL
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, units bigint)",
    "INSERT INTO shop VALUES (1, 'York')",
    "INSERT INTO sale SELECT n, 1, 1 FROM generate_series(1, 5) AS n",
)


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A source with a few valid rows, not read yet."""
    shared.fresh(MODELS, *SOURCE)
    return shared


def look(pair: Pair, *, counting: Counting = "small", small: int = 1 << 26) -> Status:
    house = pair.house
    config = Settings(transforms=house.folder)
    return status.inspect(
        pair.source_url, house.url, house.raw, house.processed, config, counting=counting, small=small
    )


def test_before_the_first_batch_all_rows_are_to_be_read_and_nothing_is_created(pair: Pair) -> None:
    found = look(pair)
    assert (found.up_to_date_at, found.age) == (None, None)
    assert found.pending is not None
    assert found.pending.keys() == {"shop", "sale"}
    assert "first batch" in found.pending_summary
    assert (found.batches, found.rejected, found.sealed) == ((), (), None)
    assert set(found.usage.values()) == {Usage()}
    assert query(pair.house.url, "SELECT FROM pg_tables WHERE schemaname IN ('public', 'etl')") == []


def test_tables_whose_references_postgres_checks_again_are_named(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.run()
    show(look(pair, counting="nothing"), Verdict.OK)
    assert "References: checked by the load, all at once\n" in capsys.readouterr().out
    does = "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    execute(pair.house.url, f"CREATE TRIGGER notes AFTER INSERT ON fact_sale FOR EACH ROW {does}")
    show(look(pair, counting="nothing"), Verdict.OK)
    assert (
        "References of fact_sale: Postgres checks them for each row again, because it has the trigger notes\n"
        in capsys.readouterr().out
    )


def test_an_up_to_date_warehouse_is_as_old_as_the_last_probe(pair: Pair) -> None:
    pair.run()
    loaded = look(pair)
    assert loaded.pending == {}
    assert loaded.up_to_date_at == value(pair.house.url, "SELECT snapshot_at FROM etl.batch")
    pair.run()
    again = look(pair)
    assert again.up_to_date_at is not None
    assert loaded.up_to_date_at < again.up_to_date_at < again.at
    assert again.age == again.at - again.up_to_date_at


def test_rows_to_read_are_shown_by_table_until_they_are_loaded(pair: Pair) -> None:
    assert look(pair).scan_reason is None
    pair.run()
    assert look(pair).scan_reason == "they are small"
    pair.do("UPDATE sale SET units = 2 WHERE sale_id <= 3")
    assert look(pair).pending == look(pair).pending == {"sale": 3}
    assert look(pair).pending_summary == "3 rows of sale; nothing new in 1 other table"
    pair.run()
    assert look(pair).pending == {}


def test_rows_of_large_tables_are_counted_only_on_request(pair: Pair) -> None:
    """Counting scans the table."""
    pair.do("INSERT INTO sale SELECT n, 1, 1 FROM generate_series(10, 1000) AS n")
    pair.run()
    pair.do("UPDATE sale SET units = 2 WHERE sale_id <= 3")
    scans = scans_of_sale(pair)
    found = look(pair, small=20_000)
    assert (found.pending, found.pending_summary) == (None, "not counted: sale; nothing new in 1 other table")
    assert scans_of_sale(pair) == scans
    assert look(pair, counting="all").pending == {"sale": 3}
    assert scans_of_sale(pair) > scans


def scans_of_sale(pair: Pair) -> int:
    """The number of scans of the table."""
    found = counted(pair.source_url, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sale'")
    assert isinstance(found, int)
    return found


PARTITIONED = """
    ALTER TABLE sale RENAME TO part;
    ALTER TABLE part ALTER shop_id SET NOT NULL;
    CREATE TABLE sale (LIKE part) PARTITION BY LIST (shop_id);
    ALTER TABLE sale ATTACH PARTITION part DEFAULT
"""
INHERITED = """
    ALTER TABLE sale RENAME TO heir;
    CREATE TABLE sale (LIKE heir);
    ALTER TABLE heir INHERIT sale
"""


@pytest.mark.parametrize("extend", [PARTITIONED, INHERITED])
def test_the_size_of_a_table_includes_partitions_and_inheriting_tables(pair: Pair, extend: str) -> None:
    pair.do("INSERT INTO sale SELECT n, 1, 1 FROM generate_series(10, 1000) AS n", extend)
    pair.run()
    assert look(pair, small=20_000).pending_summary == "not counted: sale; nothing new in 1 other table"


def test_a_status_without_counting_reads_no_table_of_the_source(pair: Pair) -> None:
    pair.run()
    with psycopg.connect(pair.source_url) as altering:
        altering.execute("LOCK TABLE shop, sale IN ACCESS EXCLUSIVE MODE")
        found = look(pair, counting="nothing")
    assert (found.pending, found.pending_summary, found.usage) == (None, "not counted", {})
    assert found.age is not None
    assert found.batches


def test_a_changed_model_is_shown_as_to_be_recomputed(pair: Pair) -> None:
    pair.run()
    path = pair.house.folder / "fact_sale.sql"
    path.write_text(path.read_text(encoding="utf-8").replace("units FROM", "units + 1 AS units FROM"))
    assert look(pair).pending_summary.startswith("recomputing fact_sale, because ")


def test_batches_are_listed_latest_first(pair: Pair) -> None:
    pair.run()
    pair.do("UPDATE sale SET units = 2 WHERE sale_id <= 3", "INSERT INTO sale VALUES (6, 1, 1)")
    pair.run()
    pair.do("DELETE FROM sale WHERE sale_id = 1", "INSERT INTO sale VALUES (7, 1, NULL)")
    pair.run(reconcile=True)
    last, second, first = look(pair).batches
    assert [batch.effects for batch in (first, second, last)] == [(6, 0, 0), (1, 3, 0), (0, 0, 1)]
    assert [batch.rejected for batch in (first, second, last)] == [0, 0, 1]
    assert all(timedelta() < batch.lag < timedelta(minutes=5) for batch in (first, second, last))
    with transaction(pair.house.url, "warehouse") as connection:
        assert status.recent(connection, "public", 2) == [last, second]


def test_rejected_rows_are_shown_by_table_and_reason_until_they_are_fixed(pair: Pair) -> None:
    pair.do("INSERT INTO sale VALUES (6, 2, 1), (7, 2, 1), (8, 1, NULL)")
    pair.run()
    pair.do("INSERT INTO shop VALUES (3, 'Scarborough')")
    pair.run()
    found = look(pair)
    assert status.by_table(found.rejected) == {"dim_shop": 1, "fact_sale": 3}
    reasons = {(each.table, each.rows): each.reason for each in found.rejected}
    assert reasons["fact_sale", 2] == "shop_id is not in dim_shop"
    with transaction(pair.house.url, "warehouse") as connection:
        last, first = (status.rejected(connection, "public", batch.batch_id) for batch in found.batches)
    assert status.by_table(last) == {"dim_shop": 1}, "the others were set aside before"
    assert status.by_table(first) == {"fact_sale": 3}
    pair.do("UPDATE shop SET label = 'S' WHERE shop_id = 3", "INSERT INTO shop VALUES (2, 'Leeds')")
    pair.do("UPDATE sale SET units = 1")
    pair.run()
    assert look(pair).rejected == ()


def test_a_sealed_batch_that_is_not_loaded_is_shown(pair: Pair) -> None:
    pair.do("INSERT INTO shop VALUES (2, 'Leeds')")
    pair.run()
    pair.do("UPDATE sale SET units = 70000")
    pair.house.folder.joinpath("dim_shop.sql").write_text(
        "SELECT shop_id, CAST(CAST(label AS integer) AS varchar) AS label FROM shop"
    )
    with pytest.raises(ModelError):
        pair.run()
    sealed = pair.sealed()
    assert sealed
    assert look(pair).sealed == sealed.batch_id


def test_a_status_changes_nothing(pair: Pair) -> None:
    pair.run()
    pair.do("UPDATE sale SET units = 2")
    tables = "SELECT relname, relfilenode, xmin FROM pg_class ORDER BY 1"
    before = query(pair.house.url, tables), query(pair.house.url, "TABLE etl.watermark"), files(pair)
    look(pair)
    after = query(pair.house.url, tables), query(pair.house.url, "TABLE etl.watermark"), files(pair)
    assert after == before


def files(pair: Pair) -> dict[Path, int]:
    roots = [Path(bucket.root) for bucket in (pair.house.raw, pair.house.processed)]
    return {path: path.stat().st_size for root in roots for path in root.rglob("*") if path.is_file()}


def test_the_buckets_objects_are_counted(pair: Pair) -> None:
    pair.run()
    found = look(pair).usage
    there = files(pair)
    assert sum(used.objects for used in found.values()) == len(there)
    assert sum(used.bytes for used in found.values()) == sum(there.values())
    assert all(used.objects for used in found.values())


def test_columns_missing_in_their_table_are_named(pair: Pair) -> None:
    write_models(pair.house.folder, {"fact_sale": "-- key: sale_id\nSELECT * FROM sale"})
    pair.run()
    assert look(pair).left_out == {}
    pair.do("ALTER TABLE sale ADD COLUMN tax int")
    assert look(pair).left_out == {"fact_sale": ("tax",)}
    pair.run()
    assert look(pair).left_out == {"fact_sale": ("tax",)}
    assert look(pair, counting="nothing").left_out == {}


def test_a_change_that_only_reconciling_finds_is_an_alarm_until_it_finds_none(pair: Pair) -> None:
    pair.run()
    pair.do("UPDATE shop SET label = 'Bath'")
    pair.run(reconcile=True)
    assert look(pair).missed == {}, "an ordinary run would have seen that"
    execute(
        pair.house.url,
        "UPDATE fact_sale SET units = 9 WHERE sale_id IN (2, 3)",
        "UPDATE dim_shop SET label = 'York'",
    )
    pair.run(reconcile=True)
    assert look(pair).missed == {"dim_shop": 1, "fact_sale": 2}
    pair.do("INSERT INTO sale VALUES (6, 1, 1)")
    pair.run()
    assert look(pair).missed == {"dim_shop": 1, "fact_sale": 2}
    pair.run(reconcile=True)
    assert look(pair).missed == {}


def test_a_change_that_an_ordinary_run_would_find_is_no_alarm(pair: Pair) -> None:
    pair.do("INSERT INTO sale VALUES (6, 2, 1)")
    pair.run()
    pair.do("INSERT INTO shop VALUES (2, 'Bath')")
    counts = pair.run(reconcile=True)
    assert counts is not None
    assert counts["fact_sale"].added == 1, "its shop has come"
    write_models(
        pair.house.folder, {"fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, 2 AS units FROM sale"}
    )
    pair.run(reconcile=True)
    assert look(pair).missed == {}


def test_models_that_count_rejected_rows_of_a_table_are_named(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    total = "SELECT shop_id, count(*) AS sales FROM fact_sale GROUP BY shop_id"
    table = "CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, sales bigint);"
    write_models(pair.house.folder, {"dim_total": total, "schema": MODELS["schema"] + table})
    pair.do("INSERT INTO sale VALUES (6, 2, 1), (7, 1, 100000)")
    pair.run()
    assert pair.house.query("SELECT * FROM dim_total ORDER BY 1") == [(1, 6), (2, 1)]
    assert pair.house.query("SELECT count(*) FROM fact_sale_current") == [(5,)]
    found = look(pair, counting="nothing")
    assert found.readers == {"fact_sale": ("dim_total",)}
    show(found, Verdict.WARNING)
    line = "Models over fact_sale include its 2 rejected rows, which the table lacks: dim_total"
    assert line in capsys.readouterr().out
    pair.do("DELETE FROM sale WHERE sale_id > 5")
    pair.run()
    assert look(pair, counting="nothing").readers == {}
