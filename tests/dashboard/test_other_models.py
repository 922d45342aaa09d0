"""The page on a warehouse that has other models than those that the project ships."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.lake.buckets import folder
from tests import house
from tests.dashboard.conftest import served
from tests.dashboard.test_errors import failure
from tests.house import plan_batch
from tests.support import database, execute, write_models


@pytest.fixture
def bikes(postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    """A warehouse of bikes."""
    models, raw, processed = (tmp_path / name for name in ("models", "raw", "processed"))
    with database(postgres, "source") as source, database(postgres, "warehouse") as url:
        execute(source, "CREATE TABLE bike (bike_id int PRIMARY KEY, brand text, day date)")
        execute(source, "INSERT INTO bike VALUES (1, 'Gazelle', '2001-02-03')")
        write_models(models, {"dim_bike": "-- One row per bike.\nSELECT bike_id, brand, day FROM bike"})
        execute(url, "CREATE TABLE dim_bike (bike_id int PRIMARY KEY, brand text, day date)")
        warehouse = house.Warehouse(url, models, folder(str(raw)), folder(str(processed)))
        _, manifest = plan_batch(source, warehouse)
        warehouse.bring(manifest or pytest.fail("no batch"))
        yield url


def test_tables_and_health_show_any_models_and_the_other_pages_say_so(bikes: str) -> None:
    with served(bikes) as client:
        assert client.get("/").headers["location"].endswith("/table")
        for path in ("/sales", "/purchases", "/owed", "/amendments"):
            line = failure(client, path, 404)
            assert "this page shows the models of transforms/, and the warehouse has no reporting." in line
        for path in ("/table?view=dim_bike", "/table?view=dim_bike&as_of=2099-01-01"):
            shown = client.get(path).raise_for_status().text
            assert "Gazelle" in shown, "no period hides old rows"
            assert "All currencies" not in shown
        for path in ("/table", "/health"):
            menu = re.findall(r'<a href="([^"?]+)', client.get(path).raise_for_status().text)
            assert not {"/sales", "/purchases", "/owed", "/amendments"} & set(menu)
        assert "Gazelle" in client.get("/export/dim_bike.csv").raise_for_status().text


def test_values_that_python_or_parquet_lacks_are_shown_as_postgres_prints_them(bikes: str) -> None:
    printed = ["infinity", "-infinity", "20000-01-01 00:00:00", "24:00:00", "10000000 years", f"1{'0' * 40}"]
    execute(
        bikes,
        "CREATE VIEW reporting.odd AS SELECT 'infinity'::date AS due, '-infinity'::timestamptz AS since,"
        " timestamp '20000-01-01' AS until, '24:00'::time AS closes, interval '10000000 years' AS lasts,"
        f" {printed[-1]}::numeric AS number",
    )
    with served(bikes) as client:
        shown = client.get("/table?view=odd").raise_for_status().text
        assert all(f"<td>{text}</td>" in shown for text in printed[:-1])
        assert client.get("/export/odd.csv").raise_for_status().text.splitlines()[1] == ",".join(printed)
        for column in ("due", "since", "number"):
            execute(bikes, f"CREATE VIEW reporting.odd_{column} AS SELECT {column} FROM reporting.odd")
            assert failure(client, f"/export/odd_{column}.parquet", 400) == (
                f"export: odd_{column} has a value that Parquet lacks, such as infinity; choose CSV"
            )
