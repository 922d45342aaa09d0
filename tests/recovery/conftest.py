"""Fixtures of the recovery tests: a pipeline that has run for some days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo.postgres import Postgres
from tests.bench import bench as open_bench
from tests.recovery.life import Day, Life
from tests.warehouse.test_bindings import DAYS, MODELS, SOURCE


@pytest.fixture(scope="module")
def lived(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with open_bench(postgres) as bench:
        bench.fresh(MODELS, *SOURCE)
        bench.run()
        empty = Day({}, Path(), Path(), {}, None)
        life = Life(bench, postgres, tmp_path_factory.mktemp("backups"), empty, empty)
        days = []
        for number, day in enumerate(DAYS):
            bench.do(*day)
            bench.run()
            if number in {1, len(DAYS) - 1}:
                days.append(life.keep(f"day {number}"))
        yield replace(life, yesterday=days[0], today=days[1])


@pytest.fixture
def life(lived: Life) -> Life:
    """A warehouse and a lake of today, after whatever was done to them."""
    lived.restore(lived.today, "raw", "processed", "all")
    assert lived.has_history(lived.today)
    return lived
