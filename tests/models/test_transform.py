"""Models over batches: for any SQL, the output is exactly what the result has gained and lost."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import Column
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import State, StateDelta, TableBatch, mergeable_deltas
from pipeline.lake.state import bind_state
from pipeline.models.dry_run import verify
from pipeline.models.output import Loaded
from pipeline.models.transform import transform
from tests.made_up import MadeUp, made_target
from tests.models.orders import JOINED, TABLES, Running, order_row, shop_row, work
from tests.pair import Pair
from tests.support import Row, parquet_rows, write_models

an_order = st.builds(order_row, st.integers(1, 6), st.none() | st.integers(1, 4), st.integers(0, 5))


a_shop = st.builds(shop_row, st.integers(1, 4), st.sampled_from(["Leeds", "York", "Bath"]))


a_batch = st.fixed_dictionaries(
    {"orders": st.lists(an_order, max_size=4), "shops": st.lists(a_shop, max_size=2)}
)


some_keys = st.fixed_dictionaries(
    {
        "orders": st.lists(st.integers(1, 6), max_size=2, unique=True),
        "shops": st.lists(st.integers(1, 4), max_size=1),
    }
)


some_batches = st.lists(
    st.tuples(a_batch, some_keys, st.sampled_from([False] * 6 + [True])), min_size=2, max_size=6
)


@pytest.mark.parametrize("kind", JOINED)
@given(batches=some_batches)
def test_a_table_equals_its_models_sql(
    kind: str, batches: list[tuple[dict[str, list[Row]], dict[str, list[int]], bool]]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        running = Running(Path(home), *JOINED[kind])
        for rows, deleted, reconcile in batches:
            unique = {
                name: list({row[TABLES[name][1][0]]: row for row in changed}.values())
                for name, changed in rows.items()
            }
            running.batch(unique, deleted=deleted, reconcile=reconcile)
            assert running.held == running.expected()


def test_only_differing_rows_are_written(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["left join"])
    running.batch(
        {
            "orders": [order_row(i, i % 2, i) for i in range(10)],
            "shops": [shop_row(0, "York"), shop_row(1, "Bath")],
        }
    )
    again = running.batch({"orders": [order_row(3, 1, 3)], "shops": [shop_row(0, "York")]})
    assert (again.rows, again.complete) == (0, False)
    moved = running.batch({"orders": [], "shops": [shop_row(0, "Leeds")]})
    assert moved.rows == 5


def test_a_filtered_row_leaves_the_result(tmp_path: Path) -> None:
    target = made_target("fact_m", ("id",), id="integer!", amount="integer")
    for name, sql in {
        "rows": "SELECT order_id AS id, amount FROM orders WHERE amount > 2",
        "whole": "SELECT order_id AS id, amount FROM orders JOIN shops USING (shop_id) WHERE amount > 2",
    }.items():
        running = Running(tmp_path / name, sql, target)
        running.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 5)], "shops": [shop_row(1, "York")]})
        output = running.batch({"orders": [order_row(1, 1, 2)]})
        assert (output.rows, parquet_rows(running.processed, output.deleted)) == (0, [{"id": 1}])
        running.batch({"orders": [order_row(1, 1, 5)]}, deleted={"orders": [2]})
        assert running.held == {1: {"id": 1, "amount": 5}}


def test_a_group_without_rows_leaves_the_result(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["aggregate"])
    running.batch({"orders": [order_row(1, 1, 5), order_row(2, 2, 7)], "shops": []})
    running.batch({"orders": [order_row(1, 2, 5)]})
    assert running.held == {2: {"id": 2, "n": 2, "amount": 12}}


def test_a_model_that_ignores_deletions_keeps_its_rows(tmp_path: Path) -> None:
    target = made_target("fact_m", ("id",), id="integer!", amount="integer")
    for name, sql in {
        "rows": "-- deletes: ignore\nSELECT order_id AS id, amount FROM orders",
        "whole": "-- deletes: ignore\nSELECT order_id AS id, max(amount) AS amount FROM orders GROUP BY 1",
    }.items():
        running = Running(tmp_path / name, sql, target)
        running.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)], "shops": []})
        running.batch({"orders": []}, deleted={"orders": [1]})
        running.batch({"orders": []}, reconcile=True)
        assert sorted(running.held) == [1, 2]


def test_the_load_gets_changes_of_untracked_columns_because_they_can_correct_rejected_rows(
    tmp_path: Path,
) -> None:
    sql, target = JOINED["left join"]
    running = Running(tmp_path, f"-- untracked: amount\n{sql}", target)
    running.batch({"orders": [order_row(1, 1, 5)], "shops": [shop_row(1, "York")]})
    assert running.batch({"orders": [order_row(1, 1, 6)], "shops": []}).rows == 1
    assert running.batch({"orders": [], "shops": [shop_row(1, "Bath")]}).rows == 1
    assert running.held == {1: {"id": 1, "amount": 6, "city": "Bath"}}


@pytest.mark.parametrize(
    ("column", "message"), [("amuont", "because it is not yielded"), ("id", "because it is part of the key")]
)
def test_an_invalid_untracked_column_is_refused(tmp_path: Path, column: str, message: str) -> None:
    all_models = write_models(tmp_path, {"dim_m": f"-- untracked: {column}\nSELECT id, amount FROM t"})
    target = made_target("dim_m", ("id",), id="integer!", amount="integer")
    columns = {"t": (Column(name="id", type="integer"), Column(name="amount", type="integer"))}
    with pytest.raises(ModelError, match=rf"dim_m\.sql:\d+: column {column} cannot be untracked, {message}"):
        verify(all_models, {"dim_m": target}, columns)


def test_columns_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    all_models = write_models(tmp_path, {"dim_m": "SELECT id FROM t"})
    target = made_target("dim_m", ("id",), id="integer!")
    columns = {"t": (Column(name="id", type="integer"), Column(name="ID", type="integer"))}
    with pytest.raises(
        ModelError, match=r"dim_m\.sql: reads table t, whose columns id and ID differ only by case"
    ):
        verify(all_models, {"dim_m": target}, columns)


@pytest.mark.parametrize(
    ("sql", "fits"),
    [
        ("SELECT id, n FROM v", True),
        ("SELECT id, n FROM v WHERE n > 1", True),
        ("-- reads: changes\nSELECT id, max(n) AS n FROM v GROUP BY id", True),
        ("SELECT id, max(n) AS n FROM v GROUP BY id", False),
        ("SELECT v.id, v.n FROM v JOIN t USING (id)", False),
        ("SELECT t.id, t.n FROM t WHERE id IN (SELECT id FROM v)", False),
    ],
)
def test_a_model_that_reads_by_a_cursor_must_run_row_by_row(tmp_path: Path, sql: str, fits: bool) -> None:
    all_models = write_models(tmp_path, {"dim_m": f"-- cursor: v.changed_at 1 hour\n{sql}"})
    targets = {"dim_m": made_target("dim_m", ("id",), id="integer!", n="integer")}
    columns = (Column(name="id", type="integer"), Column(name="n", type="integer"))
    if fits:
        verify(all_models, targets, {"v": columns, "t": columns})
    else:
        with pytest.raises(
            ModelError, match=r"dim_m\.sql: reads v by a cursor, .* each row has to come from"
        ):
            verify(all_models, targets, {"v": columns, "t": columns})


@pytest.mark.parametrize("ending", ["", " WHERE n > 1"])
@pytest.mark.parametrize("header", ["", "-- deletes: ignore\n", "-- reads: changes\n"])
def test_a_filter_over_a_cursor_needs_a_key_of_its_relation(tmp_path: Path, header: str, ending: str) -> None:
    sql = f"{header}SELECT id * 2 AS id, n FROM v{ending}"
    all_models = write_models(tmp_path, {"dim_m": f"-- cursor: v.changed_at 1 hour\n{sql}"})
    targets = {"dim_m": made_target("dim_m", ("id",), id="integer!", n="integer")}
    columns = {"v": (Column(name="id", type="integer"), Column(name="n", type="integer"))}
    if header or not ending:
        verify(all_models, targets, columns)
    else:
        with pytest.raises(
            ModelError, match=r"filters v, which is read by a cursor, but column id of its key"
        ):
            verify(all_models, targets, columns)


def test_a_reader_of_a_model_with_a_cursor_has_the_same_limits(tmp_path: Path) -> None:
    all_models = write_models(
        tmp_path,
        {
            "fact_v": "-- cursor: v.changed_at 1 hour\nSELECT id, n FROM v",
            "dim_m": "SELECT n AS id, count(*) AS n FROM fact_v GROUP BY n",
        },
    )
    targets = {name: made_target(name, ("id",), id="integer!", n="bigint") for name in all_models}
    columns = (Column(name="id", type="integer"), Column(name="n", type="integer"))
    with pytest.raises(ModelError, match=r"dim_m\.sql: reads v by a cursor"):
        verify(all_models, targets, {"v": columns})


def test_a_joined_row_that_changes_its_key_leaves_null(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["left join"])
    running.batch({"orders": [order_row(1, 1, 1)], "shops": [shop_row(1, "York")]})
    running.batch({"orders": [order_row(1, 2, 1)], "shops": []})
    assert running.held == {1: {"id": 1, "amount": 1, "city": None}}
    running.batch({"orders": [], "shops": [shop_row(2, "Bath")]})
    assert running.held[1]["city"] == "Bath"


def test_a_state_merged_over_many_batches_equals_the_table(raw: Bucket) -> None:
    source_batches = MadeUp(raw, {"orders": TABLES["orders"]})
    present: dict[int, Row] = {}
    longest = 0
    for number in range(60):
        rows = [order_row((number * 7 + i * 13) % 50, number, i) for i in range(number % 5)]
        rows = list({row["order_id"]: row for row in rows}.values())
        changed = {row["order_id"] for row in rows}
        deleted = [key for key in present if key not in changed and (key + number) % 11 == 0]
        present |= {row["order_id"]: row for row in rows}
        present = {key: row for key, row in present.items() if key not in deleted}
        keys = {"orders": [{"order_id": key} for key in deleted]}
        table = source_batches.batch({"orders": rows}, deleted=keys).tables["orders"]
        state = table.state or ()
        longest = max(longest, len(state))
        if number % 20 == 0 or number == 59:
            target_rows = sorted(present.values(), key=lambda row: row["order_id"])
            assert rows_of(table, state, raw) == target_rows
    assert 1 < longest <= 7, "about log2(rows) runs"


def rows_of(table: TableBatch, state: State, raw: Bucket) -> list[Row]:
    with session() as connection:
        bind_state(connection, table, state, raw, "state")
        actual: list[Row] = connection.sql("FROM state ORDER BY ALL").to_arrow_table().to_pylist()
        return actual


@given(st.lists(st.integers(1, 1_000_000), max_size=40))
def test_deltas_are_merged_without_losing_rows(sizes: list[int]) -> None:
    def run(path: str, rows: int) -> StateDelta:
        return StateDelta(files=(File(path=path, rows=rows, bytes=1),))

    state: State = ()
    for size in sizes:
        kept, merged = mergeable_deltas((*state, run("new", size)))
        state = (*kept, run("merged", sum(each.rows for each in merged)))
        rows = [each.rows for each in state]
        assert all(later * 2 < earlier for earlier, later in pairwise(rows))
    assert sum(each.rows for each in state) == sum(sizes)
    assert mergeable_deltas(()) == ((), ())


def test_models_ignore_columns_that_they_do_not_read(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    all_models = write_models(tmp_path / "models", {"dim_t": "SELECT id, v FROM t JOIN u USING (id)"})
    target = made_target("dim_t", ("id",), id="integer!", v="integer")
    source_batches = MadeUp(raw, {})
    rows = {"t": [{"id": 1, "v": 7}], "u": [{"id": 1}]}
    loaded = None
    for columns in ({"v": "integer"}, {"v": "integer", "extra": "text"}, {"v": "integer"}):
        source_batches.tables = {
            "t": ({"id": "integer"} | columns, ("id",)),
            "u": ({"id": "integer"}, ("id",)),
        }
        manifest = source_batches.batch(rows, full=True)
        output = transform(work(all_models["dim_t"], target, manifest, loaded, raw, processed))
        loaded = Loaded(fingerprint=all_models["dim_t"].fingerprint, result=output.result)
        assert output.rows == (1 if source_batches.number == 1 else 0)


@pytest.mark.parametrize("computed", ["upper(x)", "'k'", "COALESCE(x, '')"])
def test_a_key_may_hold_a_computed_column_beside_the_sources_key(shared: Pair, computed: str) -> None:
    select = f"SELECT id, {computed} AS y FROM t"
    table = "CREATE TABLE IF NOT EXISTS fact_t (id integer NOT NULL, y text NOT NULL);"
    models = {"fact_t": f"-- key: id, y\n{select}", "schema": table}
    shared.live(
        models, ["CREATE TABLE t (id integer PRIMARY KEY, x text)", "INSERT INTO t VALUES (1, 'a')"], []
    )
    for change in ("UPDATE t SET x = 'b'", "INSERT INTO t VALUES (2, 'c')", "DELETE FROM t WHERE id = 1"):
        shared.do(change)
        shared.run()
        assert shared.house.query("SELECT id, y FROM fact_t_current ORDER BY 1") == shared.source(select)
