"""A table that is not as it was loaded is detected and filled again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.postgres import Postgres
from pipeline.postgres import transaction
from pipeline.recovery import refill
from pipeline.warehouse.mismatches import find_mismatches
from pipeline.words import counted
from tests.pair import Pair
from tests.pair import pair as open_pair
from tests.support import execute

MODELS = {
    "dim_shop": "SELECT shop_id, town FROM shop",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount FROM sale",
    "fact_town": """
        -- key: town
        SELECT town, count(*) AS sales FROM sale JOIN shop USING (shop_id) GROUP BY town
    """,
    "bridge_tag": "-- kind: bridge\n-- key: sale_id, tag\nSELECT sale_id, tag FROM tags",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, town text);
        CREATE TABLE IF NOT EXISTS fact_sale (
            record_id serial PRIMARY KEY, sale_id integer NOT NULL,
            shop_id integer REFERENCES dim_shop, amount numeric CHECK (amount > 0)
        );
        CREATE TABLE IF NOT EXISTS fact_town (town text NOT NULL, sales bigint);
        CREATE TABLE IF NOT EXISTS bridge_tag (sale_id integer, tag text, PRIMARY KEY (sale_id, tag));
    """,
}
TABLES = ("dim_shop", "fact_sale", "fact_town", "bridge_tag")
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, town text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, amount numeric)",
    "CREATE TABLE tags (sale_id int, tag text, PRIMARY KEY (sale_id, tag))",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Bath'), (3, 'Hull')",
    "INSERT INTO sale VALUES (1, 1, 10), (2, 2, 20), (3, 1, -3)",
    "INSERT INTO tags VALUES (1, 'new'), (2, 'old')",
)
DAYS = (
    ("UPDATE sale SET amount = 11 WHERE sale_id = 1", "INSERT INTO sale VALUES (4, 2, 40)"),
    ("UPDATE shop SET town = 'Leeds' WHERE shop_id = 1", "DELETE FROM shop WHERE shop_id = 3"),
    ("DELETE FROM sale WHERE sale_id = 2", "UPDATE sale SET amount = 3 WHERE sale_id = 3"),
    ("INSERT INTO sale VALUES (5, 1, -5)", "DELETE FROM tags WHERE tag = 'old'"),
)
LOOKS = {
    "dim_shop": "SELECT * FROM dim_shop ORDER BY 1",
    "dim_shop_history": "SELECT * FROM dim_shop_history ORDER BY shop_id, valid_to",
    "fact_sale": "SELECT sale_id, shop_id, amount, recorded_at, deleted FROM fact_sale ORDER BY 1, 4",
    "fact_town": "SELECT town, sales, recorded_at, deleted FROM fact_town ORDER BY 1, 3",
    "bridge_tag": "SELECT * FROM bridge_tag ORDER BY 1, 2",
    "rejected": "SELECT schema_name, table_name, key, reason, row, waits, first_batch, last_batch, resolved"
    " FROM etl.rejected ORDER BY table_name, key, resolved, first_batch",
    "batch": "SELECT batch_id FROM etl.batch ORDER BY 1",
    "model": "SELECT table_name, fingerprint, batch_id, row_count FROM etl.model ORDER BY 1",
}


def seen(pair: Pair) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that a reader of the warehouse can see."""
    return {name: pair.house.query(text) for name, text in LOOKS.items()}


def mismatches(pair: Pair) -> dict[str, str]:
    """The reason of each mismatch, by table."""
    with transaction(pair.house.url, "warehouse") as connection:
        actual = find_mismatches(connection, "public", TABLES)
    return {each.table: each.reason.removeprefix(f"warehouse: public.{each.table} ") for each in actual}


@pytest.fixture(scope="module", params=[18, pytest.param(16, marks=pytest.mark.campaign)])
def lived(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A warehouse after some batches."""
    with open_pair(servers(request.param)) as pair:
        pair.fresh(MODELS, *SOURCE)
        pair.run()
        for day in DAYS:
            pair.do(*day)
            pair.run()
            assert mismatches(pair) == {}
        yield pair


NONE, LESS, MORE = -1_000, -1, 1
HARM: dict[str, tuple[tuple[str, ...], dict[str, int | str]]] = {
    "a fact is dropped": (("DROP TABLE fact_sale CASCADE",), {"fact_sale": NONE}),
    "a dimension is dropped": (("DROP TABLE dim_shop CASCADE",), {"dim_shop": NONE}),
    "all is emptied": (("TRUNCATE fact_sale, dim_shop, fact_town, bridge_tag",), dict.fromkeys(TABLES, NONE)),
    "some rows are deleted": (
        ("DELETE FROM fact_sale WHERE amount = 10", "DELETE FROM dim_shop WHERE shop_id = 3"),
        {"dim_shop": LESS, "fact_sale": LESS},
    ),
    "rows are inserted": (
        (
            "INSERT INTO fact_sale (sale_id, amount, recorded_at, deleted) VALUES (9, 9, now(), false)",
            "INSERT INTO bridge_tag VALUES (9, 'mine')",
        ),
        {"bridge_tag": MORE, "fact_sale": MORE},
    ),
    "a dimension's history is deleted": (
        ("DELETE FROM dim_shop_version WHERE valid_to IS NOT NULL", "UPDATE dim_shop_version SET town = 'x'"),
        {"dim_shop": "has 2 versions of its rows, and 4 were loaded"},
    ),
    "a dimension is dropped with its history": (
        ("DROP TABLE dim_shop, dim_shop_version CASCADE",),
        {"dim_shop": NONE},
    ),
    "another history of as many versions": (
        (
            "CREATE TABLE other (LIKE dim_shop_version INCLUDING ALL)",
            "INSERT INTO other SELECT * FROM dim_shop_version",
            "UPDATE other SET town = 'wrong'",
            "DROP TABLE dim_shop_version CASCADE",
            "ALTER TABLE other RENAME TO dim_shop_version",
        ),
        {"dim_shop": "has another history table than the one that was loaded"},
    ),
    "another table of as many rows": (
        (
            "CREATE TABLE other AS SELECT shop_id, 'wrong' AS town FROM dim_shop",
            "DROP TABLE dim_shop CASCADE",
            "ALTER TABLE other RENAME TO dim_shop",
            "ALTER TABLE dim_shop ADD PRIMARY KEY (shop_id)",
        ),
        {"dim_shop": "is another table than the one that was loaded"},
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_table_with_a_mismatch_is_filled_again(lived: Pair, harm: str) -> None:
    before = seen(lived)
    rows = {name: number for name, _, _, number in before["model"]}
    statements, wrong = HARM[harm]
    actual = {
        name: what
        if isinstance(what, str)
        else f"has {counted(max(0, rows[name] + what), 'row')}, and {rows[name]} were loaded"
        for name, what in wrong.items()
    }
    execute(lived.house.url, *statements)
    lived.house.prepare()
    assert mismatches(lived) == actual
    assert lived.run() is None, "the source has nothing new"
    assert mismatches(lived) == {}
    assert seen(lived) == before


def test_a_rewritten_table_is_no_mismatch(lived: Pair) -> None:
    before = seen(lived), lived.house.query("SELECT record_id FROM fact_sale ORDER BY 1")
    execute(lived.house.url, "VACUUM FULL fact_sale", "CLUSTER dim_shop USING dim_shop_pkey")
    assert mismatches(lived) == {}
    files = "SELECT filenode = relfilenode FROM etl.model JOIN pg_class ON oid = table_oid"
    assert (False,) in lived.house.query(files)
    assert lived.run() is None
    assert (seen(lived), lived.house.query("SELECT record_id FROM fact_sale ORDER BY 1")) == before
    assert set(lived.house.query(files)) == {(True,)}


def test_a_restored_warehouse_is_compared_with_its_counts(lived: Pair) -> None:
    before = seen(lived)
    execute(
        lived.house.url,
        "ALTER TABLE etl.model RENAME TO old_model",
        "CREATE TABLE etl.model (LIKE etl.old_model INCLUDING ALL)",
        "INSERT INTO etl.model SELECT * FROM etl.old_model",
        "DROP TABLE etl.old_model",
        "UPDATE etl.model SET table_oid = 1, filenode = 1",
    )
    assert mismatches(lived) == {}
    assert lived.run() is None
    assert seen(lived) == before
    assert lived.house.query("SELECT count(*) FROM etl.model WHERE table_oid = 1") == [(0,)]


def test_rows_added_by_hand_stay_in_a_dimension(lived: Pair) -> None:
    before = seen(lived)
    execute(lived.house.url, "INSERT INTO dim_shop VALUES (-1, 'unknown')", "UPDATE dim_shop SET town = 'x'")
    assert mismatches(lived) == {"dim_shop": "has 4 rows, and 3 were loaded"}
    lived.run()
    assert mismatches(lived) == {}
    rows = lived.house.query(LOOKS["dim_shop"])
    assert rows == [(-1, "x"), *before["dim_shop"]]
    execute(lived.house.url, "DELETE FROM dim_shop WHERE shop_id = -1")
    lived.run()
    assert seen(lived) == before


def test_a_killed_refill_changes_nothing(lived: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(lived)
    execute(lived.house.url, "DELETE FROM fact_sale", "TRUNCATE fact_town")
    broken = seen(lived)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(refill, "_bind", killed)
        with pytest.raises(KeyboardInterrupt):
            lived.run()
    assert seen(lived) == broken
    lived.run()
    assert seen(lived) == before


def test_a_restored_model_gets_the_batches_that_it_missed(shared: Pair) -> None:
    pair = shared
    expected = []
    for away in (False, True):
        pair.fresh(MODELS, *SOURCE)
        pair.run()
        for number, day in enumerate(DAYS):
            pair.do(*day)
            for name in ("fact_sale", "dim_shop") if away and number in (1, 2) else ():
                (pair.house.folder / f"{name}.sql").rename(pair.house.folder / f"{name}.away")
            pair.house.prepare()
            pair.run()
            for path in pair.house.folder.glob("*.away"):
                path.rename(path.with_suffix(".sql"))
        pair.house.prepare()
        pair.run()
        counts = "SELECT sale_id, amount::text, deleted FROM fact_sale ORDER BY sale_id, recorded_at"
        times = "SELECT count(DISTINCT recorded_at) FROM fact_sale"
        towns = "SELECT shop_id, town, valid_to IS NULL FROM dim_shop_history ORDER BY 1, valid_to"
        expected.append([pair.house.query(text) for text in (counts, times, towns)])
    assert expected[0] == expected[1]


def test_rows_that_the_lake_lacks_are_read_from_the_source(shared: Pair) -> None:
    pair = shared
    pair.live(MODELS, SOURCE, DAYS)
    now = "SELECT sale_id, amount FROM fact_sale_current ORDER BY 1"
    before = pair.house.query(now), pair.house.query(LOOKS["dim_shop"])
    shutil.rmtree(Path(pair.house.raw.root) / "_manifests")
    execute(pair.house.url, "DELETE FROM fact_sale WHERE sale_id = 1")
    assert pair.run() is not None
    assert (pair.house.query(now), pair.house.query(LOOKS["dim_shop"])) == before
    assert mismatches(pair) == {}
    execute(pair.house.url, "TRUNCATE fact_town")
    pair.run()
    assert pair.house.query("SELECT count(*) FROM fact_town_current") == [(2,)]


def test_an_early_batch_that_lacks_a_column_or_a_table_keeps_its_versions(shared: Pair) -> None:
    """As after a rebuild: NULL, and no rows."""
    pair, select = shared, "-- key: sale_id\nSELECT sale_id, pieces"
    now = "SELECT sale_id, pieces, note, town FROM sale LEFT JOIN town USING (sale_id) ORDER BY 1"
    pair.fresh(
        {
            "fact_sale": f"{select} FROM sale",
            "schema": "CREATE TABLE IF NOT EXISTS fact_sale (sale_id int, pieces int, note text, town text);",
        },
        "CREATE TABLE sale (sale_id int PRIMARY KEY, pieces int)",
        "INSERT INTO sale VALUES (1, 1), (2, 2)",
    )
    pair.run()
    pair.do("UPDATE sale SET pieces = 9 WHERE sale_id = 1", "DELETE FROM sale WHERE sale_id = 2")
    pair.run()
    pair.do(
        "ALTER TABLE sale ADD COLUMN note text DEFAULT 'old'",
        "CREATE TABLE town (sale_id int PRIMARY KEY, town text)",
        "INSERT INTO town VALUES (1, 'York')",
    )
    later = f"{select}, note, town FROM sale LEFT JOIN town USING (sale_id)"
    (pair.house.folder / "fact_sale.sql").write_text(later, encoding="utf-8")
    pair.run()
    execute(pair.house.url, "TRUNCATE fact_sale")
    assert pair.run() is None, "the source is not needed for it"
    assert pair.house.query("SELECT sale_id, pieces, note, town FROM fact_sale_current") == pair.source(now)
    versions = "SELECT sale_id, pieces, note, deleted FROM fact_sale ORDER BY recorded_at, sale_id"
    assert pair.house.query(versions) == [
        (1, 1, None, False),
        (2, 2, None, False),
        (1, 9, None, False),
        (2, 2, None, True),
        (1, 9, "old", False),
    ]
