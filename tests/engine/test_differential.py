"""Every table equals its model's SQL on the source after every run, for random SQL."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from demo.postgres import Postgres
from tests.differential.run import search
from tests.support import database

# Fixed seeds and a fresh one; a failure shows the seed.
_FRESH = int(os.environ.get("DIFFERENTIAL_SEED", Random().randrange(10_000, 10**9)))


@pytest.mark.parametrize("seed", [*range(2), pytest.param(_FRESH, id="fresh")])
def test_tables_equal_their_sql(seed: int, source_url: str, warehouse_url: str, tmp_path: Path) -> None:
    print(f"DIFFERENTIAL_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    wrong = search(seed, source_url, warehouse_url, tmp_path, number=8, runs=6)
    assert not wrong, "\n".join(wrong)


@pytest.mark.campaign
@pytest.mark.timeout(4 * 3600)
def test_a_thousand_models_over_ten_runs_equal_their_sql(postgres: Postgres, tmp_path: Path) -> None:
    for seed in range(_FRESH, _FRESH + 125):
        with database(postgres, "source") as source_url, database(postgres, "warehouse") as warehouse_url:
            print(f"DIFFERENTIAL_SEED={seed}", flush=True)  # noqa: T201 - with -s it shows the progress
            wrong = search(seed, source_url, warehouse_url, tmp_path / str(seed), number=8, runs=10)
        assert not wrong, "\n".join(wrong)
