"""A database with unusual habits, edited at random: its tables equal plain SQL after every run."""

from __future__ import annotations

import os
from random import Random

import pytest

from demo.postgres import Postgres
from tests.habits import COMMON, RARE, SOURCE, Habits, edit
from tests.pair import pair
from tests.support import database, execute

# A fixed seed and a fresh one; a failure shows the seed.
_FRESH = int(os.environ.get("HABITS_SEED", Random().randrange(10_000, 10**9)))


def search(postgres: Postgres, seed: int, runs: int) -> None:
    with pair(postgres) as made:
        habits = Habits(made, Random(seed))
        for number in range(runs):
            habits.run()
            assert not (wrong := habits.differences()), f"seed {seed}, run {number}: {wrong}"
            habits.edit()
        execute(made.house.url, "INSERT INTO fact_wide (id, recorded_at, deleted) VALUES (-1, now(), false)")
        assert "fact_wide" in str(habits.differences()), "harm is seen"


def test_each_edit_is_one_that_the_source_takes(postgres: Postgres) -> None:
    random, edits = Random(1), [*COMMON, *RARE]
    with database(postgres, "source") as url:
        execute(url, SOURCE)
        refused = dict.fromkeys(range(len(edits)), 0)
        for _ in range(20):
            for number in list(refused):
                if edit(url, random, 1, [edits[number]]):
                    del refused[number]
    assert not refused


@pytest.mark.parametrize("seed", [1, pytest.param(_FRESH, id="fresh", marks=pytest.mark.campaign)])
def test_tables_equal_plain_sql(postgres: Postgres, seed: int) -> None:
    search(postgres, seed, 6)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_tables_equal_plain_sql_for_a_long_time(postgres: Postgres) -> None:
    for seed in range(100, 120):
        search(postgres, seed, 30)
