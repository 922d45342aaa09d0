"""Models over batches: whatever the SQL joins or adds up, the rows that go on are exact."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.columns import Column, schema_of
from pipeline.duck import quote, relation_name, session
from pipeline.errors import ModelError, ObjectDamaged, ObjectMissing
from pipeline.lake.buckets import Bucket, File, folder
from pipeline.lake.manifest import Manifest, State, StateDelta, TableBatch, mergeable_deltas
from pipeline.lake.state import bind_state
from pipeline.models.check import verify
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output, combined
from pipeline.models.target import Target
from pipeline.models.transform import transform
from pipeline.models.work import Work, splits
from tests.support import MadeUp, Row, made_target, parquet_rows, transform_all, write_models

ORDERS = {"order_id": "integer", "shop_id": "integer", "amount": "integer"}
SHOPS = {"shop_id": "integer", "city": "character varying"}
TABLES = {"orders": (ORDERS, ("order_id",)), "shops": (SHOPS, ("shop_id",))}

JOINED: dict[str, tuple[str, Target]] = {
    "left join": (
        "SELECT order_id AS id, amount, city FROM orders LEFT JOIN shops USING (shop_id)",
        made_target("fact_m", ("id",), id="integer!", amount="integer", city="character varying"),
    ),
    "filtered join": (
        "SELECT order_id AS id, city FROM orders JOIN shops USING (shop_id) WHERE amount > 2",
        made_target("fact_m", ("id",), id="integer!", city="character varying"),
    ),
    "aggregate": (
        """
        SELECT shop_id AS id, count(*) AS n, sum(amount) AS amount FROM orders
        WHERE shop_id IS NOT NULL GROUP BY shop_id
        """,
        made_target("fact_m", ("id",), id="integer!", n="bigint", amount="bigint"),
    ),
    "aggregate over a join": (
        """
        SELECT city AS id, list(order_id ORDER BY order_id)::varchar AS orders
        FROM orders JOIN shops USING (shop_id) GROUP BY city
        """,
        made_target("fact_m", ("id",), id="character varying!", orders="character varying"),
    ),
    "window": (
        """
        SELECT order_id AS id, rank() OVER (PARTITION BY shop_id ORDER BY amount, order_id) AS place
        FROM orders
        """,
        made_target("fact_m", ("id",), id="integer!", place="bigint"),
    ),
    "self-join": (
        """
        SELECT a.order_id AS id, b.amount AS before
        FROM orders AS a LEFT JOIN orders AS b ON b.order_id = a.order_id - 1
        """,
        made_target("fact_m", ("id",), id="integer!", before="integer"),
    ),
    "union": (
        """
        SELECT 'o' || order_id AS id, amount FROM orders
        UNION ALL SELECT 's' || shop_id, length(city) FROM shops
        """,
        made_target("fact_m", ("id",), id="character varying!", amount="bigint"),
    ),
    "subquery": (
        "SELECT order_id AS id, amount - (SELECT max(amount) FROM orders) AS gap FROM orders",
        made_target("fact_m", ("id",), id="integer!", gap="integer"),
    ),
    "row by row": (
        "SELECT order_id AS id, amount * 2 AS double FROM orders",
        made_target("fact_m", ("id",), id="integer!", double="integer"),
    ),
}


def work(
    model: Model, target: Target, manifest: Manifest, loaded: Loaded | None, raw: Bucket, processed: Bucket
) -> Work:
    """One model that reads no other one, over one batch."""
    return Work({model.name: model}, {model.name: target}, manifest, loaded, raw, processed)


@dataclass
class Running:
    """One model that is run batch after batch, and what a warehouse would hold of it."""

    home: Path
    sql: str
    target: Target
    present: dict[str, dict[int, Row]] = field(default_factory=lambda: {"orders": {}, "shops": {}})
    held: dict[Any, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.raw, self.processed = folder(str(self.home / "raw")), folder(str(self.home / "processed"))
        self.model = write_models(self.home / "models", {self.target.name: self.sql})[self.target.name]
        self.source = MadeUp(self.raw, TABLES)
        self.loaded: Loaded | None = None

    def batch(
        self,
        rows: Mapping[str, list[Row]],
        *,
        gone: Mapping[str, Sequence[int]] | None = None,
        whole: bool = False,
    ) -> Output:
        """Bring changed rows and keys that went, or with ``whole`` the present state of both tables."""
        keys = {name: key for name, (_, (key,)) in TABLES.items()}
        lost = {
            name: [key for key in (gone or {}).get(name, ()) if key in self.present[name]] for name in TABLES
        }
        for name in TABLES:
            for key in lost[name]:
                del self.present[name][key]
            self.present[name] |= {row[keys[name]]: row for row in rows.get(name, ())}
        manifest = self._manifest(rows, {name: lost[name] for name in lost}, whole=whole)
        output = transform(work(self.model, self.target, manifest, self.loaded, self.raw, self.processed))
        self.loaded = Loaded(fingerprint=self.model.fingerprint, result=output.result)
        if output.replaces:
            self.held.clear()
        for row in parquet_rows(self.processed, output.deleted):
            self.held.pop(row["id"], None)
        self.held |= {row["id"]: row for row in parquet_rows(self.processed, output.files)}
        assert not output.rejected
        return output

    def _manifest(
        self, rows: Mapping[str, list[Row]], lost: Mapping[str, Sequence[int]], *, whole: bool
    ) -> Manifest:
        if whole or self.loaded is None:
            given = {name: list(table.values()) for name, table in self.present.items()}
            return self.source.batch(given, full=True, reconcile=whole)
        keys = {name: key for name, (_, (key,)) in TABLES.items()}
        again = {name: {row[keys[name]] for row in changed} for name, changed in rows.items()}
        gone = {
            name: [{keys[name]: key} for key in lost[name] if key not in again.get(name, ())]
            for name in TABLES
        }
        return self.source.batch(rows, gone=gone)

    def expected(self) -> dict[Any, Row]:
        """What plain SQL on the present state says."""
        with duckdb.connect() as connection:
            for name, (types, _) in TABLES.items():
                schema = schema_of([Column(name=column, type=type_) for column, type_ in types.items()])
                connection.register(name, pa.Table.from_pylist(list(self.present[name].values()), schema))
            return {row["id"]: row for row in connection.sql(self.sql).to_arrow_table().to_pylist()}


def order_row(order_id: int, shop_id: int | None, amount: int) -> Row:
    return {"order_id": order_id, "shop_id": shop_id, "amount": amount}


def shop_row(shop_id: int, city: str | None) -> Row:
    return {"shop_id": shop_id, "city": city}


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
def test_what_a_table_holds_equals_plain_sql(
    kind: str, batches: list[tuple[dict[str, list[Row]], dict[str, list[int]], bool]]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        running = Running(Path(home), *JOINED[kind])
        for rows, gone, whole in batches:
            unique = {
                name: list({row[TABLES[name][1][0]]: row for row in changed}.values())
                for name, changed in rows.items()
            }
            running.batch(unique, gone=gone, whole=whole)
            assert running.held == running.expected()


def test_only_what_differs_goes_on(tmp_path: Path) -> None:
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


def test_a_row_that_leaves_a_filter_leaves_the_result(tmp_path: Path) -> None:
    target = made_target("fact_m", ("id",), id="integer!", amount="integer")
    for name, sql in {
        "rows": "SELECT order_id AS id, amount FROM orders WHERE amount > 2",
        "whole": "SELECT order_id AS id, amount FROM orders JOIN shops USING (shop_id) WHERE amount > 2",
    }.items():
        running = Running(tmp_path / name, sql, target)
        running.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 5)], "shops": [shop_row(1, "York")]})
        output = running.batch({"orders": [order_row(1, 1, 2)]})
        assert (output.rows, parquet_rows(running.processed, output.deleted)) == (0, [{"id": 1}])
        running.batch({"orders": [order_row(1, 1, 5)]}, gone={"orders": [2]})
        assert running.held == {1: {"id": 1, "amount": 5}}


def test_a_group_that_loses_its_only_row_leaves_the_result(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["aggregate"])
    running.batch({"orders": [order_row(1, 1, 5), order_row(2, 2, 7)], "shops": []})
    running.batch({"orders": [order_row(1, 2, 5)]})
    assert running.held == {2: {"id": 2, "n": 2, "amount": 12}}


def test_what_a_model_keeps_stays(tmp_path: Path) -> None:
    target = made_target("fact_m", ("id",), id="integer!", amount="integer")
    for name, sql in {
        "rows": "-- deletes: ignore\nSELECT order_id AS id, amount FROM orders",
        "whole": "-- deletes: ignore\nSELECT order_id AS id, max(amount) AS amount FROM orders GROUP BY 1",
    }.items():
        running = Running(tmp_path / name, sql, target)
        running.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)], "shops": []})
        running.batch({"orders": []}, gone={"orders": [1]})
        running.batch({"orders": []}, whole=True)
        assert sorted(running.held) == [1, 2]


def test_untracked_columns_change_nothing_by_themselves(tmp_path: Path) -> None:
    sql, target = JOINED["left join"]
    running = Running(tmp_path, f"-- untracked: amount\n{sql}", target)
    running.batch({"orders": [order_row(1, 1, 5)], "shops": [shop_row(1, "York")]})
    assert running.batch({"orders": [order_row(1, 1, 6)], "shops": []}).rows == 0
    assert running.batch({"orders": [], "shops": [shop_row(1, "Bath")]}).rows == 1
    assert running.held == {1: {"id": 1, "amount": 6, "city": "Bath"}}


@pytest.mark.parametrize(
    ("column", "words"),
    [("amuont", "because it is not yielded"), ("id", "because it is part of the key")],
)
def test_an_untracked_column_that_cannot_be_one_is_named(tmp_path: Path, column: str, words: str) -> None:
    known = write_models(tmp_path, {"dim_m": f"-- untracked: {column}\nSELECT id, amount FROM t"})
    target = made_target("dim_m", ("id",), id="integer!", amount="integer")
    columns = {"t": (Column(name="id", type="integer"), Column(name="amount", type="integer"))}
    with pytest.raises(ModelError, match=rf"dim_m\.sql: column {column} cannot be untracked, {words}"):
        verify(known, {"dim_m": target}, columns)


def test_columns_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    known = write_models(tmp_path, {"dim_m": "SELECT id FROM t"})
    target = made_target("dim_m", ("id",), id="integer!")
    columns = {"t": (Column(name="id", type="integer"), Column(name="ID", type="integer"))}
    with pytest.raises(
        ModelError, match=r"dim_m\.sql: reads table t, whose columns id and ID differ only by case"
    ):
        verify(known, {"dim_m": target}, columns)


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
def test_what_is_read_by_a_cursor_is_read_row_by_row(tmp_path: Path, sql: str, fits: bool) -> None:
    known = write_models(tmp_path, {"dim_m": f"-- cursor: v.changed_at 1 hour\n{sql}"})
    targets = {"dim_m": made_target("dim_m", ("id",), id="integer!", n="integer")}
    columns = (Column(name="id", type="integer"), Column(name="n", type="integer"))
    if fits:
        verify(known, targets, {"v": columns, "t": columns})
    else:
        with pytest.raises(
            ModelError, match=r"dim_m\.sql: reads v by a cursor, .* each row has to come from"
        ):
            verify(known, targets, {"v": columns, "t": columns})


def test_a_model_over_one_that_reads_by_a_cursor_is_held_to_the_same(tmp_path: Path) -> None:
    known = write_models(
        tmp_path,
        {
            "fact_v": "-- cursor: v.changed_at 1 hour\nSELECT id, n FROM v",
            "dim_m": "SELECT n AS id, count(*) AS n FROM fact_v GROUP BY n",
        },
    )
    targets = {name: made_target(name, ("id",), id="integer!", n="bigint") for name in known}
    columns = (Column(name="id", type="integer"), Column(name="n", type="integer"))
    with pytest.raises(ModelError, match=r"dim_m\.sql: reads v by a cursor"):
        verify(known, targets, {"v": columns})


def test_a_partner_that_moves_away_leaves_null(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["left join"])
    running.batch({"orders": [order_row(1, 1, 1)], "shops": [shop_row(1, "York")]})
    running.batch({"orders": [order_row(1, 2, 1)], "shops": []})
    assert running.held == {1: {"id": 1, "amount": 1, "city": None}}
    running.batch({"orders": [], "shops": [shop_row(2, "Bath")]})
    assert running.held[1]["city"] == "Bath"


# The state that is carried


def test_a_state_carried_over_many_batches_is_the_table(raw: Bucket) -> None:
    made = MadeUp(raw, {"orders": TABLES["orders"]})
    present: dict[int, Row] = {}
    longest = 0
    for number in range(60):
        rows = [order_row((number * 7 + i * 13) % 50, number, i) for i in range(number % 5)]
        rows = list({row["order_id"]: row for row in rows}.values())
        changed = {row["order_id"] for row in rows}
        gone = [key for key in present if key not in changed and (key + number) % 11 == 0]
        present |= {row["order_id"]: row for row in rows}
        present = {key: row for key, row in present.items() if key not in gone}
        keys = {"orders": [{"order_id": key} for key in gone]}
        table = made.batch({"orders": rows}, gone=keys).tables["orders"]
        state = table.state or ()
        longest = max(longest, len(state))
        if number % 20 == 0 or number == 59:
            wanted = sorted(present.values(), key=lambda row: row["order_id"])
            assert rows_of(table, state, raw) == wanted
    assert 1 < longest <= 7, "about log2(rows) runs"


def rows_of(table: TableBatch, state: State, raw: Bucket) -> list[Row]:
    with session() as connection:
        bind_state(connection, table, state, raw)
        name = quote(relation_name(table.table))
        found: list[Row] = connection.sql(f"FROM {name} ORDER BY ALL").to_arrow_table().to_pylist()
        return found


@given(st.lists(st.integers(1, 1_000_000), max_size=40))
def test_runs_stay_few_and_none_is_lost(sizes: list[int]) -> None:
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


def test_a_column_that_comes_or_goes_does_not_matter_to_others(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id, v FROM t JOIN u USING (id)"})
    target = made_target("dim_t", ("id",), id="integer!", v="integer")
    made = MadeUp(raw, {})
    rows = {"t": [{"id": 1, "v": 7}], "u": [{"id": 1}]}
    loaded = None
    for columns in ({"v": "integer"}, {"v": "integer", "extra": "text"}, {"v": "integer"}):
        made.tables = {"t": ({"id": "integer"} | columns, ("id",)), "u": ({"id": "integer"}, ("id",))}
        manifest = made.batch(rows, full=True)
        output = transform(work(known["dim_t"], target, manifest, loaded, raw, processed))
        loaded = Loaded(fingerprint=known["dim_t"].fingerprint, result=output.result)
        assert output.rows == (1 if made.number == 1 else 0)


# Keys that more than one row has


def key_run(
    home: Path, batches: list[list[Row]], sql: str = "SELECT v AS id, w FROM t"
) -> tuple[list[Row], list[tuple[Any, str]]]:
    """The last batch's good rows, and keys and reasons of those set aside."""
    output = None
    raw, processed = folder(str(home / "raw")), folder(str(home / "processed"))
    known = write_models(home / "models", {"dim_t": sql})
    target = made_target("dim_t", ("id",), id="integer!", w="character varying!")
    made = MadeUp(
        raw,
        {
            "t": ({"n": "integer", "v": "integer", "w": "character varying"}, ("n",)),
            "u": ({"k": "integer"}, ("k",)),
        },
    )
    loaded = None
    for rows in batches:
        manifest = made.batch({"t": rows, "u": [{"k": 1}]})
        output = transform(work(known["dim_t"], target, manifest, loaded, raw, processed))
        loaded = Loaded(fingerprint=known["dim_t"].fingerprint, result=output.result)
    assert output is not None
    rejected = parquet_rows(processed, output.rejected)
    good = sorted(parquet_rows(processed, output.files), key=lambda row: row["id"])
    return good, sorted((json.loads(row["key"])["id"], row["reason"]) for row in rejected)


def test_a_key_of_two_rows_is_set_aside_once_and_the_others_go_on(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"n": 1, "v": 10, "w": "a"},
        {"n": 2, "v": 20, "w": "b"},
        {"n": 3, "v": 10, "w": "c"},
        {"n": 4, "v": 30, "w": None},
    ]
    good, bad = key_run(tmp_path, [rows])
    assert good == [{"id": 20, "w": "b"}]
    assert bad == [("10", "more than one row has this key"), ("30", "w is missing (NULL)")]


def test_equal_rows_of_one_key_are_two_rows_too(tmp_path: Path) -> None:
    good, bad = key_run(tmp_path, [[{"n": n, "v": 10, "w": "a"} for n in (1, 2)]])
    assert (good, bad) == ([], [("10", "more than one row has this key")])


JOIN_T = "SELECT t.v AS id, t.w FROM t CROSS JOIN u"


def test_a_key_that_gets_a_second_row_later_is_set_aside(tmp_path: Path) -> None:
    batches = [[{"n": 1, "v": 10, "w": "a"}], [{"n": 2, "v": 10, "w": "b"}]]
    assert key_run(tmp_path, batches, JOIN_T) == ([], [("10", "more than one row has this key")])


def test_a_key_that_loses_its_second_row_later_goes_on(tmp_path: Path) -> None:
    batches = [[{"n": 1, "v": 10, "w": "a"}, {"n": 2, "v": 10, "w": "b"}], [{"n": 2, "v": 11, "w": "b"}]]
    assert key_run(tmp_path, batches, JOIN_T) == ([{"id": 10, "w": "a"}, {"id": 11, "w": "b"}], [])


# A batch in splits


PIECES = st.lists(
    st.lists(st.tuples(st.none() | st.integers(1, 6), st.none() | st.sampled_from("abc")), max_size=4),
    min_size=2,
    max_size=4,
)


@pytest.mark.parametrize("key", ["n", "v"], ids=["the source's key", "another key"])
@example(files=[[(1, "a"), (2, "b")], [(1, "b"), (3, None)]])  # a key in two splits
@given(files=PIECES)
def test_a_batch_in_splits_gives_what_it_gives_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, key: str, files: list[list[tuple[int | None, str | None]]]
) -> None:
    home = tmp_path_factory.mktemp("splits")
    raw, processed = folder(str(home / "raw")), folder(str(home / "processed"))
    model = write_models(home / "models", {"dim_t": f"SELECT {key} AS id, w FROM t"})["dim_t"]
    target = made_target("dim_t", ("id",), id="integer!", w="character varying!")
    made = MadeUp(raw, {"t": ({"n": "integer", "v": "integer", "w": "character varying"}, ("n",))})
    landed = [
        made.batch(
            {"t": [{"n": 10 * number + place, "v": v, "w": w} for place, (v, w) in enumerate(rows)]},
            full=True,
        )
        for number, rows in enumerate(files)
    ]
    table = landed[0].tables["t"]
    together = tuple(file for one in landed for file in one.tables["t"].files)
    batch = landed[0].model_copy(update={"tables": {"t": table.model_copy(update={"files": together})}})

    def over(manifest: Manifest) -> Work:
        return work(model, target, manifest, None, raw, processed)

    def shown(output: Output) -> tuple[list[Row], list[Row]]:
        good, bad = parquet_rows(processed, output.files), parquet_rows(processed, output.rejected)
        return sorted(good, key=lambda row: row["id"]), sorted(bad, key=lambda row: row["key"])

    whole = transform(over(batch))
    cut = splits(over(batch))
    assert len(cut) == (max(1, len(together)) if key == "n" else 1), "other keys are looked at all together"
    assert shown(combined([transform(over(piece)) for piece in cut])) == shown(whole)


def test_models_that_need_all_rows_are_not_cut(tmp_path: Path) -> None:
    raw = folder(str(tmp_path))
    made = MadeUp(raw, TABLES)
    one, two = (
        made.batch({"orders": [{"order_id": n}], "shops": [{"shop_id": n}]}, full=True) for n in (1, 2)
    )
    both = {
        name: table.model_copy(update={"files": table.files + one.tables[name].files})
        for name, table in two.tables.items()
    }
    batch = two.model_copy(update={"tables": both})
    target = made_target("dim_t", ("order_id",), order_id="integer")
    for sql, number in (
        ("SELECT order_id FROM orders", 2),
        ("SELECT order_id FROM orders WHERE amount > 1", 2),
        ("SELECT max(order_id) AS order_id FROM orders", 1),
        ("SELECT order_id FROM orders JOIN shops USING (shop_id)", 1),
        ("SELECT amount AS order_id FROM orders", 1),
    ):
        model = write_models(tmp_path / "models", {"dim_t": sql})["dim_t"]
        assert len(splits(work(model, target, batch, None, raw, raw))) == number


# Models over models


CHAIN = {
    "fact_orders": "-- key: id\nSELECT order_id AS id, amount, shop_id FROM orders",
    "dim_amounts": "SELECT DISTINCT amount FROM fact_orders",
}
CHAIN_TARGETS = {
    "fact_orders": made_target("fact_orders", ("id",), id="integer!", amount="integer!", shop_id="integer"),
    "dim_amounts": made_target("dim_amounts", ("amount",), amount="integer!"),
}


def run_chain(
    known: dict[str, Model],
    manifest: Manifest,
    loaded: Mapping[str, Loaded],
    raw: Bucket,
    processed: Bucket,
) -> tuple[dict[str, Output], dict[str, Loaded]]:
    """The outputs of a batch, and what the warehouse then was computed with."""
    outputs = transform_all(known, CHAIN_TARGETS, manifest, loaded, raw, processed)
    now = {
        name: Loaded(fingerprint=output.fingerprint, result=output.result)
        for name, output in outputs.items()
        if output.fingerprint
    }
    return outputs, {**loaded, **now}


def amounts(output: Output, processed: Bucket) -> tuple[list[int], list[int]]:
    """The amounts that came and that went."""
    come, gone = (
        sorted(row["amount"] for row in parquet_rows(processed, files))
        for files in (output.files, output.deleted)
    )
    return come, gone


def test_a_model_over_a_model_sees_all_its_rows(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    known = write_models(tmp_path, CHAIN)
    made = MadeUp(raw, {"orders": TABLES["orders"]})
    rows = [order_row(1, 1, 5), order_row(2, 1, 6), order_row(3, 1, 6)]
    first, loaded = run_chain(known, made.batch({"orders": rows}), {}, raw, processed)
    assert amounts(first["dim_amounts"], processed) == ([5, 6], [])
    assert all(output.complete for output in first.values())
    second, loaded = run_chain(known, made.batch({"orders": [order_row(1, 1, 7)]}), loaded, raw, processed)
    assert amounts(second["dim_amounts"], processed) == ([7], [5])
    batch = made.batch({"orders": [order_row(2, 1, 7)]})
    third, loaded = run_chain(known, batch, loaded, raw, processed)
    assert amounts(third["dim_amounts"], processed) == ([], []), "another order still has that amount"
    fourth, _ = run_chain(known, made.batch({}), loaded, raw, processed)
    assert [output.fingerprint for output in fourth.values()] == ["", ""], "nothing to do"


def test_a_model_that_reads_changes_keeps_what_it_had(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    known = write_models(tmp_path, CHAIN | {"dim_amounts": f"-- reads: changes\n{CHAIN['dim_amounts']}"})
    made = MadeUp(raw, {"orders": TABLES["orders"]})
    first, loaded = run_chain(
        known, made.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)]}), {}, raw, processed
    )
    assert amounts(first["dim_amounts"], processed) == ([5, 6], [])
    second, _ = run_chain(known, made.batch({"orders": [order_row(1, 1, 7)]}), loaded, raw, processed)
    assert amounts(second["dim_amounts"], processed) == ([7], [])
    assert (second["dim_amounts"].complete, second["dim_amounts"].replaces) == (False, False)


def test_a_model_over_a_model_sees_values_as_its_table_takes_them(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(
        tmp_path,
        CHAIN | {"fact_orders": "-- key: id\nSELECT order_id AS id, amount || '.0' AS amount FROM orders"},
    )
    made = MadeUp(raw, {"orders": TABLES["orders"]})
    outputs, _ = run_chain(known, made.batch({"orders": [order_row(1, 1, 5)]}), {}, raw, processed)
    assert amounts(outputs["dim_amounts"], processed) == ([5], [])


def test_a_new_model_over_an_old_one_sees_all_its_rows(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    only_fact = write_models(tmp_path, {"fact_orders": CHAIN["fact_orders"]})
    made = MadeUp(raw, {"orders": TABLES["orders"]})
    batch = made.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)]})
    _, loaded = run_chain(only_fact, batch, {}, raw, processed)
    known = write_models(tmp_path, CHAIN)
    outputs, _ = run_chain(known, made.batch({}), loaded, raw, processed)
    assert amounts(outputs["dim_amounts"], processed) == ([5, 6], []), "from the state that is carried"
    assert outputs["dim_amounts"].complete
    assert not outputs["fact_orders"].fingerprint


@pytest.mark.parametrize("kind", ["row by row", "left join", "aggregate"])
def test_a_changed_model_gives_all_its_rows_again(tmp_path: Path, kind: str) -> None:
    running = Running(tmp_path, *JOINED[kind])
    running.batch({"orders": [order_row(1, 1, 1), order_row(2, 2, 2)], "shops": [shop_row(1, "York")]})
    running.loaded = Loaded(fingerprint="of another text")
    output = running.batch({"orders": [order_row(3, 3, 3)], "shops": []})
    assert (output.complete, output.replaces, output.rows) == (True, True, 3)
    assert running.held == running.expected()


def test_the_batchs_moment_is_a_value_to_read(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    known = write_models(
        tmp_path, {"dim_t": "SELECT id, CAST(moment AS VARCHAR) AS at FROM t, reference.batch"}
    )
    target = made_target("dim_t", ("id",), id="integer!", at="text")
    made = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    loaded = None
    for rows in ([{"id": 1}], []):
        manifest = made.batch({"t": rows})
        output = transform(work(known["dim_t"], target, manifest, loaded, raw, processed))
        loaded = Loaded(fingerprint=known["dim_t"].fingerprint, result=output.result)
        (row,) = parquet_rows(processed, output.files)
        assert row["at"] == f"{manifest.snapshot_at:%Y-%m-%d %H:%M:%S}+00"


def test_a_model_of_reference_tables_only(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    known = write_models(
        tmp_path, {"dim_currency": "SELECT code, name FROM iso_4217 WHERE code IN ('GBP', 'USD', 'EUR')"}
    )
    target = made_target("dim_currency", ("code",), code="character varying!", name="character varying!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({})
    output = transform(work(known["dim_currency"], target, manifest, None, raw, processed))
    names = {row["code"]: row["name"] for row in parquet_rows(processed, output.files)}
    assert names == {"GBP": "Pound Sterling", "USD": "US Dollar", "EUR": "Euro"}


def test_an_empty_source_gives_no_rows_and_no_error(tmp_path: Path) -> None:
    for number, case in enumerate(JOINED.values()):
        output = Running(tmp_path / str(number), *case).batch({"orders": [], "shops": []})
        assert (output.rows, output.rejected_rows, output.files) == (0, 0, ())


def test_a_fault_that_only_rows_show_names_file_and_words(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(tmp_path, {"dim_t": "SELECT id,\n    v::integer AS v\nFROM t;  -- the end\n"})
    target = made_target("dim_t", ("id",), id="integer!", v="integer")
    made = MadeUp(raw, {"t": ({"id": "integer", "v": "character varying"}, ("id",))})
    fine = transform(
        work(known["dim_t"], target, made.batch({"t": [{"id": 1, "v": "7"}]}), None, raw, processed)
    )
    assert fine.rows == 1
    bad = made.batch({"t": [{"id": 2, "v": "seven"}]})
    with pytest.raises(ModelError, match=r"dim_t\.sql:1: .* a value of v does not fit INT32") as caught:
        transform(work(known["dim_t"], target, bad, None, raw, processed))
    assert "\n" not in str(caught.value)


def test_all_that_a_batch_makes_lies_below_its_name(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["left join"])
    output = running.batch({"orders": [order_row(1, 1, 1)], "shops": []})
    (file,) = output.files
    assert file.path.startswith("fact_m/batch=20240101T000100-0001/")
    assert (file.rows, file.path.endswith(".parquet")) == (1, True)


@pytest.mark.parametrize("bucket", ["raw", "processed"])
def test_a_store_that_fails_is_not_the_models_fault(
    raw: Bucket, processed: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id + 0 AS id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    made = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    first = transform(work(known["dim_t"], target, made.batch({"t": [{"id": 1}]}), None, raw, processed))
    loaded = Loaded(fingerprint=known["dim_t"].fingerprint, result=first.result)
    manifest = made.batch({"t": [{"id": 2}]})
    real = Bucket.dataset

    def cut_off(self: Bucket, files: Any, schema: pa.Schema | None = None) -> Any:
        found = real(self, files, schema)
        if self != {"raw": raw, "processed": processed}[bucket]:
            return found

        def fail() -> pa.RecordBatch:
            raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation")

        return pa.RecordBatchReader.from_batches(found.schema, (fail() for _ in range(1)))

    monkeypatch.setattr(Bucket, "dataset", cut_off)
    with pytest.raises(Exception, match="NETWORK_CONNECTION") as caught:
        transform(work(known["dim_t"], target, manifest, loaded, raw, processed))
    assert not isinstance(caught.value, ModelError), (
        "a fault of the model is not tried again, one of the store is"
    )


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_raw_object_that_is_gone_is_named(
    raw: Bucket, processed: Bucket, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Wherever that is seen first: in S3 only when DuckDB reads it."""
    if kind == "s3":
        raw = request.getfixturevalue("s3_bucket")("raw")
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    (file,) = manifest.tables["t"].files
    raw.filesystem.delete_file(f"{raw.root}/{file.path}")
    with pytest.raises(ObjectMissing, match=f"^{raw.uri}: {file.path} does not exist"):
        transform(work(known["dim_t"], target, manifest, None, raw, processed))


def test_a_damaged_raw_object_is_named_without_a_traceback(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    (file,) = manifest.tables["t"].files
    path = Path(raw.root, file.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(20) + whole[24:])  # the end, which says what is in it, stays
    line = f"^{raw.uri}: {file.path} is not what was written: the checksum of its MiB number 1 differs; "
    with pytest.raises(ObjectDamaged, match=line) as caught:
        transform(work(known["dim_t"], target, manifest, None, raw, processed))
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_models_that_run_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    """Tasks are threads of one process, and each has tables of the same names."""
    number = 8
    runs = [Running(tmp_path / str(i), *JOINED["left join"]) for i in range(number)]
    batches = [
        {"orders": [order_row(n, 1, n + i) for n in range(20)], "shops": [shop_row(1, f"city {i}")]}
        for i in range(number)
    ]
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(lambda run, rows: run.batch(rows), runs, batches))
        list(pool.map(lambda run: run.batch({"orders": [], "shops": [shop_row(1, "York")]}), runs))
    assert all(run.held == run.expected() for run in runs)
    assert all(row["amount"] == key + i for i, run in enumerate(runs) for key, row in run.held.items())


def test_a_large_json_value_needs_memory_that_a_setting_gives(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    """DuckDB takes twelve times the value's size; where it may not, the line names the setting."""
    known = write_models(
        tmp_path / "models",
        {"fact_doc": "-- key: id\nSELECT id, body, json_extract_string(body, '$.a') AS a FROM doc"},
    )
    targets = {"fact_doc": made_target("fact_doc", ("id",), id="integer", body="jsonb", a="text")}
    made = MadeUp(raw, {"doc": ({"id": "integer", "body": "jsonb"}, ("id",))})
    body = '{"a": "x", "b": "' + "y" * 60_000_000 + '"}'
    batch = made.batch({"doc": [{"id": 1, "body": body}]})
    with session() as connection:
        limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
        connection.execute("SET memory_limit = '256MB'")
        try:
            with pytest.raises(
                OSError, match=r"Out of Memory .*used\); raise TOTESYS_DUCKDB_MEMORY \(now 50%\)"
            ):
                transform_all(known, targets, batch, {}, raw, processed)
        finally:
            connection.execute(f"SET memory_limit = '{limit}'")
    (row,) = parquet_rows(
        processed, transform_all(known, targets, batch, {}, raw, processed)["fact_doc"].files
    )
    assert (row["body"], row["a"]) == (body, "x")
