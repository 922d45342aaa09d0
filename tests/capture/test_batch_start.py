"""Where a batch starts: after another source, a lost manifest or an unusable watermark."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.lake import manifests
from pipeline.settings import Settings
from pipeline.source.changes import MAX_AGE
from pipeline.status import inspect
from tasks.status import Verdict, judge, show
from tests.capture.orders import run
from tests.house import Warehouse
from tests.support import execute, value


@pytest.mark.parametrize("field", ["system", "timeline", "database", "database_oid"])
def test_another_source_is_read_in_full(source_url: str, house: Warehouse, field: str) -> None:
    _, manifest = run(source_url, house)
    assert manifest is not None
    other = 99 if field in {"timeline", "database_oid"} else "another"
    identity = manifest.identity.model_copy(update={field: other})
    manifests.seal(house.raw, manifest.model_copy(update={"identity": identity}))
    read, _ = run(source_url, house)
    assert set(read.values()) == {("full", "another source than the last batch's")}
    assert value(house.url, "SELECT count(*) FROM fact_order") == 5


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_after_a_lost_or_damaged_manifest_every_table_is_read_in_full(
    source_url: str, house: Warehouse, harm: Callable[[Path], object]
) -> None:
    _, manifest = run(source_url, house)
    assert manifest is not None
    harm(Path(house.raw.root, manifest.path))
    read, second = run(source_url, house)
    assert set(read.values()) == {("full", "the last batch's manifest is lost")}
    assert second is not None
    assert second.previous == manifest.batch_id


@pytest.mark.parametrize(
    ("source_xmin", "reason"),
    [
        (10**12, "the source was restored to an earlier state"),
        (-MAX_AGE, "the watermark's transaction ids have wrapped around"),
    ],
)
def test_with_a_watermark_too_old_or_from_the_future_every_table_is_read_in_full(
    source_url: str, house: Warehouse, source_xmin: int, reason: str
) -> None:
    run(source_url, house)
    execute(house.url, f"UPDATE etl.watermark SET source_xmin = {source_xmin}")
    read, _ = run(source_url, house)
    assert set(read.values()) == {("full", reason)}


def test_a_run_warns_of_a_clock_that_has_gone_back(
    source_url: str, house: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    run(source_url, house)
    for ahead, warnings in ("20 seconds", 0), ("2 hours", 1):
        execute(house.url, f"UPDATE etl.watermark SET snapshot_at = now() + interval '{ahead}'")
        run(source_url, house)
        assert [line for line in caplog.messages if "the clock has gone back" in line][warnings:] == []
    assert "The source's clock shows " in caplog.text


def test_a_clock_that_was_ahead_raises_no_alarm_once_the_source_was_read_again(
    source_url: str, house: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    def judged() -> Verdict:
        config = Settings(transforms=house.folder)
        found = inspect(source_url, house.url, house.raw, house.processed, config, counting="nothing")
        verdict = judge(found, timedelta(minutes=30))
        show(found, verdict)
        return verdict

    run(source_url, house)
    ahead = "now() + interval '2 hours'"
    execute(
        house.url,
        f"UPDATE etl.batch SET snapshot_at = {ahead}",
        f"UPDATE etl.watermark SET snapshot_at = {ahead}, up_to_date_at = {ahead}",
    )
    assert judged() is Verdict.CRITICAL
    assert "which has gone back; set it, or run again" in capsys.readouterr().out
    for change in "SELECT", "UPDATE orders SET amount = 7 WHERE order_id = 1":
        execute(source_url, change)
        _, manifest = run(source_url, house)
        assert bool(manifest) == (change != "SELECT")
        if manifest:
            assert manifest.read_at == value(house.url, "SELECT up_to_date_at FROM etl.watermark")
        assert judged() is Verdict.OK
        assert "moment is 1 h 59 min ahead of the source's clock" in capsys.readouterr().out
