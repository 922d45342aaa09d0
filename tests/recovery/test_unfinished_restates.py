"""A run is killed between its batch and the restate that follows it: the next run restates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.recovery import refill, restate, retain
from pipeline.recovery.batches import loaded_batches
from pipeline.warehouse import ledger
from pipeline.warehouse.limits import DEFAULT
from tests.pair import Pair
from tests.recovery.life import program
from tests.recovery.restating import SOURCE
from tests.recovery.test_absent_models import (
    DAYS,
    ITEMS,
    MODELS,
    SCHEMA,
    WITH_ITEMS,
    rebuild,
    run,
    verify,
    without,
)
from tests.support import execute

# A new and a changed model, which read a table that no batch has read.
CHANGED = MODELS | {"fact_city": WITH_ITEMS}
BEFORE = {
    "new and changed": without("dim_count"),
    "back": without("dim_count", "fact_city", "dim_total", "dim_best"),
}


def marked(pair: Pair) -> list[str]:
    house = pair.house
    loaded = ledger.fetch_loaded_models(house.url, house.schema)
    return sorted(name for name in restate.changed(house.models, loaded) if loaded[name].to_restate)


@pytest.fixture
def killed(shared: Pair, request: pytest.FixtureRequest) -> Pair:
    """A shop after such a run."""
    before = BEFORE[getattr(request, "param", "new and changed")]
    shared.fresh({**without("dim_count"), "schema": SCHEMA}, *SOURCE, *ITEMS)
    shared.run()
    for day in DAYS[:3]:
        run(shared, before, *day)
    run(shared, CHANGED, *DAYS[3], killed=True)
    assert {"dim_count", "fact_city"} <= set(marked(shared))
    return shared


def finished(pair: Pair, postgres: Postgres, home: Path, models: dict[str, str] = CHANGED) -> None:
    """An ordinary run without a change of the source restates, and nothing is left to do."""
    run(pair, models)
    assert marked(pair) == []
    verify(pair)
    rebuild(pair, postgres, home)
    assert pair.run() is None


@pytest.mark.parametrize("killed", BEFORE, indirect=True)
@pytest.mark.rarely("back")
def test_the_next_run_restates(killed: Pair, postgres: Postgres, tmp_path: Path) -> None:
    finished(killed, postgres, tmp_path)


def load_a_batch(pair: Pair, _: Postgres) -> None:
    """As a rebuild that goes on does, which restates nothing."""
    pair.do(*DAYS[4])
    pair.run()


def lose_rows(pair: Pair, _: Postgres) -> None:
    """Tables are refilled before the restate: a fact with all of its versions, a dimension with its rows."""
    execute(pair.house.url, "TRUNCATE fact_city", "DELETE FROM dim_count")


def restore(pair: Pair, server: Postgres) -> None:
    """A dump of the warehouse keeps the marks."""
    url = pair.house.url
    dump = program(server, "pg_dump", url)
    execute(url, "DROP SCHEMA public, etl, as_of, reporting CASCADE", "CREATE SCHEMA public")
    program(server, "psql", "-qX", "-vON_ERROR_STOP=1", url, text=dump)


def remove_a_model(pair: Pair, _: Postgres) -> None:
    """It is frozen with the mark, and comes back."""
    away = {name: text for name, text in CHANGED.items() if name != "fact_city"}
    run(pair, away, *DAYS[4])
    assert marked(pair) == []


@pytest.mark.parametrize(
    "happens",
    [
        load_a_batch,
        remove_a_model,
        pytest.param(lose_rows, marks=pytest.mark.campaign),
        pytest.param(restore, marks=pytest.mark.campaign),
    ],
)
@pytest.mark.rarely("load_a_batch")
def test_something_else_happens_first(
    killed: Pair, postgres: Postgres, tmp_path: Path, happens: Callable[[Pair, Postgres], None]
) -> None:
    happens(killed, postgres)
    finished(killed, postgres, tmp_path)


def test_old_batches_are_removed_first(killed: Pair) -> None:
    """What is left of the history is that of a rebuild from the base batch."""
    killed.do("UPDATE shop SET city = 'Rye' WHERE shop_id = 1")
    killed.run(full=True)
    house = killed.house
    removal = retain.plan(house.raw, house.processed, datetime.now(UTC), retain.needed(house.url))
    assert removal
    retain.remove(removal, house.raw, house.processed, lambda _: None)
    run(killed, CHANGED)
    assert marked(killed) == []
    assert house.rehearse().differences == []


def test_a_table_that_the_lake_cannot_refill_is_not_restated(killed: Pair) -> None:
    """Not by the run that follows one which was killed before it read the source in full, either."""
    house = killed.house
    run(killed, CHANGED)
    known = loaded_batches(house.url, house.schema, house.raw)
    refill.fill(house.url, house.schema, house.replayer(), known, [], ["fact_city"], DEFAULT)
    assert house.changed_models() == []
    killed.run()
    assert marked(killed) == []
    verify(killed)


def test_nor_if_a_killed_run_has_marked_it_to_be_restated(killed: Pair) -> None:
    house = killed.house
    known = loaded_batches(house.url, house.schema, house.raw)
    refill.fill(house.url, house.schema, house.replayer(), known, [], ["fact_city"], DEFAULT)
    assert "fact_city" not in marked(killed)
    assert "dim_count" in marked(killed)


def test_a_dimension_is_refilled_in_the_run_that_first_sees_its_changed_model(
    shared: Pair, postgres: Postgres, tmp_path: Path
) -> None:
    shared.fresh({**without("dim_count"), "schema": SCHEMA}, *SOURCE, *ITEMS)
    shared.run()
    run(shared, without("dim_count"), *DAYS[0])
    execute(shared.house.url, "DELETE FROM dim_total")
    doubled = MODELS["dim_total"].replace("sum(amount)", "2 * sum(amount)")
    finished(shared, postgres, tmp_path, without("dim_count") | {"dim_total": doubled})
