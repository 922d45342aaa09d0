"""Failures of a transform name the model, the object or the setting."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.duck import session
from pipeline.errors import ModelError, ObjectDamaged, ObjectMissing
from pipeline.lake.buckets import Bucket, File
from pipeline.models.output import Loaded
from pipeline.models.transform import transform
from tests.house import transform_all
from tests.made_up import MadeUp, made_target
from tests.models.orders import JOINED, Running, order_row, shop_row, work
from tests.support import parquet_rows, write_models


def test_an_error_in_a_row_names_file_and_message(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    all_models = write_models(tmp_path, {"dim_t": "SELECT id,\n    v::integer AS v\nFROM t;  -- the end\n"})
    target = made_target("dim_t", ("id",), id="integer!", v="integer")
    source_batches = MadeUp(raw, {"t": ({"id": "integer", "v": "character varying"}, ("id",))})
    fine = transform(
        work(
            all_models["dim_t"],
            target,
            source_batches.batch({"t": [{"id": 1, "v": "7"}]}),
            None,
            raw,
            processed,
        )
    )
    assert fine.rows == 1
    invalid = source_batches.batch({"t": [{"id": 1, "v": "one"}, {"id": 2, "v": "seven"}]})
    with pytest.raises(ModelError, match=r"dim_t\.sql:2: .* a value of v does not fit integer") as raised:
        transform(work(all_models["dim_t"], target, invalid, None, raw, processed))
    assert "\n" not in str(raised.value)


def test_all_objects_of_a_batch_lie_in_its_folder(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOINED["left join"])
    output = running.batch({"orders": [order_row(1, 1, 1)], "shops": []})
    (file,) = output.files
    assert file.path.startswith("fact_m/batch=20240101T000100-0001/")
    assert (file.rows, file.path.endswith(".parquet")) == (1, True)


class CutOff(Bucket):
    """A bucket whose connection breaks when rows are read."""

    def dataset(self, files: Sequence[File], schema: pa.Schema | None = None) -> Any:
        def fail() -> pa.RecordBatch:
            raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation")

        actual = super().dataset(files, schema)
        return pa.RecordBatchReader.from_batches(actual.schema, (fail() for _ in range(1)))


@pytest.mark.parametrize("bucket", ["raw", "processed"])
def test_a_storage_failure_is_not_reported_as_a_model_error(
    raw: Bucket, processed: Bucket, tmp_path: Path, bucket: str
) -> None:
    all_models = write_models(tmp_path / "models", {"dim_t": "SELECT id + 0 AS id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    source_batches = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    first = transform(
        work(all_models["dim_t"], target, source_batches.batch({"t": [{"id": 1}]}), None, raw, processed)
    )
    loaded = Loaded(fingerprint=all_models["dim_t"].fingerprint, result=first.result)
    manifest = source_batches.batch({"t": [{"id": 2}]})
    buckets = {"raw": raw, "processed": processed}
    buckets[bucket] = CutOff(**vars(buckets[bucket]))
    with pytest.raises(Exception, match="NETWORK_CONNECTION") as raised:
        transform(work(all_models["dim_t"], target, manifest, loaded, **buckets))
    assert not isinstance(raised.value, ModelError), (
        "a fault of the model is not tried again, one of the store is"
    )


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_missing_raw_object_is_named(
    raw: Bucket, processed: Bucket, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """In S3 it is detected only when DuckDB reads it."""
    if kind == "s3":
        raw = request.getfixturevalue("s3_bucket")("raw")
    all_models = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    (file,) = manifest.tables["t"].files
    raw.filesystem.delete_file(f"{raw.root}/{file.path}")
    with pytest.raises(ObjectMissing, match=f"^{raw.uri}: {file.path} does not exist"):
        transform(work(all_models["dim_t"], target, manifest, None, raw, processed))


def test_a_damaged_raw_object_is_named_in_one_line(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    all_models = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    target = made_target("dim_t", ("id",), id="integer!")
    manifest = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    (file,) = manifest.tables["t"].files
    path = Path(raw.root, file.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(20) + whole[24:])  # the footer stays
    line = f"^{raw.uri}: {file.path} is not what was written: the checksum of its MiB number 1 differs; "
    with pytest.raises(ObjectDamaged, match=line) as raised:
        transform(work(all_models["dim_t"], target, manifest, None, raw, processed))
    assert "\n" not in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_models_run_concurrently_without_interference(tmp_path: Path) -> None:
    """Tasks are threads of one process, and each uses the same names of tables."""
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


def test_a_large_json_value_needs_a_higher_memory_setting(
    raw: Bucket, processed: Bucket, tmp_path: Path
) -> None:
    """DuckDB needs twelve times the value's size; if that exceeds the limit, the error names the setting."""
    all_models = write_models(
        tmp_path / "models",
        {"fact_doc": "-- key: id\nSELECT id, body, json_extract_string(body, '$.a') AS a FROM doc"},
    )
    targets = {"fact_doc": made_target("fact_doc", ("id",), id="integer", body="jsonb", a="text")}
    source_batches = MadeUp(raw, {"doc": ({"id": "integer", "body": "jsonb"}, ("id",))})
    body = '{"a": "x", "b": "' + "y" * 60_000_000 + '"}'
    batch = source_batches.batch({"doc": [{"id": 1, "body": body}]})
    with session() as connection:
        limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
        connection.execute("SET memory_limit = '256MB'")
        try:
            with pytest.raises(
                OSError, match=r"Out of Memory .*used\); raise TOTESYS_DUCKDB_MEMORY \(now 50%\)"
            ):
                transform_all(all_models, targets, batch, {}, raw, processed)
        finally:
            connection.execute(f"SET memory_limit = '{limit}'")
    (row,) = parquet_rows(
        processed, transform_all(all_models, targets, batch, {}, raw, processed)["fact_doc"].files
    )
    assert (row["body"], row["a"]) == (body, "x")
