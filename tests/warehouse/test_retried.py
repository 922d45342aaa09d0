"""A retried row has all values of the rejected one, of each type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from demo.postgres import Postgres
from pipeline import postgres
from pipeline.beginning import SAFE_PATH
from pipeline.lake.buckets import Bucket, folder
from pipeline.warehouse.counts import Merged
from pipeline.warehouse.rejected import reject_violations
from pipeline.warehouse.retry import retry
from pipeline.warehouse.table import Table
from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, counted, database, execute, write_models
from tests.type_samples import BUILT_IN, NEVER_NULL, TYPES

SHOP = ({"shop_id": "integer"}, ("shop_id",))


@pytest.fixture
def house(warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    return Warehouse(warehouse_url, tmp_path / "models", raw, processed)


def made_up(house: Warehouse, columns: dict[str, str], table: str, kind: str = "fact") -> MadeUp:
    """Rows of a table that refer to shops, which may arrive later."""
    write_models(
        house.folder,
        {
            "dim_shop": "SELECT shop_id FROM shop",
            f"{kind}_t": f"-- key: id\nSELECT {', '.join(columns)} FROM t",
            "schema": "CREATE TABLE IF NOT EXISTS dim_shop (shop_id int PRIMARY KEY);"
            f"CREATE TABLE IF NOT EXISTS {kind}_t ({table}, shop_id int REFERENCES dim_shop)",
        },
    )
    return MadeUp(house.raw, {"t": (columns, ("id",)), "shop": SHOP})


ORDER = {
    "id": "integer",
    "shop_id": "integer",
    "status": "text",
    "doc": "jsonb",
    "moment": "text",
    "tags": "text",
}
ORDERED = (
    "id integer GENERATED ALWAYS AS IDENTITY, status text NOT NULL DEFAULT 'new', doc jsonb,"
    " moment timestamptz DEFAULT now(), tags text[], record bigserial, size integer DEFAULT 7"
)


def order(number: int, shop: int = 9, status: str = "paid") -> Row:
    return {
        "id": number,
        "shop_id": shop,
        "status": status,
        "doc": '{"a": [1.50, null, "x"]}',
        "moment": "2024-02-29 12:00:00.5+00",
        "tags": '{"a,b",NULL,"NULL"}',
    }


@pytest.mark.parametrize("kind", ["fact", "dim"])
@pytest.mark.parametrize("filled", [False, True], ids=["into an empty table", "into a filled table"])
def test_a_retried_row_has_its_original_values(house: Warehouse, kind: str, filled: bool) -> None:
    """It has its own values instead of the table's defaults, also for an identity key."""
    batches = made_up(house, ORDER, ORDERED, kind)
    shops: list[Row] = [{"shop_id": 1}]
    house.bring(batches.batch({"shop": shops, "t": [order(1, 1)] if filled else []}))
    house.bring(batches.batch({"t": [order(2, 1), order(3)]}))
    assert [key for _, key, _ in house.rejected()] == [{"id": "3"}]
    counts = house.bring(batches.batch({"shop": [{"shop_id": 9}]}))
    assert (counts[f"{kind}_t"].added, counts[f"{kind}_t"].rejected) == (1, 0)
    assert house.rejected() == []
    shown = "status, doc::text, moment::text, tags::text, size"
    ours, others = (house.query(f"SELECT {shown} FROM {kind}_t WHERE id {test}") for test in ("= 3", "= 2"))
    assert ours == others
    assert ours[0][:2] == ("paid", '{"a": [1.50, null, "x"]}')


def test_rejected_rows_of_an_earlier_model_keep_their_columns(house: Warehouse) -> None:
    batches = made_up(house, ORDER, ORDERED)
    house.bring(batches.batch({"shop": [{"shop_id": 1}], "t": [order(1, 1), order(2), order(3)]}))
    execute(house.url, "UPDATE etl.rejected SET \"row\" = \"row\" - 'status' WHERE key ->> 'id' = '2'")
    house.bring(batches.batch({"shop": [{"shop_id": 9}]}))
    assert house.query("SELECT id, status FROM fact_t ORDER BY 1") == [(1, "paid"), (2, "new"), (3, "paid")]


def test_a_rejected_row_is_not_retried_after_it_changed(house: Warehouse) -> None:
    batches = made_up(house, ORDER, ORDERED)
    house.bring(batches.batch({"shop": [{"shop_id": 1}], "t": [order(1, 1), order(2), order(3)]}))
    house.bring(batches.batch({"t": [order(2, 1, "sent")], "shop": [{"shop_id": 9}]}))
    assert house.query("SELECT id, status FROM fact_t ORDER BY 1") == [(1, "paid"), (2, "sent"), (3, "paid")]
    assert house.rejected() == []


def test_a_deleted_row_is_not_retried(house: Warehouse) -> None:
    batches = made_up(house, ORDER, ORDERED)
    house.bring(batches.batch({"shop": [{"shop_id": 1}], "t": [order(1, 1), order(2)]}))
    house.bring(batches.batch({"shop": [{"shop_id": 1}, {"shop_id": 9}], "t": [order(1, 1)]}, reconcile=True))
    assert house.query("SELECT id FROM fact_t") == [(1,)]
    assert house.rejected() == []


def test_rejected_rows_of_a_removed_model_are_resolved(house: Warehouse) -> None:
    batches = made_up(house, ORDER, ORDERED)
    house.bring(batches.batch({"shop": [{"shop_id": 1}], "t": [order(1, 1), order(2)]}))
    (house.folder / "fact_t.sql").unlink()
    house.bring(batches.batch({"shop": [{"shop_id": 9}]}))
    assert house.rejected() == []
    assert house.query("SELECT id FROM fact_t") == [(1,)]


def test_rejected_rows_that_refer_to_each_other_are_accepted_together(house: Warehouse) -> None:
    write_models(
        house.folder,
        {
            "dim_t": "SELECT id, mate FROM t",
            "schema": "CREATE TABLE IF NOT EXISTS dim_t (id int PRIMARY KEY, mate int REFERENCES dim_t)",
        },
    )
    batches = MadeUp(house.raw, {"t": ({"id": "integer", "mate": "integer"}, ("id",))})
    house.bring(batches.batch({"t": [{"id": 1, "mate": None}, {"id": 2, "mate": 3}]}))
    counts = house.bring(batches.batch({"t": [{"id": 3, "mate": 2}]}))["dim_t"]
    assert (counts.added, counts.rejected) == (2, 0)
    assert house.rejected() == []


def test_thousands_of_rejected_rows_are_retried_quickly(house: Warehouse) -> None:
    batches = made_up(house, {"id": "integer", "shop_id": "integer"}, "id integer NOT NULL")
    rows: list[Row] = [{"id": number, "shop_id": 9} for number in range(2, 4_000)]
    first = {"shop": [{"shop_id": 1}], "t": [{"id": 1, "shop_id": 1}, *rows]}
    house.bring(batches.batch(first), max_rejected_share=1)
    assert len(house.rejected()) == len(rows)
    updated = "SELECT n_tup_upd FROM pg_stat_all_tables WHERE schemaname = 'etl' AND relname = 'rejected'"
    before = counted(house.url, updated)
    same: list[Row] = [{"id": number, "shop_id": 1} for number in range(2, 4_000, 2)]
    house.bring(batches.batch({"t": same}), max_rejected_share=1)
    assert len(house.rejected()) == len(rows) - len(same)
    assert counted(house.url, updated) == before + len(rows), (
        "each is resolved, or marked, and not written again"
    )


# More values of types for which a few are not enough.
MADE_UP: dict[str, st.SearchStrategy[str]] = {
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    "bytea": st.binary().map(lambda actual: "\\x" + actual.hex()),
    "double precision": st.floats().map(repr),
    "numeric": st.decimals().filter(lambda number: not number.is_snan()).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "timestamptz": st.datetimes().map(lambda moment: f"{moment.isoformat()}+00"),
    "jsonb": st.recursive(
        st.none() | st.booleans() | st.integers() | st.text('abc"\\ äé'),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc"), below, max_size=3),
        max_leaves=5,
    ).map(json.dumps),
}


def rows_of(types: dict[str, list[str]]) -> st.SearchStrategy[list[tuple[str | None, ...]]]:
    """Rows of a value of each type, or NULL."""
    columns: list[st.SearchStrategy[str | None]] = []
    for type_, values in types.items():
        actual = st.sampled_from(values) | MADE_UP.get(type_, st.nothing())
        columns.append(actual if type_ in NEVER_NULL else actual | st.none())
    return st.lists(st.tuples(*columns), min_size=1, max_size=4)


def every_type(url: str, types: dict[str, list[str]]) -> None:
    """Tables of these types, with and without a reference to a shop."""
    names = [f"c{number}" for number in range(len(types))]
    declared = ", ".join(f"{name} {type_}" for name, type_ in zip(names, types, strict=True))
    execute(
        url,
        "CREATE TABLE dim_shop (shop_id int PRIMARY KEY)",
        f"CREATE TABLE dim_t (id int PRIMARY KEY, shop_id int REFERENCES dim_shop, {declared})",
        "CREATE TABLE truth (LIKE dim_t)",
    )


def goes_and_comes_back(
    house: Warehouse, types: dict[str, list[str]], rows: Sequence[tuple[str | None, ...]]
) -> None:
    """Reject these rows, retry them once their shop has arrived, and compare their values."""
    execute(house.url, "TRUNCATE dim_t, dim_t_version, dim_shop, truth, etl.rejected")
    target = house.prepare()["dim_t"]
    columns = tuple(column.name for column in target.columns)
    batches = MadeUp(house.raw, {})
    with postgres.transaction(house.url, "warehouse") as connection:
        connection.execute("SET LOCAL search_path TO public")
        for number, row in enumerate(rows):
            values = [
                sql.SQL("{}::text::{}").format(value, postgres.template(type_))
                for type_, value in zip(types, row, strict=True)
            ]
            connection.execute(
                sql.SQL("INSERT INTO truth VALUES ({}, 9, {})").format(number, sql.SQL(", ").join(values))
            )
        connection.execute(SAFE_PATH)
        table = Table(connection, "public", target, columns, batches.batch({}))
        table.execute("stage_rows.sql")
        connection.execute(sql.SQL("INSERT INTO {} SELECT * FROM public.truth").format(table.stage))
        assert reject_violations(table) == len(rows)
        connection.execute("INSERT INTO public.dim_shop VALUES (9)")
        assert retry(replace(table, manifest=batches.batch({}))) == Merged(len(rows), versions=len(rows))
        truth, ours = (
            connection.execute(f"SELECT id, r::text FROM public.{name} AS r ORDER BY id".encode()).fetchall()
            for name in ("truth", "dim_t")
        )
    assert ours == truth
    assert house.rejected() == []


def all_types(house: Warehouse) -> None:
    write_models(house.folder, {"dim_t": "-- key: id\nSELECT 1 AS id", "schema": "SELECT 1"})


@pytest.fixture(scope="module", params=[18, pytest.param(16, marks=pytest.mark.campaign)])
def typed(
    request: pytest.FixtureRequest,
    servers: Callable[[int], Postgres],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Warehouse]:
    """A warehouse with a table of every built-in type."""
    home = tmp_path_factory.mktemp("typed")
    with database(servers(request.param), "typed") as url:
        execute(url, *TYPES)
        every_type(url, BUILT_IN)
        house = Warehouse(url, home / "models", folder(f"{home}/raw"), folder(f"{home}/processed"))
        all_types(house)
        house.prepare()
        yield house


@given(rows=rows_of(BUILT_IN))
def test_a_value_of_each_built_in_type_makes_the_round_trip(
    typed: Warehouse, rows: list[tuple[str | None, ...]]
) -> None:
    goes_and_comes_back(typed, BUILT_IN, rows)


def test_each_of_the_values_goes_and_comes_back(typed: Warehouse) -> None:
    longest = max(map(len, BUILT_IN.values()))
    rows = [tuple(values[number % len(values)] for values in BUILT_IN.values()) for number in range(longest)]
    goes_and_comes_back(typed, BUILT_IN, rows)
