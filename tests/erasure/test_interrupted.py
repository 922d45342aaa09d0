"""Erasures that are interrupted or undone by a restore are completed, with what their search found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.postgres import Postgres
from pipeline.erasure import forget, pending, rewriting
from pipeline.lake import erasures, manifests
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifests import all_manifests
from tests.erasure.people import again, carry_out, entry, find, forgotten, looks, names_in
from tests.pair import Pair
from tests.support import database, execute


class Killed(BaseException):
    """Ends a process for the test."""


def dies(*_: Any, **__: Any) -> None:
    raise Killed


STEPS = (
    (erasures, "write_to_lake"),
    (forget, "rewritten"),
    (forget, "erase_in_warehouse"),
    (rewriting, "without"),
    (manifests, "seal"),
    (forget, "search_lake"),
    (Bucket, "remove"),
    (erasures, "certify"),
)


OFTEN = ("erase_in_warehouse", "seal", "remove")


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(place, id=name, marks=() if name in OFTEN else pytest.mark.campaign)
        for place, (_, name) in enumerate(STEPS)
    ],
)
@pytest.mark.rarely("seal")
def test_an_interrupted_erasure_is_completed(shop: Pair, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    holder, name = STEPS[place]
    real, calls = getattr(holder, name), []

    def dies_there(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == 2:
            raise Killed
        result = real(*given, **named)
        if name in {"write_to_lake", "erase_in_warehouse", "certify"}:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, dies_there)
        with pytest.raises(Killed):
            forgotten(shop)
    for manifest in all_manifests(shop.house.raw):
        for table in manifest.tables.values():
            runs = [table.files, *(run.files for run in table.state or ())]
            assert all(map(shop.house.raw.holds, runs))
    again(shop)
    assert names_in(shop) == []
    assert len([row for row in looks(shop.house)["versions"] if 7 in row[:4]]) == 3
    read = list[str]()
    monkeypatch.setattr(Bucket, "read_text", lambda _, path: read.append(path))
    assert pending.find(shop.house.url, "public", shop.house.raw, shop.house.models) == []
    assert read == [], "a run does not read the entries of all erasures again"
    monkeypatch.undo()
    assert not shop.house.refill()


def test_a_search_that_is_killed_after_it_keeps_what_it_found(
    shop: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the old objects are removed, nothing shows what to search for."""
    execute(shop.house.url, "CREATE TABLE public.notes AS SELECT 'Ms. Marriedname' AS note")
    real = Bucket.remove

    def dies_after(bucket: Bucket, path: str) -> None:
        real(bucket, path)
        if not set(found.raw) & set(shop.house.raw.all_paths()):
            raise Killed

    found = find(shop, entry(shop, "person", "7"))
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "remove", dies_after)
        with pytest.raises(Killed):
            carry_out(shop, found)
    (unfinished,) = pending.find(shop.house.url, "public", shop.house.raw, shop.house.models)
    certificate = carry_out(shop, find(shop, unfinished))
    assert certificate["hits"] == ["warehouse public.notes"]
    assert certificate["texts"] == 5
    assert pending.find(shop.house.url, "public", shop.house.raw, shop.house.models) == []


def test_an_erasure_that_is_repeated_counts_as_pending_until_its_end(
    shop: Pair, life: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten(shop)
    shutil.rmtree(shop.house.raw.root)
    shutil.copytree(life.house.raw.root, shop.house.raw.root)
    with monkeypatch.context() as patch:
        patch.setattr(forget, "erase_in_warehouse", dies)
        with pytest.raises(Killed):
            again(shop)
    assert names_in(shop)
    again(shop)
    assert names_in(shop) == []


@pytest.mark.parametrize("lost", ["the warehouse", "the raw bucket"])
def test_a_restore_of_either_side_is_erased_again(
    shop: Pair, life: Pair, servers: Callable[[int], Postgres], tmp_path: Path, lost: str
) -> None:
    forgotten(shop)
    after = looks(shop.house)
    if lost == "the warehouse":
        with database(servers(16), "restored", f"TEMPLATE {life.house.url.rpartition('/')[2]}") as url:
            house = replace(shop.house, url=url, prepared=None)
            restored = replace(shop, house=house)
            assert names_in(restored)
            again(restored)
            assert names_in(restored) == []
            assert looks(house) == after
        return
    shutil.rmtree(shop.house.raw.root)
    shutil.copytree(life.house.raw.root, shop.house.raw.root)
    assert names_in(shop)
    again(shop)
    assert names_in(shop) == []
    assert looks(shop.house) == after
