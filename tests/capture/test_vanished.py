"""Rows that leave a model's result end in facts, are deleted from bridges, and stay in dimensions."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest

from pipeline.errors import WarehouseError
from tests.house import plan_batch
from tests.pair import Pair
from tests.support import execute

# Keys that name columns in another order than their tables.
MODELS = {
    "dim_tag": "SELECT tag_id, label FROM tag",
    "bridge_tagged": "-- key: tag_id, item_id\nSELECT item_id, tag_id, note FROM tagged WHERE note <> 'void'",
    "bridge_pair": """
        -- key: a, b
        SELECT x.item_id AS a, y.item_id AS b, x.tag_id
        FROM tagged AS x JOIN tagged AS y ON x.tag_id = y.tag_id AND x.item_id < y.item_id
    """,
    "fact_item": """
        -- key: item_id
        -- untracked: seen
        SELECT item_id, price, seen FROM item
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_tag (tag_id integer PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS bridge_tagged (
            item_id integer, tag_id integer REFERENCES dim_tag, note varchar, PRIMARY KEY (tag_id, item_id)
        );
        CREATE TABLE IF NOT EXISTS bridge_pair (a integer, b integer, tag_id integer);
        CREATE TABLE IF NOT EXISTS fact_item (item_id integer NOT NULL, price integer, seen integer);
    """,
}
SOURCE = (
    "CREATE TABLE tag (tag_id int PRIMARY KEY, label text)",
    "CREATE TABLE tagged (item_id int, tag_id int, note text, PRIMARY KEY (tag_id, item_id))",
    "CREATE TABLE item (item_id int PRIMARY KEY, price int, seen int)",
    "INSERT INTO tag VALUES (1, 'red'), (2, 'blue')",
    "INSERT INTO item VALUES (1, 10, 1), (2, 20, 1)",
    "INSERT INTO tagged VALUES (1, 1, 'a'), (2, 1, 'b'), (2, 2, 'c')",
)
HELD_BACK = r"fact_item: 1,\d+ rows would be deleted.*--max-deleted-share 1.*-- max_deleted_share: 1"
LINKS = "SELECT item_id, tag_id FROM bridge_tagged ORDER BY 1, 2"
PAIRS = "SELECT a, b, tag_id FROM bridge_pair ORDER BY 1, 2"


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """A warehouse after its first run."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    assert shared.house.query(LINKS) == [(1, 1), (2, 1), (2, 2)]
    assert shared.house.query(PAIRS) == [(1, 2, 1)]
    return shared


LOSSES = [
    "DELETE FROM tagged WHERE item_id = 1",
    "UPDATE tagged SET tag_id = 2 WHERE item_id = 1",
    "UPDATE tagged SET note = 'void' WHERE item_id = 1",
    "TRUNCATE tagged",
]


@pytest.mark.parametrize("flags", [{}, {"full": True}, {"reconcile": True}], ids=["run", "full", "reconcile"])
@pytest.mark.rarely("full", "reconcile")
def test_a_bridge_loses_its_rows(pair: Pair, flags: dict[str, bool]) -> None:
    """One loss after the other, from the same rows."""
    source = "SELECT item_id, tag_id FROM tagged WHERE note <> 'void' ORDER BY 1, 2"
    history = "SELECT item_id, tag_id FROM bridge_tagged_history WHERE valid_to IS NOT NULL"
    for change in LOSSES:
        ended = Counter(pair.house.query(history))
        pair.do(change)
        counts = pair.run(**flags)
        assert counts is not None
        assert pair.house.query(LINKS) == pair.source(source)
        deleted = {(1, 1), (2, 1), (2, 2)} - set(pair.house.query(LINKS))
        assert counts["bridge_tagged"].deleted == len(deleted)
        assert Counter(pair.house.query(history)) - ended == Counter(deleted), "it keeps the deleted links"
        pairs = pair.source(
            "SELECT x.item_id, y.item_id, x.tag_id FROM tagged AS x JOIN tagged AS y"
            " ON x.tag_id = y.tag_id AND x.item_id < y.item_id ORDER BY 1, 2"
        )
        assert pair.house.query(PAIRS) == pairs
        pair.do("DELETE FROM tagged", SOURCE[-1])
        pair.run()
        assert pair.house.query(LINKS) == [(1, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize("flags", [{}, {"full": True}], ids=["run", "full"])
def test_a_bridge_keeps_the_last_accepted_row_of_a_rejected_key(pair: Pair, flags: dict[str, bool]) -> None:
    pair.do(
        "ALTER TABLE tagged DROP CONSTRAINT tagged_pkey",
        "ALTER TABLE tagged ADD COLUMN id serial PRIMARY KEY",
    )
    pair.run()
    pair.do("INSERT INTO tagged VALUES (1, 1, 'twice'), (2, 9, 'no such tag')")
    pair.run(**flags)
    assert pair.house.query(LINKS) == [(1, 1), (2, 1), (2, 2)]
    rejected = [key for table, key, _ in pair.house.rejected() if table == "bridge_tagged"]
    assert rejected == [{"item_id": "1", "tag_id": "1"}, {"item_id": "2", "tag_id": "9"}]
    pair.do("DELETE FROM tagged WHERE item_id = 1 OR tag_id = 9")
    pair.run(**flags)
    assert pair.house.query(LINKS) == [(2, 1), (2, 2)]
    assert pair.house.rejected() == []


@pytest.mark.parametrize("meanwhile", ["a reconciliation", "another model", "another column"])
def test_a_rejected_keys_last_row_is_deleted_with_its_key(shared: Pair, meanwhile: str) -> None:
    """Also where the batch that rejects it recomputes the whole table."""
    sql = "-- key: item_id\nSELECT item_id, note FROM tagged"
    table = "CREATE TABLE IF NOT EXISTS bridge_t (item_id integer, note text)"
    source = "CREATE TABLE tagged (id serial PRIMARY KEY, item_id int, note text)"
    rows = "SELECT item_id, note FROM bridge_t ORDER BY 1"
    shared.fresh(
        {"bridge_t": sql, "schema": table}, source, "INSERT INTO tagged (item_id) VALUES (1), (2), (4)"
    )
    shared.do("UPDATE tagged SET note = 'a'")
    shared.run()
    shared.do("INSERT INTO tagged (item_id) VALUES (1), (2), (3), (3)")
    shared.run()
    if meanwhile == "another column":
        execute(shared.house.url, "ALTER TABLE bridge_t ADD COLUMN id integer")
        sql = sql.replace("note FROM", "note, NULL AS id FROM")
        shared.house.prepared = None
    elif meanwhile == "another model":
        sql += " WHERE true"
    (shared.house.folder / "bridge_t.sql").write_text(sql, encoding="utf-8")
    shared.run(reconcile=meanwhile == "a reconciliation")
    assert shared.house.query(rows) == [(1, "a"), (2, "a"), (4, "a")]
    shared.do("DELETE FROM tagged WHERE item_id IN (1, 3) OR (item_id = 2 AND note = 'a')")
    shared.run()
    assert shared.house.query(rows) == [(2, None), (4, "a")]
    assert shared.house.rejected() == []


def test_a_bridge_may_get_another_key(shared: Pair) -> None:
    table = "CREATE TABLE IF NOT EXISTS bridge_t (item_id integer, note text)"
    source = "CREATE TABLE tagged (id serial PRIMARY KEY, item_id int, note text)"
    rows = "SELECT item_id, note FROM {} ORDER BY 1, 2"
    sql = "SELECT item_id, note FROM tagged"
    shared.fresh({"bridge_t": f"-- key: item_id\n{sql}", "schema": table}, source)
    shared.do("INSERT INTO tagged (item_id, note) VALUES (1, 'a'), (2, 'a')")
    shared.run()
    shared.do("INSERT INTO tagged (item_id, note) VALUES (1, 'b'), (3, 'a'), (3, 'b')")
    wider, narrower = f"-- key: item_id, note\n{sql}", "-- key: note\nSELECT note FROM tagged GROUP BY note"
    model = shared.house.folder / "bridge_t.sql"
    model.write_text(wider, encoding="utf-8")
    shared.house.allow = ("rekey bridge_t",)
    shared.house.prepare()
    shared.run()
    assert shared.house.query(rows.format("bridge_t")) == shared.source(rows.format("tagged"))
    model.write_text(narrower, encoding="utf-8")
    shared.house.prepare()
    shared.run()
    assert shared.house.query(rows.format("bridge_t")) == [(None, "a"), (None, "b")]
    history = "SELECT note FROM bridge_t_history WHERE valid_to IS NULL ORDER BY 1"
    assert shared.house.query(history) == [("a",), ("b",)]


def test_a_dimension_keeps_deleted_rows_and_revives_them(pair: Pair) -> None:
    pair.do("DELETE FROM tag WHERE tag_id = 2")
    pair.run()
    assert pair.house.query("SELECT * FROM dim_tag ORDER BY 1") == [(1, "red"), (2, "blue")]
    pair.do("INSERT INTO tag VALUES (2, 'green')")
    pair.run()
    assert pair.house.query("SELECT * FROM dim_tag ORDER BY 1") == [(1, "red"), (2, "green")]


def test_an_untracked_column_makes_no_version_by_itself(pair: Pair) -> None:
    rows = "SELECT price, seen FROM fact_item WHERE item_id = 1 ORDER BY recorded_at"
    pair.do("UPDATE item SET seen = 2")
    pair.run()
    assert pair.house.query(rows) == [(10, 1)]
    pair.do("UPDATE item SET price = 11, seen = 3 WHERE item_id = 1")
    pair.run()
    pair.run(reconcile=True)
    assert pair.house.query(rows) == [(10, 1), (11, 3)]


def test_an_untracked_column_that_is_corrected_lets_a_rejected_row_in(shared: Pair) -> None:
    models = {
        "fact_item": (
            "-- key: item_id\n-- untracked: tag\n"
            "SELECT item_id, min(price) AS price, min(seen) AS tag FROM item GROUP BY item_id"
        ),
        "dim_tag": MODELS["dim_tag"],
        "schema": """
            CREATE TABLE IF NOT EXISTS dim_tag (tag_id integer PRIMARY KEY, label varchar);
            CREATE TABLE IF NOT EXISTS fact_item (item_id int, price integer, tag int REFERENCES dim_tag);
        """,
    }
    shared.fresh(models, *SOURCE, "UPDATE item SET seen = 9 WHERE item_id = 2")
    shared.run()
    assert shared.house.query("SELECT item_id FROM fact_item_current") == [(1,)]
    shared.do("UPDATE item SET seen = NULL WHERE item_id = 2")
    shared.run()
    assert shared.house.query("SELECT item_id, tag FROM fact_item_current ORDER BY 1") == [(1, 1), (2, None)]


def test_what_a_model_keeps_survives_every_run(shared: Pair) -> None:
    models = MODELS | {
        "fact_item": "-- key: item_id\n-- deletes: ignore\nSELECT item_id, price, seen FROM item"
    }
    shared.fresh(models, *SOURCE)
    shared.run()
    shared.do("DELETE FROM item WHERE item_id = 1")
    for flags in ({}, {"full": True}, {"reconcile": True}):
        shared.run(**flags)
        assert shared.house.query("SELECT item_id FROM fact_item_current ORDER BY 1") == [(1,), (2,)]


@pytest.mark.parametrize("change", ["TRUNCATE item", "DELETE FROM item WHERE item_id > 500"])
def test_a_source_that_lost_most_rows_does_not_empty_the_warehouse(pair: Pair, change: str) -> None:
    pair.do("INSERT INTO item SELECT n, n, n FROM generate_series(3, 1600) AS n")
    pair.run()
    shown = "SELECT count(*) FROM fact_item_current"
    pair.do(change)
    _, manifest = plan_batch(pair.source_url, pair.house)
    assert manifest
    with pytest.raises(WarehouseError, match=HELD_BACK):
        pair.house.bring(manifest)
    assert pair.house.query(shown) == [(1600,)]
    pair.house.bring(manifest, max_deleted_share=1)
    assert pair.house.query(shown) == pair.source("SELECT count(*) FROM item")


@pytest.mark.parametrize(
    ("table", "flags"),
    [
        ("dim_tag", {}),
        ("bridge_tagged", {"full": True}),
        ("dim_tag", {"reconcile": True}),
        pytest.param("bridge_tagged", {}, marks=pytest.mark.campaign),
        pytest.param("dim_tag", {"full": True}, marks=pytest.mark.campaign),
        pytest.param("bridge_tagged", {"reconcile": True}, marks=pytest.mark.campaign),
    ],
)
def test_a_dimension_or_bridge_is_not_emptied_either(pair: Pair, table: str, flags: dict[str, Any]) -> None:
    pair.do(
        "INSERT INTO tag SELECT n, 'x' FROM generate_series(3, 1600) AS n",
        "INSERT INTO tagged SELECT n, n, 'x' FROM generate_series(3, 1600) AS n",
    )
    pair.run()
    history = f"SELECT count(*) FROM {table}_history WHERE valid_to IS NULL"
    before = pair.house.query(history)
    pair.do("DELETE FROM tagged WHERE item_id > 9" if table == "bridge_tagged" else "DELETE FROM tag")
    _, manifest = plan_batch(pair.source_url, pair.house, **flags)
    assert manifest
    with pytest.raises(WarehouseError, match=rf"table {table}: 1,\d+ rows would be deleted"):
        pair.house.bring(manifest)
    assert pair.house.query(history) == before
    pair.house.bring(manifest, max_deleted_share=1)
    assert pair.house.query(history) != before


@pytest.mark.parametrize(("source", "column"), [("item", "item_id"), ("tag", "tag_id")])
def test_rows_with_new_keys_do_not_make_up_for_deleted_ones(pair: Pair, source: str, column: str) -> None:
    pair.do(f"INSERT INTO {source} ({column}) SELECT generate_series(3, 1600)")
    pair.run()
    pair.do(f"UPDATE {source} SET {column} = {column} + 10000")
    _, manifest = plan_batch(pair.source_url, pair.house)
    assert manifest
    with pytest.raises(WarehouseError, match=f"_{source}: 1,600 rows would be deleted"):
        pair.house.bring(manifest)


def test_a_smaller_part_of_a_table_is_deleted_without_consent(pair: Pair) -> None:
    pair.do("INSERT INTO item SELECT n, n, n FROM generate_series(3, 4000) AS n")
    pair.run()
    pair.do("DELETE FROM item WHERE item_id > 2500")
    counts = pair.run()
    assert counts is not None
    assert counts["fact_item"].deleted == 1500


@pytest.mark.parametrize(("header", "max_share", "allowed"), [
    ("1", None, True), ("0.9", None, True), ("0.1", None, False), ("1", 0.2, False), ("0.1", 1, True),
])  # fmt: skip
@pytest.mark.rarely("0.9")
def test_a_model_may_set_its_share_and_a_run_overrides_it(
    shared: Pair, header: str, max_share: float | None, allowed: bool
) -> None:
    text = f"-- key: item_id\n-- max_deleted_share: {header}\nSELECT item_id, price, seen FROM item"
    shared.fresh(MODELS | {"fact_item": text}, *SOURCE)
    shared.do("INSERT INTO item SELECT n, n, n FROM generate_series(3, 4000) AS n")
    shared.run()
    shared.do("DELETE FROM item WHERE item_id > 1000")
    with nullcontext() if allowed else pytest.raises(WarehouseError, match="would be deleted"):
        shared.run(max_deleted_share=max_share)
