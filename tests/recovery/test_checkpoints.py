"""A restate that was killed goes on where it was, unless something that it depends on has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.lake.manifest import Manifest
from pipeline.recovery import checkpoints, restate
from pipeline.recovery.table_copies import TableCopies
from tests.pair import Pair
from tests.recovery.restating import DAYS, MODELS, SCHEMA, SOURCE, change, restated
from tests.support import execute

BATCHES = 1 + len(DAYS)
# Numbers that the copies' own sequences give, and a result that is compared with the last one.
NUMBERED = SCHEMA.replace(
    "shop_id integer PRIMARY KEY, total", "total_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " shop_id integer NOT NULL UNIQUE, twice numeric GENERATED ALWAYS AS (total * 2) STORED, total",
)  # fmt: skip
CHANGED = {
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, amount * 2 AS amount FROM sale",
    "dim_total": MODELS["dim_total"].replace("sum(amount)", "sum(amount + CAST(item = 'item 9' AS integer))"),
    "bridge_shop_item": MODELS["bridge_shop_item"].replace(", item FROM", ", upper(item) AS item FROM"),
}


class Killed(BaseException):
    """As if the process had ended."""


@pytest.fixture(autouse=True)
def at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "_SHARE", float("inf"))


@pytest.fixture
def numbered(shared: Pair) -> Pair:
    models = MODELS | {"schema": NUMBERED, "dim_total": "-- key: shop_id\n" + MODELS["dim_total"]}
    shared.live(models, SOURCE, DAYS)
    execute(shared.house.url, "INSERT INTO dim_shop (shop_id, city) VALUES (3000, 'ours')")
    return shared


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The batches that restating has loaded."""
    loaded: list[str] = []
    load: Callable[[TableCopies, Manifest], None] = TableCopies.load

    def count(copies: TableCopies, manifest: Manifest) -> None:
        loaded.append(manifest.batch_id)
        load(copies, manifest)

    monkeypatch.setattr(TableCopies, "load", count)
    return loaded


def kill(pair: Pair, monkeypatch: pytest.MonkeyPatch, before: int, models: dict[str, str]) -> None:
    """Restate changed models, and end it before a batch, or before the differences are applied."""
    load, number = TableCopies.load, 0

    def end(copies: TableCopies, manifest: Manifest) -> None:
        nonlocal number
        number += 1
        if number == before:
            raise Killed
        load(copies, manifest)

    def end_before_applying(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(TableCopies, "load", end)
        patched.setattr(restate, "_apply", end_before_applying)
        with pytest.raises(Killed):
            restated(pair, models)


def left(pair: Pair) -> list[str]:
    return pair.house.processed.list(checkpoints.FOLDER, deep=True)


@pytest.mark.parametrize("before", [2, 4, BATCHES, BATCHES + 1])
@pytest.mark.rarely("4", "5")
def test_a_killed_restate_goes_on_after_the_batches_that_it_had(
    numbered: Pair, computed: list[str], monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    models = CHANGED | {"dim_total": "-- key: shop_id\n" + CHANGED["dim_total"]}
    kill(numbered, monkeypatch, before, models)
    folders = {path.split("/")[3] for path in left(numbered)}
    assert len(folders) == 1, "only the last checkpoint"
    computed.clear()
    assert restated(numbered, models) == sorted(models)
    assert len(computed) == BATCHES - (before - 1)
    assert left(numbered) == []
    house = numbered.house
    assert house.query(
        "SELECT DISTINCT v.total_id = d.total_id, v.twice = 2 * v.total FROM dim_total_version AS v"
        " JOIN dim_total AS d USING (shop_id)"
    ) == [(True, True)]
    found = house.rehearse()
    assert [each.table for each in found.differences] == ["dim_shop"], "our own row"
    assert house.query("SELECT count(*) FROM etl.rejected WHERE schema_name <> 'public'") == [(0,)]
    numbered.do("UPDATE sale SET amount = amount + 1", "INSERT INTO sale VALUES (40, 7, 'late', 4)")
    numbered.run()
    numbered.do("INSERT INTO shop VALUES (7, 'Deal', NULL)")
    numbered.run()
    found = house.rehearse()
    assert [each.table for each in found.differences] == ["dim_shop"]


def _changes_again(pair: Pair) -> dict[str, str]:
    return {"fact_sale": CHANGED["fact_sale"].replace("* 2", "* 3")}


def _alters_a_table(pair: Pair) -> dict[str, str]:
    execute(pair.house.url, "ALTER TABLE fact_sale ADD CHECK (amount < 100000)")
    return {}


def _adds_a_row(pair: Pair) -> dict[str, str]:
    execute(pair.house.url, "INSERT INTO dim_shop VALUES (4000, 'ours, too')")
    return {}


def _damages_a_checkpoint(pair: Pair) -> dict[str, str]:
    for path in left(pair):
        if path.endswith(".parquet"):
            file = Path(pair.house.processed.root, path)
            file.write_bytes(file.read_bytes()[:-9] + b"?" * 9)
    return {}


@pytest.mark.parametrize("event", [_changes_again, _alters_a_table, _adds_a_row, _damages_a_checkpoint])
@pytest.mark.rarely("_adds_a_row", "_changes_again")
def test_it_begins_again_if_that_has_changed_on_which_it_depends(
    numbered: Pair,
    computed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    event: Callable[[Pair], dict[str, str]],
) -> None:
    models = {"fact_sale": CHANGED["fact_sale"]}
    kill(numbered, monkeypatch, 4, models)
    models |= event(numbered)
    computed.clear()
    assert restated(numbered, models) == ["fact_sale"]
    assert len(computed) == BATCHES
    assert left(numbered) == []


def test_it_goes_on_after_another_batch(
    lived_again: Pair, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(lived_again, monkeypatch, BATCHES + 1, CHANGED)
    lived_again.do("UPDATE sale SET amount = 9 WHERE sale_id = 9")
    for name, text in MODELS.items():
        (lived_again.house.folder / f"{name}.sql").write_text(text, encoding="utf-8")
    lived_again.house.prepared = None
    lived_again.run()
    computed.clear()
    assert restated(lived_again, CHANGED) == sorted(CHANGED)
    assert len(computed) == 1
    change(lived_again)


@pytest.fixture
def lived_again(shared: Pair) -> Pair:
    shared.live(MODELS, SOURCE, DAYS)
    return shared


def test_a_model_over_another_that_is_not_restated_goes_on(
    shared: Pair, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result of the other one was in a folder of the process."""
    rich = {"dim_rich": "SELECT shop_id, total FROM dim_total WHERE total > 50"}
    table = "CREATE TABLE IF NOT EXISTS dim_rich (shop_id integer PRIMARY KEY, total numeric(12, 2));"
    shared.live(MODELS | rich | {"schema": SCHEMA + table}, SOURCE, DAYS)
    changed = {"dim_rich": rich["dim_rich"].replace("50", "60")}
    kill(shared, monkeypatch, 3, changed)
    computed.clear()
    assert change(shared, **changed) == ["dim_rich"]
    assert len(computed) == BATCHES - 2 + BATCHES, "and those of the rebuild that it is compared with"


def test_a_restate_of_less_than_a_minute_leaves_nothing(lived: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 60.0)
    kill(lived, monkeypatch, BATCHES + 1, CHANGED)
    assert left(lived) == []
    change(lived, **CHANGED)
