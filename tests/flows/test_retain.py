"""The flow that removes old batches from the lake, and its command."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest

from flows import command
from flows.rebuild import rebuild
from tests.flows.conftest import s3_buckets
from tests.flows.support import World, query

LOOK = "SELECT sale_id, item_id, sold_at, pieces FROM fact_sale_current ORDER BY 1"


@pytest.mark.campaign
def test_old_batches_are_listed_and_then_removed(
    kiosk: World, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(**(vars(kiosk) | s3_buckets(s3_endpoint)))
    for _ in range(2):
        world.run()
        query(world.source_url, "UPDATE sale SET pieces = pieces + 1")
    last = world.run().reports[0].batch_id

    def retain(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["flows", "--retain", *arguments])
        capsys.readouterr()
        with world.entered():
            assert command.main() == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert retain("400d") == "nothing to remove: no batch is older than 400 days and not needed"
    monkeypatch.setattr("flows.retain.timedelta", lambda **_: timedelta(0))
    would = retain("400d")
    assert would.startswith("would remove 2 manifests and ")
    assert would.endswith(f"ARGS=--yes does; a rebuild starts at batch {last}")
    done = retain("400d", "--yes")
    assert done.startswith("removed 2 manifests and ")
    assert retain("400d").startswith("nothing to remove")
    now = query(world.warehouse_url, LOOK)
    assert now
    query(world.warehouse_url, "DROP SCHEMA public, etl CASCADE; CREATE SCHEMA public")
    with world.entered():
        assert [report.batch_id for report in rebuild()] == [last]
    assert query(world.warehouse_url, LOOK) == now


def test_an_invalid_number_of_days_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("0d", "400h", "-1", "9" * 20):
        monkeypatch.setattr(sys, "argv", ["flows", f"--retain={given}"])
        with pytest.raises(SystemExit):
            command.main()
        assert (
            f"{given!r} is not a number of days from 1 to 36,500; write KEEP=400d" in capsys.readouterr().err
        )
