"""Models that read other models, the batch's moment or reference tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output
from pipeline.models.transform import transform
from tests.house import transform_all
from tests.made_up import MadeUp, made_target
from tests.models.orders import JOINED, TABLES, Running, order_row, shop_row, work
from tests.pair import Pair
from tests.support import parquet_rows, write_models

CHAIN = {
    "fact_orders": "-- key: id\nSELECT order_id AS id, amount, shop_id FROM orders",
    "dim_amounts": "SELECT DISTINCT amount FROM fact_orders",
}


CHAIN_TARGETS = {
    "fact_orders": made_target("fact_orders", ("id",), id="integer!", amount="integer!", shop_id="integer"),
    "dim_amounts": made_target("dim_amounts", ("amount",), amount="integer!"),
}


def run_chain(
    all_models: dict[str, Model],
    manifest: Manifest,
    loaded: Mapping[str, Loaded],
    raw: Bucket,
    processed: Bucket,
) -> tuple[dict[str, Output], dict[str, Loaded]]:
    """The outputs of a batch, and the models that tables were computed with after it."""
    outputs = transform_all(all_models, CHAIN_TARGETS, manifest, loaded, raw, processed)
    now = {
        name: Loaded(fingerprint=output.fingerprint, result=output.result)
        for name, output in outputs.items()
        if output.fingerprint
    }
    return outputs, {**loaded, **now}


def amounts(output: Output, processed: Bucket) -> tuple[list[int], list[int]]:
    """The amounts that were added and deleted."""
    come, gone = (
        sorted(row["amount"] for row in parquet_rows(processed, files))
        for files in (output.files, output.deleted)
    )
    return come, gone


def test_a_model_reads_all_rows_of_another_model(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    all_models = write_models(tmp_path, CHAIN)
    batches = MadeUp(raw, {"orders": TABLES["orders"]})
    rows = [order_row(1, 1, 5), order_row(2, 1, 6), order_row(3, 1, 6)]
    first, loaded = run_chain(all_models, batches.batch({"orders": rows}), {}, raw, processed)
    assert amounts(first["dim_amounts"], processed) == ([5, 6], [])
    assert all(output.complete for output in first.values())
    second, loaded = run_chain(
        all_models, batches.batch({"orders": [order_row(1, 1, 7)]}), loaded, raw, processed
    )
    assert amounts(second["dim_amounts"], processed) == ([7], [5])
    batch = batches.batch({"orders": [order_row(2, 1, 7)]})
    third, loaded = run_chain(all_models, batch, loaded, raw, processed)
    assert amounts(third["dim_amounts"], processed) == ([], []), "another order still has that amount"
    fourth, _ = run_chain(all_models, batches.batch({}), loaded, raw, processed)
    assert [output.fingerprint for output in fourth.values()] == ["", ""], "nothing to do"


def test_a_model_that_reads_changes_keeps_its_earlier_rows(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    all_models = write_models(tmp_path, CHAIN | {"dim_amounts": f"-- reads: changes\n{CHAIN['dim_amounts']}"})
    batches = MadeUp(raw, {"orders": TABLES["orders"]})
    first, loaded = run_chain(
        all_models, batches.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)]}), {}, raw, processed
    )
    assert amounts(first["dim_amounts"], processed) == ([5, 6], [])
    second, _ = run_chain(all_models, batches.batch({"orders": [order_row(1, 1, 7)]}), loaded, raw, processed)
    assert amounts(second["dim_amounts"], processed) == ([7], [])
    assert (second["dim_amounts"].complete, second["dim_amounts"].replaces) == (False, False)


def test_a_model_reads_another_models_values_as_its_table_stores_them(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    all_models = write_models(
        tmp_path,
        CHAIN | {"fact_orders": "-- key: id\nSELECT order_id AS id, amount || '.0' AS amount FROM orders"},
    )
    batches = MadeUp(raw, {"orders": TABLES["orders"]})
    outputs, _ = run_chain(all_models, batches.batch({"orders": [order_row(1, 1, 5)]}), {}, raw, processed)
    assert amounts(outputs["dim_amounts"], processed) == ([5], [])


def test_a_new_model_reads_all_rows_of_an_existing_one(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    only_fact = write_models(tmp_path, {"fact_orders": CHAIN["fact_orders"]})
    batches = MadeUp(raw, {"orders": TABLES["orders"]})
    batch = batches.batch({"orders": [order_row(1, 1, 5), order_row(2, 1, 6)]})
    _, loaded = run_chain(only_fact, batch, {}, raw, processed)
    all_models = write_models(tmp_path, CHAIN)
    outputs, _ = run_chain(all_models, batches.batch({}), loaded, raw, processed)
    assert amounts(outputs["dim_amounts"], processed) == ([5, 6], []), "from the state that is carried"
    assert outputs["dim_amounts"].complete
    assert not outputs["fact_orders"].fingerprint


@pytest.mark.parametrize("kind", ["row by row", "left join", "aggregate"])
def test_a_changed_model_yields_all_its_rows(tmp_path: Path, kind: str) -> None:
    running = Running(tmp_path, *JOINED[kind])
    running.batch({"orders": [order_row(1, 1, 1), order_row(2, 2, 2)], "shops": [shop_row(1, "York")]})
    running.loaded = Loaded(fingerprint="of another text")
    output = running.batch({"orders": [order_row(3, 3, 3)], "shops": []})
    assert (output.complete, output.replaces, output.rows) == (True, True, 3)
    assert running.held == running.expected()


def test_a_model_may_read_the_batchs_moment(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    all_models = write_models(
        tmp_path, {"dim_t": "SELECT id, CAST(moment AS VARCHAR) AS at FROM t, reference.batch"}
    )
    target = made_target("dim_t", ("id",), id="integer!", at="text")
    batches = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    loaded = None
    for rows in ([{"id": 1}], []):
        manifest = batches.batch({"t": rows})
        output = transform(work(all_models["dim_t"], target, manifest, loaded, raw, processed))
        loaded = Loaded(fingerprint=all_models["dim_t"].fingerprint, result=output.result)
        (row,) = parquet_rows(processed, output.files)
        assert row["at"] == f"{manifest.snapshot_at:%Y-%m-%d %H:%M:%S}+00"


def test_a_model_may_read_only_reference_tables(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    all_models = write_models(
        tmp_path, {"dim_currency": "SELECT code, name FROM iso_4217 WHERE code IN ('GBP', 'USD', 'EUR')"}
    )
    target = made_target("dim_currency", ("code",), code="character varying!", name="character varying!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({})
    output = transform(work(all_models["dim_currency"], target, manifest, None, raw, processed))
    names = {row["code"]: row["name"] for row in parquet_rows(processed, output.files)}
    assert names == {"GBP": "Pound Sterling", "USD": "US Dollar", "EUR": "Euro"}


def test_an_empty_source_gives_no_rows_and_no_error(tmp_path: Path) -> None:
    for number, case in enumerate(JOINED.values()):
        output = Running(tmp_path / str(number), *case).batch({"orders": [], "shops": []})
        assert (output.rows, output.rejected_rows, output.files) == (0, 0, ())


def test_a_key_that_passes_through_a_model_stays_a_key(shared: Pair) -> None:
    key = "CAST('00000000-0000-0000-0000-00000000000' || {} AS uuid)"
    source = (
        "CREATE TABLE visit (id uuid PRIMARY KEY, code varchar(5) NOT NULL UNIQUE, day date)",
        f"INSERT INTO visit SELECT {key.format('k')}, 'v' || k, '2024-01-01' FROM generate_series(1, 5) AS k",
    )
    models = {
        "schema": "CREATE TABLE dim_visit (id uuid PRIMARY KEY, code varchar(5), day date);"
        "CREATE TABLE fact_number (id uuid, n integer);",
        "dim_visit": "SELECT id, code, day FROM visit",
        "fact_number": "-- key: id\nSELECT id, row_number() OVER (ORDER BY day, id) AS n FROM dim_visit",
    }
    shared.live(models, source, [[f"DELETE FROM visit WHERE id = {key.format(2)}"]])
    numbers = shared.house.query("SELECT n FROM fact_number_current ORDER BY id")
    assert numbers == [(n,) for n in (1, 2, 3, 4)]
