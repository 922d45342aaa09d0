"""What was lost comes back: databases and buckets restored to another day than the rest, or not at all.

Every test that has a row in the runbook's table ends with one ordinary run, after which the warehouse equals
its source; those that can have the history have it.
"""

from __future__ import annotations

import re
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from demo.home import PROJECT
from pipeline.errors import LakeIncomplete
from tests.flows import test_lost_prefect
from tests.lake import test_lake_identity
from tests.pair import pair as open_pair
from tests.recovery.life import Life, _into_public, program
from tests.support import SHOWN, execute, shows
from tests.warehouse.test_bindings import LOOKS

RUNBOOK = PROJECT / "docs" / "runbook.md"


@shows("the warehouse")
def test_a_lost_warehouse_is_rebuilt(life: Life) -> None:
    life.lose_warehouse()
    assert life.house.rebuild() == 5
    assert life.has_history(life.today)
    assert life.house.rebuild() == 0
    assert life.run()


def test_a_lost_warehouse_is_rebuilt_without_processed_objects(life: Life) -> None:
    life.lose("processed")
    life.lose_warehouse()
    assert life.house.rebuild() == 5
    assert life.has_history(life.today)


def test_a_rebuild_stores_the_batch_where_it_continues_again(life: Life) -> None:
    batches = [batch for (batch,) in life.house.query("SELECT batch_id FROM etl.batch ORDER BY 1")]
    (lost,) = Path(life.house.raw.root, "_manifests").rglob(f"{batches[2]}.json")
    lost.unlink()
    life.lose_warehouse()
    assert life.house.rebuild() == 4
    stored = f"_resumed/after={batches[1]}/{batches[3]}.json"
    assert life.house.raw.list("_resumed", deep=True) == [stored]
    assert life.house.query("SELECT batch_id, manifest FROM etl.batch ORDER BY 1")[2] == (batches[3], stored)
    assert life.run()


def test_a_lost_warehouse_is_filled_by_an_ordinary_run(life: Life) -> None:
    before = life.house.query("SELECT warehouse_id FROM etl.warehouse")
    life.lose_warehouse()
    assert life.settles()
    assert life.has_history(life.today)
    assert life.house.query("SELECT warehouse_id FROM etl.warehouse") == before


@shows("the warehouse, restored whole to an earlier day")
def test_a_warehouse_of_yesterday_gets_the_batches_since(life: Life) -> None:
    life.restore(life.yesterday, "all")
    assert life.settles()
    assert life.has_history(life.today)
    assert life.run()


@shows("the warehouse, restored whole into another database or under another owner")
def test_a_warehouse_may_be_restored_elsewhere(life: Life) -> None:
    role, admin = f"owner_{uuid.uuid4().hex[:12]}", life.server.url("postgres")
    execute(admin, f"CREATE ROLE {role} LOGIN PASSWORD 'restored'")
    with open_pair(life.server) as other:
        url = re.sub(r"//[^@]+@", f"//{role}:restored@", other.house.url)
        execute(
            other.house.url, "DROP SCHEMA public", f"ALTER DATABASE {url.rsplit('/', 1)[1]} OWNER TO {role}"
        )
        script = re.sub(r"(?m)^(ALTER .* OWNER TO|GRANT|REVOKE) .*;$", "", life.today.dumps["all"])
        execute(url, "CREATE SCHEMA public")
        program(life.server, "psql", "-qX", "-vON_ERROR_STOP=1", url, text=_into_public(script))
        there = replace(life.house, url=url, prepared=None)
        moved = replace(life, pair=replace(life.pair, house=there))
        there.prepare()
        assert there.destination.id == life.house.destination.id
        assert moved.settles()
        assert moved.has_history(life.today)
        assert moved.run()
    execute(admin, f"DROP ROLE {role}")


@shows("the schema `etl`, restored to an earlier day than the tables")
def test_etl_older_than_the_tables(life: Life) -> None:
    life.restore(life.yesterday, "etl")
    assert life.settles()
    assert life.has_history(life.today)
    assert life.run()


def test_tables_are_refilled_if_etl_was_restored_alone(life: Life) -> None:
    """Its dump says which tables these are, and they may have changed since."""
    life.house.refill()
    execute(life.house.url, "UPDATE fact_sale SET amount = 1")
    script = program(life.server, "pg_dump", "-netl", life.house.url)
    life.drop("etl")
    program(life.server, "psql", "-qX", "-vON_ERROR_STOP=1", life.house.url, text=script)
    life.house.prepare()
    assert life.settles()
    assert life.has_history(life.today)


@pytest.mark.campaign
def test_etl_older_than_the_tables_is_also_fixed_by_a_rebuild(life: Life) -> None:
    life.restore(life.yesterday, "etl")
    assert life.house.rebuild() == 2
    assert life.has_history(life.today)


@shows("the schema `etl`, as with `pg_dump -n public`")
def test_tables_without_etl(life: Life) -> None:
    life.drop("etl")
    life.house.prepare()
    assert life.settles()
    assert life.has_history(life.today)
    assert life.run()


@pytest.mark.campaign
def test_tables_of_yesterday_without_etl_are_rebuilt_up_to_today(life: Life) -> None:
    life.drop("etl", "public", "as_of", "reporting")
    life.restore(life.yesterday, "public")
    assert life.house.rebuild() == 0
    assert life.has_history(life.today)
    assert life.run()


def test_tables_without_etl_whose_batches_are_lost_keep_their_versions(life: Life) -> None:
    life.drop("etl")
    life.lose("raw")
    life.house.prepare()
    with pytest.raises(LakeIncomplete):
        life.house.rebuild()
    assert life.run()
    kept = life.house.query(LOOKS["fact_sale"])
    assert set(life.today.history["fact_sale"]) <= set(kept)


@shows("tables of the warehouse, restored to an earlier day than the schema `etl`")
def test_tables_older_than_etl(life: Life) -> None:
    life.restore(life.yesterday, "public")
    assert life.settles()
    assert life.has_history(life.today)
    assert life.run()


def test_tables_older_than_etl_whose_history_has_as_many_versions(life: Life) -> None:
    """A deletion ends a version of a dimension and adds none."""
    dump = program(life.server, "pg_dump", "-npublic", life.house.url)
    life.pair.do("DELETE FROM shop WHERE shop_id = 2")
    try:
        assert life.pair.run() is not None
        now = replace(life.today, dumps={"public": dump}, history=life.seen())
        life.restore(now, "public")
        assert life.settles()
        assert life.has_history(now)
    finally:
        life.pair.do("INSERT INTO shop VALUES (2, 'Bath')")


def test_tables_and_etl_that_were_restored_to_different_days(life: Life) -> None:
    """Neither is the one that the other knew."""
    for tables, etl in ((life.yesterday, life.today), (life.today, life.yesterday)):
        life.drop("public", "etl", "as_of", "reporting")
        life.restore(tables, "public")
        life.restore(etl, "etl")
        assert life.settles()
        assert life.has_history(life.today)
    assert life.run()


def test_etl_older_than_the_tables_whose_batches_are_lost(life: Life) -> None:
    life.restore(life.yesterday, "etl")
    life.lose("raw")
    assert life.run()
    assert set(life.today.history["fact_sale"]) <= set(life.house.query(LOOKS["fact_sale"]))


@shows("the raw bucket")
def test_a_lost_raw_bucket_is_filled_by_a_run_and_rebuilt_from_there(life: Life) -> None:
    life.lose("raw")
    assert life.run()
    life.lose_warehouse()
    assert life.house.rebuild() == 1, "the one that read all tables in full"
    assert life.run()


@shows("the raw bucket and the warehouse")
def test_a_lost_raw_bucket_and_warehouse(life: Life) -> None:
    life.lose("raw")
    life.lose_warehouse()
    with pytest.raises(LakeIncomplete, match=f"5 batches are lost, .* to {life.today.last}, .* `make run`"):
        life.house.rebuild()
    life.lose("processed")
    with pytest.raises(
        LakeIncomplete, match=r"holds no batch, so there is nothing to rebuild from; .*`make run`"
    ):
        life.house.rebuild()
    assert life.run()


@shows("the raw bucket, restored to an earlier day")
def test_a_raw_bucket_of_yesterday_under_a_warehouse_of_today(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    life.restore(life.yesterday, "raw")
    assert life.house.rebuild() == 0
    assert life.run()
    assert set(life.today.history["fact_sale"]) <= set(life.house.query(LOOKS["fact_sale"]))
    life.lose_warehouse()
    assert life.house.rebuild() == 4, "those of yesterday, and the one of today that holds all rows"
    assert set(life.yesterday.history["dim_shop_history"][:1]) <= set(
        life.house.query(LOOKS["dim_shop_history"])
    )
    assert life.run()


@shows("the raw bucket, restored to an earlier day, and the warehouse")
def test_a_rebuild_from_a_raw_bucket_of_yesterday_names_the_gap(life: Life) -> None:
    life.restore(life.yesterday, "raw")
    life.lose_warehouse()
    for _ in range(2):
        with pytest.raises(
            LakeIncomplete, match=f"2 batches are lost, .* to {life.today.last}, .*warehouse is at"
        ):
            life.house.rebuild()
        assert life.has_history(life.yesterday), "what is there was loaded"
    assert life.run()
    assert life.house.rebuild() == 0


@shows("the processed bucket, or any objects of it")
def test_a_lost_processed_bucket_is_computed_again(life: Life) -> None:
    """All of it, and then every other object: results that are carried have several."""
    life.lose("processed")
    assert life.run()
    for path in sorted(Path(life.house.processed.root).rglob("*.parquet"))[::2]:
        path.unlink()
    assert life.run()


def test_the_runbook_says_what_these_tests_show() -> None:
    rows = re.findall(r"^\| (.*?) \| .* \| (`test_.*) \|$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    named = {lost: re.findall(r"`(test_\w+)`", tests) for lost, tests in rows}
    assert named.keys() == SHOWN.keys()
    assert [lost for lost, test in SHOWN.items() if test not in named[lost]] == []
    modules = [sys.modules[__name__], test_lake_identity, test_lost_prefect]
    assert all(any(hasattr(module, test) for module in modules) for test in SHOWN.values())
