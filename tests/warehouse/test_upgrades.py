"""Upgrades of the schema etl."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import pipeline
from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.errors import WarehouseError
from pipeline.postgres import transaction
from pipeline.warehouse import upgrades
from tests.pair import Pair
from tests.pair import pair as open_pair
from tests.support import execute

MODELS = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, amount FROM sale",
    "schema": "CREATE TABLE fact_sale (sale_id integer NOT NULL, amount integer);",
}
SOURCE = ("CREATE TABLE sale (sale_id int PRIMARY KEY, amount int)", "INSERT INTO sale VALUES (1, 10)")


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A warehouse of one fact, after its first batch."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def test_a_warehouse_of_a_later_release_is_refused(pair: Pair) -> None:
    execute(pair.house.url, "INSERT INTO etl.version VALUES (1000)")
    with pytest.raises(WarehouseError, match=r"version 1000, made by a later release.*; update the pipeline"):
        pair.house.prepare()


def test_a_release_without_an_upgrade_is_recorded_once(pair: Pair) -> None:
    def upgrade() -> None:
        with transaction(pair.house.url, "warehouse") as connection:
            upgrades.upgrade(connection, "public", release="9.9.9")

    newest = "SELECT release, xmin::text FROM etl.version ORDER BY version DESC LIMIT 1"
    ((release, _),) = pair.house.query(newest)
    assert release == pipeline.RELEASE
    upgrade()
    after = pair.house.query(newest)
    assert after[0][0] == "9.9.9"
    assert pair.house.query("SELECT count(*) FROM etl.version WHERE release = '9.9.9'") == [(1,)]
    upgrade()
    assert pair.house.query(newest) == after, "nothing is written if the release is the same"


# A warehouse and a lake of an earlier release


RELEASE = PROJECT / "tests" / "releases" / "1"


@pytest.fixture(params=[18, pytest.param(16, marks=pytest.mark.campaign)])
def earlier(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The source, warehouse, lake and models of the first release, after three batches."""
    models = {path.stem: path.read_text(encoding="utf-8") for path in (RELEASE / "models").iterdir()}
    with open_pair(servers(request.param)) as pair:
        pair.fresh(models, (RELEASE / "source.sql").read_text(encoding="utf-8"))
        execute(pair.house.url, (RELEASE / "warehouse.sql").read_text(encoding="utf-8"))
        shutil.copytree(RELEASE / "raw", pair.house.raw.root)
        yield pair


TWO, THREE = (datetime(2026, 11, 26, 11, 38, 44, 454666, UTC), datetime(2026, 11, 26, 11, 38, 45, 15081, UTC))
EVER = "-infinity"


def history(pair: Pair, table: str, columns: str) -> list[tuple[Any, ...]]:
    return pair.house.query(
        f"SELECT valid_from::text, valid_to, deleted, {columns} FROM {table}_history ORDER BY {columns}, 1"
    )


def test_history_of_an_earlier_release_is_kept(earlier: Pair) -> None:
    execute(
        earlier.house.url,
        "CREATE VIEW moves AS SELECT shop_id, valid_to, city FROM dim_shop_history",
        "CREATE VIEW totals AS SELECT shop_id, sum(amount) AS total FROM fact_sale_current GROUP BY 1",
    )
    shown = ("SELECT * FROM moves ORDER BY 2, 1", "SELECT * FROM totals ORDER BY 1")
    before = [earlier.house.query(text) for text in shown]
    earlier.house.prepare()
    assert [earlier.house.query(text) for text in shown] == before
    two, three = str(TWO).replace("+00:00", "+00"), str(THREE).replace("+00:00", "+00")
    assert history(earlier, "dim_shop", "shop_id, city, tags") == [
        (two, THREE, False, 1, "Hull", {"a": [1, 2]}),
        (three, None, False, 1, "Leeds", {"b": None}),
        (EVER, TWO, False, 1, "York", {"a": [1, 2]}),
        (EVER, None, False, 2, "Bath", None),
        (EVER, None, False, 3, "Ely", None),
    ]
    assert history(earlier, "bridge_shop_street", "shop_id, street_id") == [
        (EVER, None, False, 1, 10),
        (EVER, TWO, True, 1, 11),
        (EVER, None, False, 2, 20),
        (EVER, None, False, 2, 21),
    ]
    ended = "SELECT superseded_at, deleted FROM fact_sale WHERE sale_id = 9 ORDER BY recorded_at"
    assert earlier.house.query(ended) == [(TWO, False), (THREE, True), (None, False)]
    assert earlier.house.query("SELECT to_regclass('etl.superseded')") == [(None,)]


def test_an_earlier_releases_warehouse_and_lake_are_continued(earlier: Pair) -> None:
    facts = "SELECT * FROM fact_sale_current ORDER BY sale_id"
    execute(earlier.house.url, "CREATE TABLE facts_before AS " + facts)
    earlier.do("UPDATE shop SET city = 'Wick' WHERE shop_id = 2", "DELETE FROM sale WHERE sale_id = 8")
    done = earlier.run()
    assert done is not None
    versions = earlier.house.query("SELECT version, release FROM etl.version ORDER BY 1")
    assert [number for number, _ in versions] == list(range(1, upgrades.VERSION + 1))
    assert versions[-1][1] == pipeline.RELEASE
    schemas = "SELECT DISTINCT schema_name FROM etl.batch JOIN etl.model USING (schema_name)"
    assert earlier.house.query(schemas) == [("public",)]
    assert [done["dim_shop"].changed, done["fact_sale"].deleted] == [1, 1]
    assert [done["fact_sale"].added, done["fact_sale"].changed, done["dim_shop"].added] == [0, 0, 0]
    assert earlier.house.rejected() == [("fact_sale", {"sale_id": "11"}, "shop_id is not in dim_shop")]
    kept = "SELECT * FROM facts_before WHERE sale_id <> 8 ORDER BY sale_id"
    assert earlier.house.query(facts) == earlier.house.query(kept)
    shown = "SELECT * FROM reporting.fact_sale ORDER BY sale_id"
    assert earlier.house.query(shown) == earlier.house.query(kept)


def test_earlier_versions_that_do_not_fit_stay_in_etl_superseded(
    earlier: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    execute(earlier.house.url, 'UPDATE etl.superseded SET row = row || \'{"opened": "soon"}\'')
    earlier.house.prepare()
    assert "dim_shop: its earlier versions stay in etl.superseded" in caplog.text
    assert earlier.house.query("SELECT count(*) FROM etl.superseded") == [(2,)]
    assert len(history(earlier, "dim_shop", "shop_id")) == 3


def test_status_of_an_earlier_release_says_that_the_next_run_upgrades_it(earlier: Pair) -> None:
    with transaction(earlier.house.url, "warehouse") as connection:
        with pytest.raises(WarehouseError, match=r"version \d, made by an earlier release .* upgrades it$"):
            upgrades.check(connection)
        upgrades.upgrade(connection, "public")
        upgrades.check(connection)
