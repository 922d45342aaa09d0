"""History: every version of a fact can be queried, and the past never changes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.postgres import Postgres
from pipeline.lake.buckets import Bucket, folder
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, database, execute, write_models

MODELS = {
    "dim_shop": "SELECT shop_id, city FROM shops",
    "fact_order": "-- key: shop_id, number\nSELECT shop_id, number, amount, note FROM orders",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city varchar);
        CREATE TABLE IF NOT EXISTS fact_order (
            record_id serial PRIMARY KEY,
            shop_id integer NOT NULL,
            number varchar NOT NULL,
            amount numeric NOT NULL,
            note varchar
        );
    """,
}
TABLES = {
    "shops": ({"shop_id": "integer", "city": "character varying"}, ("shop_id",)),
    "orders": (
        {
            "shop_id": "integer",
            "number": "character varying",
            "amount": "numeric",
            "note": "character varying",
        },
        ("shop_id", "number"),
    ),
}
Key = tuple[int, str]


def order(shop_id: int, number: str, amount: str, note: str | None = None) -> Row:
    return {"shop_id": shop_id, "number": number, "amount": amount, "note": note}


@pytest.fixture
def house(warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """A warehouse of one fact with a composite key."""
    write_models(tmp_path / "models", MODELS)
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


@pytest.fixture
def source_batches(raw: Bucket) -> MadeUp:
    return MadeUp(raw, TABLES)


CURRENT = "SELECT shop_id, number, amount, note FROM fact_order_current ORDER BY 1, 2"
WRITTEN = "SELECT record_id, shop_id, number, amount::text, note, recorded_at FROM fact_order ORDER BY 1"
HISTORY = (
    "SELECT amount::text, deleted, valid_from, valid_to FROM fact_order_history"
    " WHERE shop_id = 1 AND number = 'a' ORDER BY valid_from"
)


def bring(house: Warehouse, source_batches: MadeUp, *rows: Row, reconcile: bool = False) -> datetime:
    """Load a batch of orders and return its moment."""
    manifest = source_batches.batch({"orders": rows}, reconcile=reconcile)
    house.bring(manifest)
    return manifest.snapshot_at


def test_a_change_and_its_reversal_are_three_versions(house: Warehouse, source_batches: MadeUp) -> None:
    times = [bring(house, source_batches, order(1, "a", amount)) for amount in ("1", "2", "1")]
    assert house.query(HISTORY) == [
        ("1", False, times[0], times[1]),
        ("2", False, times[1], times[2]),
        ("1", False, times[2], None),
    ]
    assert [row[2] for row in house.query(CURRENT)] == [1]


def test_an_unchanged_row_gets_no_version(house: Warehouse, source_batches: MadeUp) -> None:
    for amount in ("3.5", "3.50", "3.500"):
        bring(house, source_batches, order(1, "a", amount))
    assert len(house.query(HISTORY)) == 1


def test_versions_are_found_by_their_beginning_and_their_end(
    house: Warehouse, source_batches: MadeUp
) -> None:
    """Also in a warehouse of an earlier release, which lacks these indexes, or where some are unfinished."""
    house.bring(source_batches.batch({"orders": [order(1, "1", "10")]}))
    expected = {
        "dim_shop_ended": "btree (valid_to) WHERE (valid_to IS NOT NULL)",
        "fact_order_begun": "brin (recorded_at) WITH (pages_per_range='32')",
        "fact_order_ended": "btree (superseded_at) WHERE (superseded_at IS NOT NULL)",
        "fact_order_version": "btree (shop_id, number, recorded_at DESC)",
    }
    dropped = [f"DROP INDEX {', '.join(names)}" for names in ([*expected], ["fact_order_version"])]
    names = ", ".join(f"'{name}'::regclass" for name in expected)
    unfinished = f"UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ({names})"
    valid = (
        "SELECT x.relname::text, split_part(pg_get_indexdef(x.oid), 'USING ', 2)"
        " FROM pg_index AS i INNER JOIN pg_class AS x ON i.indexrelid = x.oid WHERE i.indisvalid"
    )
    for statement in ("SELECT 1", *dropped, unfinished):
        execute(house.url, statement)
        house.prepare()
        found = dict(house.query(valid))
        assert {name: found.get(name) for name in expected} == expected


def test_a_deletion_and_a_return_are_versions(house: Warehouse, source_batches: MadeUp) -> None:
    stays = order(1, "b", "9")
    one = bring(house, source_batches, order(1, "a", "1"), stays)
    two = bring(house, source_batches, stays, reconcile=True)
    assert [row[1] for row in house.query(CURRENT)] == ["b"]
    bring(house, source_batches, stays, reconcile=True)
    three = bring(house, source_batches, order(1, "a", "1"))
    assert house.query(HISTORY) == [
        ("1", False, one, two),
        ("1", True, two, three),
        ("1", False, three, None),
    ]
    assert len(house.query(CURRENT)) == 2


@pytest.mark.parametrize("how", ["changes", "full", "reconcile"])
def test_every_batch_deletes(house: Warehouse, source_batches: MadeUp, how: str) -> None:
    stays = order(1, "b", "2")
    bring(house, source_batches, order(1, "a", "1"), stays)
    if how == "changes":
        manifest = source_batches.batch({}, deleted={"orders": [{"shop_id": 1, "number": "a"}]})
    else:
        manifest = source_batches.batch({"orders": [stays]}, full=True, reconcile=how == "reconcile")
    counts = house.bring(manifest)
    assert counts["fact_order"].deleted == 1
    assert [row[1] for row in house.query(CURRENT)] == ["b"]


def test_a_source_that_lost_all_rows_deletes_all(house: Warehouse, source_batches: MadeUp) -> None:
    bring(house, source_batches, order(1, "a", "1"), order(2, "a", "2"))
    bring(house, source_batches, reconcile=True)
    assert house.query(CURRENT) == []
    assert house.query("SELECT count(*) FROM fact_order WHERE deleted") == [(2,)]


def test_a_version_is_valid_from_its_exact_microsecond(house: Warehouse, source_batches: MadeUp) -> None:
    one = bring(house, source_batches, order(1, "a", "1"))
    two = bring(house, source_batches, order(1, "a", "2"))
    tick = timedelta(microseconds=1)
    seen = [
        [row[0] for row in house.query(f"SELECT amount::text FROM fact_order_as_of('{moment.isoformat()}')")]
        for moment in (one, two - tick, two)
    ]
    assert seen == [["1"], ["1"], ["2"]]


@pytest.fixture(scope="module")
def shared_house(postgres: Postgres) -> Iterator[Warehouse]:
    """One warehouse for many examples; each begins by emptying it."""
    with database(postgres, "history") as url, tempfile.TemporaryDirectory() as home:
        write_models(Path(home) / "models", MODELS)
        house = Warehouse(url, Path(home) / "models", folder(f"{home}/raw"), folder(f"{home}/processed"))
        house.prepare()
        yield house


a_key = st.tuples(st.integers(1, 2), st.sampled_from("ab"))
some_values = st.tuples(st.sampled_from(["1", "2", "2.0"]), st.sampled_from([None, "", "x"]))
changes = st.dictionaries(a_key, st.none() | some_values, max_size=3)
steps = st.lists(
    st.tuples(changes, st.sampled_from(["changes", "changes", "full", "reconcile"])), min_size=3, max_size=6
)


@given(steps=steps)
def test_any_sequence_of_changes_is_in_the_history(
    shared_house: Warehouse, steps: list[tuple[dict[Key, tuple[str, str | None] | None], str]]
) -> None:
    house = shared_house
    house.empty()
    source_batches = MadeUp(house.raw, TABLES)
    source: dict[Key, tuple[str, str | None]] = {}
    versions: list[tuple[Key, datetime, tuple[Any, ...] | None]] = []
    models: dict[Key, tuple[Any, ...] | None] = {}
    moments: list[tuple[datetime, list[tuple[Any, ...]]]] = []
    for changed, mode in steps:
        lost = [key for key, new in changed.items() if new is None and key in source]
        for key, new in changed.items():
            if new is None:
                source.pop(key, None)
            else:
                source[key] = new
        full = mode != "changes" or not moments
        read = source if full else {key: source[key] for key in changed if key in source}
        rows = [order(*key, *row) for key, row in read.items()]
        manifest = source_batches.batch(
            {"orders": rows},
            deleted={"orders": [{"shop_id": shop, "number": number} for shop, number in lost]},
            full=mode == "full",
            reconcile=mode == "reconcile",
        )
        written = house.query(WRITTEN)
        house.bring(manifest)
        assert house.query(WRITTEN)[: len(written)] == written, "no column of the source's is rewritten"
        now = manifest.snapshot_at
        new_state = {key: (float(amount), note) for key, (amount, note) in read.items()}
        gone = {key for key, row in models.items() if row and key not in source}
        for key, state in [*new_state.items(), *((key, None) for key in gone)]:
            if models.get(key) != state:
                models[key] = state
                versions.append((key, now, state))
        present = sorted((*key, *state) for key, state in models.items() if state)
        moments.append((now, present))
        assert [(a, b, float(c), d) for a, b, c, d in house.query(CURRENT)] == present
    assert len(house.query("SELECT FROM fact_order")) == len(versions)
    holds(house, versions, moments)


def holds(
    house: Warehouse,
    versions: list[tuple[Key, datetime, tuple[Any, ...] | None]],
    moments: list[tuple[datetime, list[tuple[Any, ...]]]],
) -> None:
    """Each version ends when the next one of its key begins, and each moment shows the rows of then."""
    stored = house.query("SELECT shop_id, number, valid_from, deleted, valid_to FROM fact_order_history")
    for shop_id, number, since, deleted, until in stored:
        mine = [(at, state) for key, at, state in versions if key == (shop_id, number)]
        place = [at for at, _ in mine].index(since)
        assert deleted == (mine[place][1] is None)
        assert until == (mine[place + 1][0] if place + 1 < len(mine) else None)
    for moment, present in moments:
        as_of = house.query(
            "SELECT shop_id, number, amount, note"
            f" FROM fact_order_as_of('{moment.isoformat()}') ORDER BY 1, 2"
        )
        assert [(a, b, float(c), d) for a, b, c, d in as_of] == present


@given(
    st.lists(
        st.dictionaries(st.integers(1, 3), st.sampled_from([None, "York", "Bath"])), min_size=2, max_size=5
    )
)
def test_any_sequence_of_dimension_changes_is_in_the_history(
    shared_house: Warehouse, batches: list[dict[int, str | None]]
) -> None:
    house = shared_house
    house.empty()
    source_batches = MadeUp(house.raw, TABLES)
    # By shop: valid from, valid to, whether it was deleted, and the city.
    expected: dict[int, list[tuple[datetime, datetime | None, bool, str | None]]] = {}
    moments: list[tuple[datetime, list[tuple[int, str | None]]]] = []
    for number, rows in enumerate(batches):
        # A row that is not in a batch that reads everything is deleted.
        full = number % 2 == 1
        shops = [{"shop_id": key, "city": city} for key, city in rows.items()]
        manifest = source_batches.batch({"shops": shops}, full=full)
        house.bring(manifest)
        now = manifest.snapshot_at
        for key in rows.keys() | (expected.keys() if full else set()):
            models = expected.setdefault(key, [])
            is_open = bool(models) and models[-1][1] is None
            if is_open and (key not in rows or models[-1][3] != rows[key]):
                models[-1] = (models[-1][0], now, key not in rows, models[-1][3])
            if key in rows and not (is_open and models[-1][3] == rows[key]):
                models.append((now, None, False, rows[key]))
        present = [(key, models[-1][3]) for key, models in expected.items() if models[-1][1] is None]
        moments.append((now, sorted(present)))
    actual = house.query("SELECT shop_id, valid_from, valid_to, deleted, city FROM dim_shop_history")
    assert sorted(actual, key=repr) == sorted(
        ((key, *version) for key, models in expected.items() for version in models), key=repr
    )
    assert dict(house.query("SELECT shop_id, city FROM dim_shop")) == {
        key: models[-1][3] for key, models in expected.items()
    }
    for moment, present in moments:
        as_of = f"SELECT shop_id, city FROM dim_shop_as_of('{moment.isoformat()}') ORDER BY 1"
        assert house.query(as_of) == present
