"""Ids, manifests and states of batches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.capture.batch_plan import BatchPlan
from pipeline.errors import BucketError, UnusableBatch
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.manifest import Chunk, Manifest, ReadChunk, StateDelta, Watermark, batch_id, batch_time
from pipeline.lake.manifests import read_manifest, seal, sealed_after
from pipeline.source.snapshots import Snapshot
from tests.capture.orders import run
from tests.house import Warehouse, plan_batch
from tests.lake.earlier_formats import as_format_2
from tests.made_up import MadeUp
from tests.support import execute, value


def snapshot(xmin: int = 100, xmax: int = 100, at: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> Snapshot:
    return Snapshot(
        name="0000000A-00000001-1",
        xmin=xmin,
        xmax=xmax,
        taken_at=at,
        system="1",
        timeline=1,
        database="made_up",
        database_oid=1,
        wal=1,
        standby=False,
        started_at=at,
    )


def watermark(at: datetime) -> Watermark:
    return Watermark(batch_id="20230101", manifest="m", snapshot_at=at, source_xmin=1)


def test_batch_ids_sort_by_time_even_if_the_clock_goes_back() -> None:
    moment = datetime(2024, 1, 1, 12, tzinfo=UTC)
    clocks = [
        moment,
        moment - timedelta(days=1),
        moment - timedelta(days=1),
        moment,
        moment + timedelta(seconds=1),
    ]
    ids: list[str] = []
    mark = None
    for clock in clocks:
        taken = snapshot(at=clock)
        at = batch_time(taken, mark)
        assert mark is None or at > mark.snapshot_at
        mark = watermark(at)
        ids.append(batch_id(at, taken))
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert ids[0] == "20240101T120000000000Z-0000000A-00000001-1"


def empty_plan(**changes: Any) -> BatchPlan:
    usual: dict[str, Any] = {
        "snapshot": snapshot(),
        "watermark": watermark(datetime(2023, 1, 1, tzinfo=UTC)),
        "previous": None,
        "tables": {},
        "changed_models": frozenset(),
        "reconcile": False,
    }
    return BatchPlan(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "nothing"),
    [
        ({}, True),
        ({"watermark": None}, False),
        ({"reconcile": True}, False),
        ({"changed_models": frozenset({"dim_x"})}, False),
    ],
)
def test_a_plan_without_changes_has_nothing_new(changes: dict[str, Any], nothing: bool) -> None:
    assert empty_plan(**changes).nothing_new == nothing


def test_a_sealed_batch_is_found_by_the_one_before_it(raw: Bucket) -> None:
    source = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    first = source.batch({"t": [{"id": 1}]})
    second = source.batch({})
    assert sealed_after(raw, None) is None
    for manifest in (first, second):
        seal(raw, manifest)
    assert sealed_after(raw, None) == first
    assert sealed_after(raw, first.batch_id) == second
    assert sealed_after(raw, second.batch_id) is None
    assert read_manifest(raw, first.path) == first
    assert first.path == f"_manifests/after=nothing/{first.batch_id}.json"


def test_a_manifest_of_the_first_format_is_upgraded(raw: Bucket) -> None:
    def file(table: str) -> dict[str, Any]:
        return {"path": f"{table}/batch=b/part-0.parquet", "rows": 3, "bytes": 10}

    def table(name: str, mode: str, state: Any, before: Any) -> dict[str, Any]:
        columns = [{"name": "id", "type": "integer"}]
        usual = {"reason": "made up", "columns": columns, "key": ["id"], "heaps": "1", "files": [file(name)]}
        return usual | {"table": name, "mode": mode, "state": state, "before": before}

    carried = file("carried")
    manifest = {
        "format": 1,
        "batch_id": "b",
        "previous": None,
        "snapshot_at": "2024-01-01T00:00:00Z",
        "source_xmin": 1,
        "identity": {"system": "1", "timeline": 1, "database": "made_up", "database_oid": 1},
        "reconcile": False,
        "landed": [{"part": {"batch_id": "b", "table": "carried", "number": 0, "of": 1}, "files": [carried]}],
        "tables": {
            "carried": table("carried", "changes", [[carried], [carried]], [[carried]]),
            "whole": table("whole", "full", None, None),
            "unknown": table("unknown", "changes", None, None),
        },
    }
    path = "_manifests/after=nothing/b.json"
    raw.write_text(path, json.dumps(manifest))
    read = read_manifest(raw, path)
    run_ = StateDelta(files=(File(**carried),))
    assert {name: table.state for name, table in read.tables.items()} == {
        "carried": (run_, run_),
        "whole": (StateDelta(files=(File(**file("whole")),)),),
        "unknown": None,
    }
    assert all(table.source_rows is None and not table.deleted for table in read.tables.values())
    assert read_manifest(raw, path) == sealed_after(raw, None)
    assert Manifest.model_validate_json(read.model_dump_json()) == read


def test_after_a_manifest_of_the_first_format_states_are_kept(source_url: str, house: Warehouse) -> None:
    """With a manifest of an earlier version every table is read in full once, and no row doubles."""
    _, first = run(source_url, house)
    assert first is not None
    old = as_format_2(json.loads(first.model_dump_json()))
    for table in old["tables"].values():
        table["state"] = table["before"] = None
        del table["source_rows"], table["gone"]
    for chunk in old["landed"]:
        del chunk["part"]["whole"]
    house.raw.write_text(first.path, json.dumps(old | {"format": 1}))
    execute(house.url, "UPDATE etl.model SET result = NULL")
    house.prepared = None
    execute(source_url, "DELETE FROM orders WHERE order_id = 5")
    read, _ = run(source_url, house)
    assert set(read.values()) == {("full", "its state was not stored before")}
    assert value(house.url, "SELECT count(*) FROM fact_order") == 6
    assert value(house.url, "SELECT count(*) FROM fact_order_current") == 4
    assert run(source_url, house)[1] is None


def test_a_sealed_batch_without_the_states_that_a_model_needs_is_unusable(
    source_url: str, house: Warehouse
) -> None:
    run(source_url, house)
    execute(source_url, "UPDATE towns SET city = 'Hull' WHERE town_id = 1")
    _, manifest = plan_batch(source_url, house)
    assert manifest is not None
    tables = {
        name: table.model_copy(update={"state": None, "source_rows": None})
        for name, table in manifest.tables.items()
    }
    with pytest.raises(UnusableBatch, match=r"batch .* was read without the state of (shops|towns)"):
        house.bring(manifest.model_copy(update={"tables": tables}))


def test_a_manifest_of_an_unknown_format_is_refused(raw: Bucket) -> None:
    raw.write_text("_manifests/after=nothing/x.json", '{"format": 4}')
    line = r"after=nothing/x\.json has format 4, made by a later release; .*; update the pipeline$"
    with pytest.raises(BucketError, match=line):
        sealed_after(raw, None)
    raw.write_text("_manifests/after=nothing/x.json", '{"format": 2}')
    with pytest.raises(BucketError, match=r"x\.json is .*: it is not a manifest of this version"):
        sealed_after(raw, None)


def test_a_manifest_holds_no_secret(source_url: str, house: Warehouse) -> None:
    _, manifest = run(source_url, house)
    assert manifest is not None
    text = house.raw.read_text(manifest.path)
    password = source_url.split(":")[2].split("@", maxsplit=1)[0]
    assert password not in text
    assert "postgresql://" not in text


def test_the_manifest_lists_the_chunks(raw: Bucket) -> None:
    planned = empty_plan()
    chunk = Chunk(batch_id=planned.batch_id, table="t", number=0, of=2)
    files = (File(path=f"{chunk.folder}/chunk-1.parquet", rows=3, bytes=10),)
    landed = [
        ReadChunk(chunk=chunk, files=files),
        ReadChunk(chunk=chunk.model_copy(update={"number": 1}), files=()),
    ]
    manifest = planned.manifest(landed, {}, {})
    assert manifest.chunks == tuple(landed)
    assert (chunk.name, chunk.folder) == ("t 1 of 2", f"t/batch={planned.batch_id}")
