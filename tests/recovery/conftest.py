"""Fixtures of the recovery tests: a pipeline that has run for some days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo.postgres import Postgres
from tests.pair import Pair, copied
from tests.pair import pair as open_pair
from tests.recovery import restating
from tests.recovery.life import Day, Life
from tests.warehouse.test_bindings import DAYS, MODELS, SOURCE


@pytest.fixture(scope="module")
def days(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with open_pair(postgres) as pair:
        pair.fresh(MODELS, *SOURCE)
        pair.run()
        empty = Day({}, Path(), Path(), {}, None)
        life = Life(pair, postgres, tmp_path_factory.mktemp("backups"), empty, empty)
        kept = []
        for number, day in enumerate(DAYS):
            pair.do(*day)
            pair.run()
            if number in {1, len(DAYS) - 1}:
                kept.append(life.keep(f"day {number}"))
        yield replace(life, yesterday=kept[0], today=kept[1])


@pytest.fixture(scope="session")
def lived_shop(postgres: Postgres) -> Iterator[Pair]:
    """A shop after some batches, in which rows changed, were deleted, rejected and retried."""
    with open_pair(postgres) as pair:
        pair.live(restating.MODELS, restating.SOURCE, restating.DAYS)
        yield pair


@pytest.fixture
def lived(lived_shop: Pair, postgres: Postgres, tmp_path: Path) -> Iterator[Pair]:
    """A copy of its warehouse and lake; its source is for reading only."""
    with copied(lived_shop, postgres, tmp_path / "home") as copy:
        yield copy


@pytest.fixture
def life(days: Life) -> Life:
    """A warehouse and a lake of today, after whatever was done to them."""
    days.restore(days.today, "raw", "processed", "all")
    assert days.has_history(days.today)
    return days
