"""After old batches were removed, a rebuild from the base batch equals the warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.lake import manifests
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifest import Manifest
from pipeline.lake.manifests import read_manifest
from pipeline.recovery import retain
from pipeline.recovery.retain import Needed, Removal
from tests.house import Warehouse
from tests.pair import Pair, pair
from tests.support import database, execute
from tests.warehouse.test_bindings import DAYS, MODELS, SOURCE

FACT = "SELECT sale_id, shop_id, amount FROM fact_sale_as_of('{}') ORDER BY 1"
TOWNS = "SELECT town, sales FROM fact_town_as_of('{}') ORDER BY 1"
SHOPS = "SELECT shop_id, town FROM dim_shop_as_of('{}') ORDER BY 1"


@pytest.fixture(scope="module")
def shop(postgres: Postgres) -> Iterator[Pair]:
    """A shop whose days were loaded, a batch each."""
    with pair(postgres) as made:
        made.fresh(MODELS, *SOURCE, "INSERT INTO sale SELECT n, 2, n FROM generate_series(100, 200) AS n")
        made.run()
        for number, day in enumerate((*DAYS, *DAYS[:2])):
            made.do(*day) if number < len(DAYS) else made.do(
                f"UPDATE sale SET amount = {number} WHERE sale_id BETWEEN 4 AND 99"
            )
            made.run()
        yield made


def moments(shop: Pair) -> list[datetime]:
    return [at for (at,) in shop.house.query("SELECT snapshot_at FROM etl.batch ORDER BY 1")]


def copied(bucket: Bucket, to: Path) -> Bucket:
    return folder(shutil.copytree(bucket.root, to).as_posix())


@pytest.fixture
def lake(shop: Pair, tmp_path: Path) -> tuple[Bucket, Bucket]:
    """A copy of the shop's raw and processed buckets."""
    return copied(shop.house.raw, tmp_path / "raw"), copied(shop.house.processed, tmp_path / "processed")


def planned(shop: Pair, lake: tuple[Bucket, Bucket], batch: int) -> Removal:
    """What is removed if the batch of that number is the last one before the limit."""
    limit = moments(shop)[batch] + timedelta(microseconds=1)
    removal = retain.plan(*lake, limit, retain.needed(shop.house.url))
    assert removal is not None
    return removal


def manifests_left(raw: Bucket) -> list[Manifest]:
    """The remaining manifests; requires that all their objects exist."""
    left = [read_manifest(raw, path) for path in raw.list("_manifests", deep=True)]
    for manifest in left:
        for table in manifest.tables.values():
            runs = [
                table.files,
                table.deleted,
                *(part for run in table.state or () for part in (run.files, run.deleted)),
            ]
            assert all(map(raw.holds, runs))
    return left


def rebuilt(shop: Pair, lake: tuple[Bucket, Bucket], url: str) -> Warehouse:
    """Another warehouse, filled from the lake as a rebuild does it."""
    house = Warehouse(url, shop.house.folder, *lake)
    house.prepare()
    house.rebuild()
    return house


def same_from(shop: Pair, house: Warehouse, first: int) -> None:
    """Both warehouses show the same at every batch's moment from one on."""
    for moment in moments(shop)[first:]:
        for look in (FACT, TOWNS, SHOPS):
            assert house.query(look.format(moment)) == shop.house.query(look.format(moment))
    open_ = "SELECT table_name, key, row FROM etl.rejected WHERE NOT resolved ORDER BY 1, 2::text"
    assert house.query(open_) == shop.house.query(open_)


def test_a_rebuild_starts_at_the_base_batch(
    shop: Pair, lake: tuple[Bucket, Bucket], warehouse_url: str
) -> None:
    removal = planned(shop, lake, 3)
    retain.remove(removal, *lake, lambda _: None)
    left = manifests_left(lake[0])
    assert [manifest.snapshot_at for manifest in left] == moments(shop)[3:]
    assert removal.base == left[0]
    assert removal.batches == 3
    older = [path for path in lake[0].sizes("sale") if left[0].batch_id > path.split("batch=")[1]]
    assert older  # a state that later batches carry is in older batches' folders
    same_from(shop, rebuilt(shop, lake, warehouse_url), 3)
    again = planned(shop, lake, 3)
    assert not again.manifests
    assert not again.objects


def test_after_an_interrupted_removal_every_manifest_has_its_objects(
    shop: Pair, lake: tuple[Bucket, Bucket], tmp_path: Path, servers: Callable[[int], Postgres]
) -> None:
    removal = planned(shop, lake, 4)
    steps = len(removal.manifests) + removal.objects
    assert steps > 20
    for step in range(steps):
        copy = copied(lake[0], tmp_path / f"r{step}"), copied(lake[1], tmp_path / f"p{step}")
        cut_off = _Cut(step)
        with pytest.raises(InterruptedError):
            retain.remove(removal, cut_off.bucket(copy[0]), cut_off.bucket(copy[1]), lambda _: None)
        left = manifests_left(copy[0])
        assert removal.base in left
        rest = planned(shop, copy, 4)
        assert rest.base == removal.base
        if step in {2, steps // 2}:
            with database(servers(18), "rebuilt") as url:
                same_from(shop, rebuilt(shop, copy, url), 4)
        retain.remove(planned(shop, copy, 4), *copy, lambda _: None)
        assert [manifest.snapshot_at for manifest in manifests_left(copy[0])] == moments(shop)[4:]


class _Cut:
    """A bucket that fails after a number of removals."""

    def __init__(self, after: int) -> None:
        self.left = after

    def bucket(self, bucket: Bucket) -> Bucket:
        cut = self

        class _Bucket(Bucket):
            def remove(self, path: str) -> None:
                if cut.left == 0:
                    raise InterruptedError
                cut.left -= 1
                super().remove(path)

        return _Bucket(bucket.filesystem, bucket.root, bucket.uri)


def test_nothing_is_removed_if_no_batch_is_old_enough(shop: Pair, lake: tuple[Bucket, Bucket]) -> None:
    before = moments(shop)[0] - timedelta(days=1)
    assert retain.plan(*lake, before, retain.needed(shop.house.url)) is None


def test_a_warehouse_that_is_behind_keeps_what_it_needs(
    shop: Pair, lake: tuple[Bucket, Bucket], warehouse_url: str
) -> None:
    house = Warehouse(warehouse_url, shop.house.folder, *lake)
    house.prepare()
    first = manifests.sealed_after(lake[0], None)
    assert first is not None
    house.bring(first)
    limit = moments(shop)[4] + timedelta(microseconds=1)
    removal = retain.plan(*lake, limit, retain.needed(warehouse_url))
    assert removal is not None
    assert removal.base == first
    assert not removal.manifests
    assert not removal.objects


def test_a_schema_that_was_dropped_needs_nothing(
    shop: Pair, lake: tuple[Bucket, Bucket], warehouse_url: str
) -> None:
    """Otherwise nothing after its last batch would ever be removed."""
    execute(warehouse_url, "CREATE SCHEMA gone")
    house = Warehouse(warehouse_url, shop.house.folder, *lake, schema="gone")
    house.prepare()
    replace(shop, house=house).run()
    needs = retain.needed(warehouse_url)
    assert needs.last == {house.last_batch()}
    assert needs.processed
    execute(warehouse_url, "DROP SCHEMA gone CASCADE")
    assert retain.needed(warehouse_url) == Needed(frozenset(), frozenset())


def test_other_warehouses_of_which_nothing_is_left_are_named(
    shop: Pair, lake: tuple[Bucket, Bucket], warehouse_url: str
) -> None:
    house = Warehouse(warehouse_url, shop.house.folder, *lake)
    house.prepare()
    assert replace(shop, house=house).run() is not None
    for other, named in ((house, shop.house), (shop.house, None)):
        limit = datetime.now(UTC) + timedelta(days=1)
        needs = retain.needed(other.url)
        removal = retain.plan(*lake, limit, needs, other.destination)
        assert removal is not None
        assert removal.others == ((str(named.destination),) if named else ())


def test_the_warehouse_goes_on_after_it(shop: Pair, lake: tuple[Bucket, Bucket]) -> None:
    house = replace(shop.house, raw=lake[0], processed=lake[1])
    retain.remove(planned(shop, lake, 6), *lake, lambda _: None)
    other = replace(shop, house=house)
    other.do("UPDATE sale SET amount = 99 WHERE sale_id = 4")
    other.do("UPDATE shop SET town = 'Ely' WHERE shop_id = 2")
    counts = other.run()
    assert counts is not None
    assert counts["fact_sale"].changed == 1
    assert other.house.query("SELECT amount FROM fact_sale_current WHERE sale_id = 4") == [(99,)]
    assert ("Ely",) in other.house.query("SELECT town FROM dim_shop")
