"""A table whose model has changed is computed again over all batches; nothing of the business changes."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from threading import Timer

import psycopg
import pytest

from pipeline.errors import SettingsError, WarehouseError
from pipeline.models import library
from pipeline.recovery import restate
from pipeline.recovery.preview import Preview, preview
from pipeline.recovery.rehearsal import rehearse
from pipeline.warehouse import ledger
from tests.bench import Bench
from tests.support import execute, write_models

SCHEMA = """
CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text, manager text);
CREATE TABLE IF NOT EXISTS bridge_shop_item (shop_id integer, item text, PRIMARY KEY (shop_id, item));
CREATE TABLE IF NOT EXISTS fact_sale (
    sale_record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    shop_id integer NOT NULL REFERENCES dim_shop,
    amount numeric(8, 2) NOT NULL CHECK (amount > 0),
    item text
);
CREATE TABLE IF NOT EXISTS dim_total (shop_id integer PRIMARY KEY, total numeric(12, 2));
"""
MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shop",
    "bridge_shop_item": "-- key: shop_id, item\nSELECT DISTINCT shop_id, item FROM sale",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "dim_total": "SELECT shop_id, CAST(sum(amount) AS decimal(12, 2)) AS total FROM sale GROUP BY shop_id",
    "schema": SCHEMA,
}
SOURCE = (
    "CREATE TABLE shop (shop_id integer PRIMARY KEY, city text, manager text)",
    "CREATE TABLE sale (sale_id integer PRIMARY KEY, shop_id integer, item text, amount integer)",
    "INSERT INTO shop VALUES (1, 'York', 'Ann'), (2, 'Hull', 'Bob')",
    "INSERT INTO sale SELECT n, 1 + n % 2, 'item ' || n % 3, n FROM generate_series(1, 20) AS n",
)
DAYS = (
    ("UPDATE shop SET city = 'Leeds' WHERE shop_id = 1", "UPDATE sale SET amount = 70 WHERE sale_id = 7"),
    ("DELETE FROM sale WHERE sale_id = 3", "INSERT INTO sale VALUES (30, 3, 'item 1', 5), (31, 1, 'x', -1)"),
    ("INSERT INTO shop VALUES (3, 'Ely', 'Cy')", "UPDATE sale SET item = 'item 9' WHERE sale_id = 8"),
    ("UPDATE sale SET amount = 71 WHERE sale_id = 7", "UPDATE shop SET manager = 'Dot' WHERE shop_id = 1"),
)


@pytest.fixture
def lived(shared: Bench) -> Bench:
    """A warehouse after some batches, in which rows changed, were deleted, rejected and retried."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    for day in DAYS:
        shared.do(*day)
        shared.run()
    return shared


def restated(bench: Bench, models: dict[str, str]) -> list[str]:
    """Change models and restate their tables; returns these."""
    house = bench.house
    write_models(house.folder, models)
    house.prepared = None
    targets = house.targets()
    names = restate.changed(house.models, ledger.loaded(house.url, house.schema))
    if not names:  # the models are as they were
        return []
    done = restate.restate(house.url, house.schema, house.models, targets, house.raw, house.processed, names)
    return sorted(each.table for each in done or ())


def change(bench: Bench, **models: str) -> list[str]:
    """The same, compared with a rebuild by the changed models."""
    house, names = bench.house, restated(bench, models)
    *_, found = rehearse(house.url, house.schema, house.models, house.folder, house.raw)
    assert (found.differences, found.gaps) == ([], [])
    assert bench.run() is None, "an ordinary run has nothing to do"
    return names


def test_a_changed_model_makes_no_version(lived: Bench) -> None:
    times = "SELECT sale_id, valid_from, valid_to, deleted FROM fact_sale_history ORDER BY 1, 2"
    before = lived.house.query(times)
    expression = MODELS["fact_sale"].replace("amount", "amount * 2 AS amount")
    shop = MODELS["dim_shop"].replace("city", "upper(city) AS city, manager")
    assert change(lived, fact_sale=expression, dim_shop=shop) == ["dim_shop", "fact_sale"]
    assert lived.house.query(times) == before
    amounts = "SELECT amount FROM fact_sale_history WHERE sale_id = 7 ORDER BY valid_from"
    assert lived.house.query(amounts) == [(14,), (140,), (142,)]
    history = "SELECT city, manager FROM dim_shop_history WHERE shop_id = 1 ORDER BY valid_from"
    assert lived.house.query(history) == [("YORK", "Ann"), ("LEEDS", "Ann"), ("LEEDS", "Dot")]


def test_a_new_column_shows_what_it_was_at_each_batch(lived: Bench) -> None:
    assert change(lived, fact_sale=MODELS["fact_sale"].replace("amount", "amount, item")) == ["fact_sale"]
    items = "SELECT item FROM fact_sale_history WHERE sale_id = 8 ORDER BY valid_from"
    assert lived.house.query(items) == [("item 2",), ("item 9",)]
    assert lived.house.query("SELECT count(*) FROM fact_sale WHERE item IS NULL AND NOT deleted") == [(0,)]


def test_a_changed_model_that_loses_its_rows_is_refused(lived: Bench) -> None:
    before = lived.house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from")
    wrong = MODELS["fact_sale"].replace("amount", "0 * amount AS amount")
    with pytest.raises(
        WarehouseError, match=r"table fact_sale: \d+ of \d+ rows would be rejected \(breaks the rule"
    ):
        restated(lived, {"fact_sale": wrong})
    assert lived.house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from") == before


PLAIN = (
    (
        "UPDATE sale SET amount = 70, item = 'item 8' WHERE sale_id = 7",
        "INSERT INTO sale VALUES (30, 1, 'x', 5)",
    ),
    ("DELETE FROM sale WHERE sale_id IN (3, 30)",),
    ("INSERT INTO sale VALUES (30, 2, 'y', 6)", "UPDATE sale SET shop_id = 2 WHERE sale_id = 8"),
)
OTHERS = {
    "an edit of nothing but the new column": "UPDATE sale SET item = 'z' WHERE sale_id = 9",
    "a rejected row": "INSERT INTO sale VALUES (31, 1, 'x', -1)",
}


@pytest.mark.parametrize("other", [None, *OTHERS])
def test_new_columns_are_filled_in_place_where_that_is_exact(
    shared: Bench, other: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    for day in PLAIN:
        shared.do(*day)
        shared.run()
    if other:
        shared.do(OTHERS[other])
        shared.run()
    caplog.set_level("INFO", "pipeline")
    changed = MODELS["fact_sale"].replace("amount", "amount, upper(item) AS item")
    assert change(shared, fact_sale=changed) == ["fact_sale"]
    assert ("fact_sale: item filled in place" in caplog.text) == (other is None)
    assert ("item cannot be filled in place" in caplog.text) == (other is not None)
    items = "SELECT item, deleted FROM fact_sale_history WHERE sale_id = 30 ORDER BY valid_from"
    assert shared.house.query(items) == [("X", False), ("X", True), ("Y", False)]


def test_rows_that_the_new_model_leaves_out_leave_the_table_and_those_of_others_stay(lived: Bench) -> None:
    house = lived.house
    execute(
        house.url,
        "INSERT INTO dim_total VALUES (-1, 0)",
        "INSERT INTO fact_sale (sale_id, shop_id, amount, recorded_at) VALUES (900, 2, 1, '-infinity')",
    )
    changed = {
        "dim_total": MODELS["dim_total"] + " HAVING shop_id > 1",
        "bridge_shop_item": MODELS["bridge_shop_item"] + " WHERE item <> 'x'",
        "fact_sale": MODELS["fact_sale"] + " WHERE shop_id < 3",
    }
    assert sorted(restated(lived, changed)) == sorted(changed)
    assert house.query("SELECT shop_id FROM dim_total ORDER BY 1") == [(-1,), (2,), (3,)]
    assert house.query("SELECT count(*) FROM fact_sale WHERE shop_id = 3") == [(0,)]
    assert house.query("SELECT count(*) FROM fact_sale WHERE sale_id = 900") == [(1,)]
    assert house.query("SELECT count(*) FROM bridge_shop_item_history WHERE item = 'x'") == [(0,)]


def test_versions_of_before_the_base_batch_stay(lived: Bench) -> None:
    house = lived.house
    *_, base, last = sorted(Path(house.raw.root).glob("_manifests/*/*.json"), key=lambda path: path.name)
    for path in Path(house.raw.root).glob("_manifests/*/*.json"):
        if path not in {base, last}:
            path.unlink()
    times = "SELECT sale_id, valid_from, valid_to, deleted FROM fact_sale_history ORDER BY 1, 2"
    before = house.query(times)
    changed = MODELS["fact_sale"].replace("amount", "amount * 2 AS amount, item")
    assert restated(lived, {"fact_sale": changed, "dim_shop": MODELS["dim_shop"] + " WHERE shop_id < 3"})
    # Sale 8 has another item since, and the shop of sale 30 is left out.
    same = [row for row in before if row[0] not in {8, 30}]
    assert [row for row in house.query(times) if row[0] not in {8, 30}] == same
    versions = "SELECT amount, item FROM fact_sale_history WHERE sale_id = 7 ORDER BY valid_from"
    assert house.query(versions) == [(7, None), (140, "item 1"), (142, "item 1")]
    deleted = "SELECT amount, deleted FROM fact_sale_history WHERE sale_id = 3 ORDER BY valid_from"
    assert house.query(deleted) == [(3, False), (3, True)]
    assert house.query("SELECT DISTINCT shop_id FROM dim_shop_history ORDER BY 1") == [(1,), (2,)]
    assert lived.run() is None


def test_a_plan_says_what_the_next_run_does_and_changes_nothing(lived: Bench) -> None:
    house = lived.house

    def planned() -> dict[str, Preview]:
        models = library.load(house.folder)
        return {each.table: each for each in preview(house.url, "public", models, house.folder, house.raw)}

    assert planned() == {}
    write_models(
        house.folder,
        {
            "dim_shop": MODELS["dim_shop"].replace("city", "upper(city) AS city, opened"),
            "dim_new": "SELECT shop_id FROM shop",
            "fact_sale": MODELS["fact_sale"].replace("sale_id, shop_id", "sale_id + 0 AS sale_id, shop_id"),
            "schema": SCHEMA.replace("manager text", "manager varchar(9), opened date"),
        },
    )
    (house.folder / "dim_total.sql").unlink()
    rows = house.query("SELECT xmin::text FROM etl.model ORDER BY 1")
    found = planned()
    assert {name: each.effect for name, each in found.items()} == {
        "dim_shop": "restated", "dim_new": "created", "fact_sale": "restated", "dim_total": "frozen",
    }  # fmt: skip
    assert found["dim_shop"].altered == ('ALTER TABLE "public"."dim_shop" ADD COLUMN "opened" date',)
    assert found["dim_shop"].by_hand == (
        'ALTER TABLE "public"."dim_shop" ALTER COLUMN "manager" TYPE character varying(9)',
    )
    assert (found["dim_shop"].batches, found["dim_shop"].rows) == (5, 3)
    assert house.query("SELECT xmin::text FROM etl.model ORDER BY 1") == rows


def test_a_named_model_is_restated_with_those_that_read_it(lived: Bench) -> None:
    house = lived.house
    write_models(
        house.folder, {"fact_top": "-- key: sale_id\nSELECT sale_id FROM fact_sale WHERE amount > 5"}
    )
    models = library.load(house.folder)
    assert restate.requested(models, ["fact_sale"]) == ["fact_sale", "fact_top"]
    with pytest.raises(SettingsError, match=r"there is no model fact_sales; did you mean fact_sale\?"):
        restate.requested(models, ["fact_sales"])
    write_models(house.folder, {"fact_top": "-- key: s\n-- unstable: allowed\nSELECT random() AS s"})
    with pytest.raises(SettingsError, match="fact_top cannot be restated, because fact_top is unstable"):
        restate.requested(library.load(house.folder), ["fact_top"])


def test_a_table_that_was_changed_by_hand_is_as_the_lake_has_it_after_restating(lived: Bench) -> None:
    house = lived.house
    before = house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from")
    execute(house.url, "UPDATE fact_sale SET amount = amount + 1 WHERE sale_id < 5")
    names = restate.requested(house.models, ["fact_sale"])
    done = restate.restate(
        house.url, house.schema, house.models, house.targets(), house.raw, house.processed, names
    )
    assert done is not None
    assert done[0].updated > 0
    assert house.query("SELECT * FROM fact_sale_history ORDER BY sale_id, valid_from") == before


def test_layout_is_no_change(lived: Bench) -> None:
    house = lived.house
    write_models(
        house.folder, {"fact_sale": "-- key: sale_id\nselect sale_id,\n  shop_id, amount\nfrom sale"}
    )
    house.prepared = None
    house.targets()
    assert restate.changed(house.models, ledger.loaded(house.url, house.schema)) == []


CHANGES = (
    (
        "fact_sale",
        "-- key: sale_id\nSELECT sale_id, shop_id, amount{} AS amount FROM sale WHERE sale_id % {} > 0",
    ),
    ("dim_shop", "SELECT shop_id, city || '{}' AS city, repeat(manager, {}) AS manager FROM shop"),
    (
        "dim_total",
        (
            "SELECT shop_id, CAST(sum(amount{}) AS decimal(12, 2)) AS total"
            " FROM sale WHERE amount > {} GROUP BY 1"
        ),
    ),
    (
        "bridge_shop_item",
        "-- key: shop_id, item\nSELECT DISTINCT shop_id, item || '{}' AS item FROM sale WHERE amount > {}",
    ),
)
EDITS = (
    "UPDATE sale SET amount = amount + 1 WHERE sale_id % 3 = {}",
    "DELETE FROM sale WHERE sale_id = {}",
    "INSERT INTO sale SELECT max(sale_id) + 1, 1 + {} % 4, 'new', {} FROM sale",
    "UPDATE shop SET city = city || {} WHERE shop_id = 1 + {} % 3",
)


def _killed_at_random(bench: Bench, models: dict[str, str], random: Random) -> None:
    """Restate changed models, and end the session in the warehouse meanwhile; nothing changes then."""
    house = bench.house
    tables = [*(name for name, _ in CHANGES), "dim_shop_version", "dim_total_version", "etl.rejected"]
    held = {name: sorted(map(str, house.query(f"SELECT t::text FROM {name} AS t"))) for name in tables}
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> %s"
    )
    with psycopg.connect(house.url, autocommit=True) as other:
        timer = Timer(random.uniform(0.05, 0.4), other.execute, (end, (other.info.backend_pid,)))
        timer.start()
        try:
            restated(bench, models)
        except psycopg.OperationalError:
            assert held == {
                name: sorted(map(str, house.query(f"SELECT t::text FROM {name} AS t"))) for name in tables
            }
        finally:
            timer.join()


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("RESTATE_SEEDS", "5"))))
def test_models_that_change_at_random_between_batches(lived: Bench, seed: int) -> None:
    """Eight steps a seed; half of the restatements are interrupted first."""
    random = Random(seed)
    for _ in range(8):
        lived.do(random.choice(EDITS).replace("{}", str(random.randrange(9))))
        lived.run()
        name, text = random.choice(CHANGES)
        more = random.choice(["", " * 2", " + 1"]) if name in {"fact_sale", "dim_total"} else "!"
        models = {name: text.format(more, random.randrange(2, 5))}
        if random.random() < 0.5:
            _killed_at_random(lived, models, random)
        change(lived, **models)
