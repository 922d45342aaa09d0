"""``make verify``, and the next run after it has found damage."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import tasks.verify
from pipeline.recovery import rehearsal
from pipeline.recovery.rehearsal import Rehearsal
from tests.flows.support import World, query


@pytest.fixture
def command(call: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A function that calls ``make verify`` in a world; its errors, and what it prints."""

    def make_verify(world: World, *arguments: str, status: int, pause: float = 60.0) -> list[str]:
        world.save_blocks()
        return call(partial(tasks.verify.main, pause), world, *arguments, status=status)

    return make_verify


def damage(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])


@pytest.mark.campaign
def test_damaged_objects_are_found_and_read_again(kiosk: World, command: Callable[..., list[str]]) -> None:
    assert command(kiosk, status=0)[-1] == "The warehouse has no batch, so nothing was compared"
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    lines = command(kiosk, status=0, pause=0.0)
    assert any(line.startswith("2 of 2 objects, ") for line in lines), "it says how far it is"
    read, rebuilt, compared = command(kiosk, status=0)
    assert read.startswith("Read 1 manifest and 2 objects (")
    assert read.endswith("/s): all are as they were written")
    assert rebuilt.startswith("A rebuild would load 1 batch, from ")
    same = "Its rows, and its versions since then, equal those of the warehouse"
    assert compared == f"{same}: 4 tables compared, nothing written"

    (item,) = Path(kiosk.raw_uri, "item").rglob("*.parquet")
    damage(item)
    (quick,) = [line for line in command(kiosk, "--quick", status=1) if line.startswith("  ")]
    shown = f"{kiosk.raw_uri}: {item.relative_to(kiosk.raw_uri)} is not what was written: "
    assert quick.startswith(f"  {shown}the checksum of its MiB number 1 differs; `make run` ")
    lines = command(kiosk, status=1)
    assert "A rebuild would load nothing" in lines
    assert any(line.startswith(f"  At the beginning: {shown}") for line in lines)

    query(kiosk.source_url, "DELETE FROM item WHERE item_id = 3")
    (report,) = kiosk.run().reports
    assert report.rows_read == 5, "the last keys lie in the damaged object, so all is read"
    assert query(kiosk.warehouse_url, "SELECT item_id FROM dim_item_history WHERE deleted") == [(3,)]
    *_, rebuilt, gap, compared = command(kiosk, status=1)
    assert rebuilt.startswith(f"A rebuild would load 1 batch, from {report.batch_id}")
    assert gap.endswith(f"; it continues at batch {report.batch_id}, without the changes between")
    assert compared.startswith("Its rows, and its versions since then, equal those")


def test_a_reference_that_the_warehouse_lacks_is_no_difference_but_printed(
    kiosk: World, command: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Rehearsal(last="one", batches=["one"], unenforced=("fact_sale (shop_id) to dim_shop",))
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: iter([found]))
    *_, line, compared = command(kiosk, status=0)
    assert line.startswith("  schema.sql declares a reference of fact_sale (shop_id) to dim_shop, which the")
    assert compared.startswith("Its rows, and its versions since then, equal those")
