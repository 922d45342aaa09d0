"""Models over batches: whatever the SQL joins or adds up, the rows that go on are exact."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
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

from pipeline import models, source
from pipeline.batches import Manifest, Run, TableBatch, mergeable_runs
from pipeline.buckets import Bucket, File, folder
from pipeline.errors import ModelError, ObjectMissing
from pipeline.models import Model
from pipeline.source import Column
from pipeline.transform import Output, Work, bind, joined, pieces, transform
from pipeline.warehouse import Target
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
        SELECT city AS id, list_sort(list(order_id))::varchar AS orders
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
        self.loaded: str | None = None

    def batch(self, rows: Mapping[str, list[Row]], *, whole: bool = False) -> Output:
        """Bring changed rows, or with ``whole`` the present state of both tables."""
        keys = {name: key for name, (_, (key,)) in TABLES.items()}
        for name, changed in rows.items():
            self.present[name] |= {row[keys[name]]: row for row in changed}
        given = {name: list(table.values()) for name, table in self.present.items()}
        manifest = self.source.batch(
            given if whole or self.loaded is None else rows, full=whole, reconcile=whole
        )
        output = transform(Work(self.model, self.target, manifest, {}, self.loaded, self.raw, self.processed))
        self.loaded = self.model.fingerprint
        if output.complete:
            self.held.clear()
        self.held |= {row["id"]: row for row in parquet_rows(self.processed, output.files)}
        assert not output.rejected
        return output

    def expected(self) -> dict[Any, Row]:
        """What plain SQL on the present state says."""
        with duckdb.connect() as connection:
            for name, (types, _) in TABLES.items():
                schema = source.schema_of(
                    [Column(name=column, type=type_) for column, type_ in types.items()]
                )
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
some_batches = st.lists(st.tuples(a_batch, st.sampled_from([False] * 6 + [True])), min_size=2, max_size=6)


@pytest.mark.parametrize("kind", JOINED)
@given(batches=some_batches)
def test_rows_of_changed_keys_equal_plain_sql(
    kind: str, batches: list[tuple[dict[str, list[Row]], bool]]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        running = Running(Path(home), *JOINED[kind])
        for rows, whole in batches:
            unique = {
                name: list({row[TABLES[name][1][0]]: row for row in changed}.values())
                for name, changed in rows.items()
            }
            if whole:  # what the source no longer has is seen by reading all of it
                for table in running.present.values():
                    table.pop(1, None)
            running.batch(unique, whole=whole)
            expected = running.expected()
            assert {key: row for key, row in running.held.items() if key in expected} == expected


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
        present |= {row["order_id"]: row for row in rows}
        table = made.batch({"orders": rows}).tables["orders"]
        state = table.state or ()
        longest = max(longest, len(state))
        if number % 20 == 0 or number == 59:
            wanted = sorted(present.values(), key=lambda row: row["order_id"])
            assert rows_of(table, state, raw) == wanted
    assert 1 < longest <= 7, "about log2(rows) runs"


def rows_of(table: TableBatch, runs: tuple[Run, ...], raw: Bucket) -> list[Row]:
    with duckdb.connect() as connection:
        bind(connection, table, runs, raw)
        found: list[Row] = connection.sql(f"FROM {table.table} ORDER BY ALL").to_arrow_table().to_pylist()
        return found


@given(st.lists(st.integers(1, 1_000_000), max_size=40))
def test_runs_stay_few_and_none_is_lost(sizes: list[int]) -> None:
    state: tuple[Run, ...] = ()
    for size in sizes:
        kept, merged = mergeable_runs((*state, (File(path="new", rows=size, bytes=1),)))
        total = sum(file.rows for run in merged for file in run)
        state = (*kept, (File(path="merged", rows=total, bytes=1),))
        rows = [run[0].rows for run in state]
        assert all(later * 2 < earlier for earlier, later in pairwise(rows))
    assert sum(run[0].rows for run in state) == sum(sizes)
    assert mergeable_runs(()) == ((), ())


def test_a_column_that_comes_or_goes_does_not_matter_to_others(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id, v FROM t JOIN u USING (id)"})
    target = made_target("dim_t", ("id",), id="integer!", v="integer")
    made = MadeUp(raw, {})
    rows = {"t": [{"id": 1, "v": 7}], "u": [{"id": 1}]}
    for columns in ({"v": "integer"}, {"v": "integer", "extra": "text"}, {"v": "integer"}):
        made.tables = {"t": ({"id": "integer"} | columns, ("id",)), "u": ({"id": "integer"}, ("id",))}
        manifest = made.batch(rows, full=True)
        loaded = None if made.number == 1 else known["dim_t"].fingerprint
        output = transform(Work(known["dim_t"], target, manifest, {}, loaded, raw, processed))
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
        output = transform(
            Work(known["dim_t"], target, made.batch({"t": rows, "u": [{"k": 1}]}), {}, loaded, raw, processed)
        )
        loaded = known["dim_t"].fingerprint
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


# A batch in pieces


PIECES = st.lists(
    st.lists(st.tuples(st.none() | st.integers(1, 6), st.none() | st.sampled_from("abc")), max_size=4),
    min_size=2,
    max_size=4,
)


@pytest.mark.parametrize("key", ["n", "v"], ids=["the source's key", "another key"])
@example(files=[[(1, "a"), (2, "b")], [(1, "b"), (3, None)]])  # a key in two pieces
@given(files=PIECES)
def test_a_batch_in_pieces_gives_what_it_gives_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, key: str, files: list[list[tuple[int | None, str | None]]]
) -> None:
    home = tmp_path_factory.mktemp("pieces")
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

    def work(manifest: Manifest) -> Work:
        return Work(model, target, manifest, {}, None, raw, processed)

    def shown(output: Output) -> tuple[list[Row], list[Row]]:
        good, bad = parquet_rows(processed, output.files), parquet_rows(processed, output.rejected)
        return sorted(good, key=lambda row: row["id"]), sorted(bad, key=lambda row: row["key"])

    whole = transform(work(batch))
    cut = [transform(work(piece)) for piece in pieces(model, batch)]
    assert len(cut) == max(1, len(together))
    assert shown(joined(work(batch), cut) or whole) == shown(whole)
    if key == "n":
        assert joined(work(batch), cut) is not None, "keys of the source's own are not looked at again"


def test_models_that_need_all_rows_are_not_cut(tmp_path: Path) -> None:
    raw = folder(str(tmp_path))
    made = MadeUp(raw, TABLES)
    one, two = (made.batch({"orders": [{"order_id": n}], "shops": [{"shop_id": n}]}) for n in (1, 2))
    both = {
        name: table.model_copy(update={"files": table.files + one.tables[name].files})
        for name, table in two.tables.items()
    }
    batch = two.model_copy(update={"tables": both})
    for sql, number in (("SELECT order_id FROM orders", 2), ("SELECT count(*) AS order_id FROM orders", 1)):
        model = write_models(tmp_path / str(number), {"dim_t": sql})["dim_t"]
        assert len(pieces(model, batch)) == number


# Models over models


CHAIN = {
    "fact_orders": "-- key: id\nSELECT order_id AS id, amount, shop_id FROM orders",
    "dim_amounts": "SELECT DISTINCT amount FROM fact_orders",
}
CHAIN_TARGETS = {
    "fact_orders": made_target("fact_orders", ("id",), id="integer!", amount="integer!", shop_id="integer"),
    "dim_amounts": made_target("dim_amounts", ("amount",), amount="integer!"),
}


def amounts(output: Output, processed: Bucket) -> list[int]:
    return sorted(row["amount"] for row in parquet_rows(processed, output.files))


def run_chain(
    known: dict[str, Model], manifest: Manifest, loaded: Mapping[str, str], raw: Bucket, processed: Bucket
) -> dict[str, Output]:
    return transform_all(known, CHAIN_TARGETS, manifest, loaded, raw, processed)


def test_a_model_over_a_model_sees_its_rows_of_the_batch(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(tmp_path, CHAIN)
    loaded = {name: model.fingerprint for name, model in known.items()}
    made = MadeUp(raw, {"orders": TABLES["orders"]})
    first = run_chain(
        known, made.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)]}), {}, raw, processed
    )
    assert amounts(first["dim_amounts"], processed) == [5, 6]
    assert all(output.complete for output in first.values())
    second = run_chain(known, made.batch({"orders": [order_row(1, 1, 7)]}), loaded, raw, processed)
    assert amounts(second["dim_amounts"], processed) == [7]
    assert not any(output.complete for output in second.values())
    third = run_chain(known, made.batch({}), loaded, raw, processed)
    assert [output.fingerprint for output in third.values()] == ["", ""], "nothing to do"


def test_a_new_model_over_an_old_one_sees_all_its_rows(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    rows = {"orders": [order_row(1, 1, 5), order_row(2, 1, 6)]}
    only_fact = write_models(tmp_path, {"fact_orders": CHAIN["fact_orders"]})
    made = MadeUp(raw, TABLES)
    run_chain(only_fact, made.batch(rows), {}, raw, processed)
    known = write_models(tmp_path, CHAIN)
    assert models.affected(known, ["dim_amounts"]).keys() == {"orders"}
    loaded = {"fact_orders": known["fact_orders"].fingerprint}
    outputs = run_chain(known, made.batch(rows, full=True), loaded, raw, processed)
    assert amounts(outputs["dim_amounts"], processed) == [5, 6]
    assert outputs["dim_amounts"].complete


def test_a_changed_model_gives_all_its_rows_again(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["left join"])
    running.batch({"orders": [order_row(1, 1, 1), order_row(2, 1, 2)], "shops": [shop_row(1, "York")]})
    running.loaded = "of another text"
    output = running.batch({"orders": [order_row(3, 1, 3)], "shops": []})
    assert (output.complete, output.rows) == (True, 3)


def test_a_model_of_reference_tables_only(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    known = write_models(
        tmp_path, {"dim_currency": "SELECT code, name FROM iso_4217 WHERE code IN ('GBP', 'USD', 'EUR')"}
    )
    target = made_target("dim_currency", ("code",), code="character varying!", name="character varying!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({})
    output = transform(Work(known["dim_currency"], target, manifest, {}, None, raw, processed))
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
        Work(known["dim_t"], target, made.batch({"t": [{"id": 1, "v": "7"}]}), {}, None, raw, processed)
    )
    assert fine.rows == 1
    bad = made.batch({"t": [{"id": 2, "v": "seven"}]})
    with pytest.raises(ModelError, match=r"dim_t\.sql:1: .* a value of v does not fit INT32") as caught:
        transform(Work(known["dim_t"], target, bad, {}, None, raw, processed))
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
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
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
        transform(Work(known["dim_t"], target, manifest, {}, None, raw, processed))
    assert not isinstance(caught.value, ModelError), (
        "a fault of the model is not tried again, one of the store is"
    )


def test_a_raw_object_that_is_gone_is_named(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    (file,) = manifest.tables["t"].files
    Path(raw.root, file.path).unlink()
    with pytest.raises(ObjectMissing, match=file.path):
        transform(Work(known["dim_t"], target, manifest, {}, None, raw, processed))


def test_a_raw_object_that_cannot_be_read_is_told_without_a_traceback(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    known = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    (file,) = manifest.tables["t"].files
    path = Path(raw.root, file.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(20) + whole[24:])  # the end, which says what is in it, stays
    with pytest.raises(OSError, match="reading the stream") as caught:
        transform(Work(known["dim_t"], target, manifest, {}, None, raw, processed))
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
