"""The page on a warehouse that has other models than those that the project ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.postgres import Postgres
from pipeline.lake.buckets import folder
from tests import house
from tests.dashboard.conftest import served
from tests.dashboard.test_errors import failure
from tests.house import plan_batch
from tests.support import database, execute, write_models


def test_tables_and_health_show_any_models_and_the_other_pages_say_so(
    postgres: Postgres, tmp_path: Path
) -> None:
    models, raw, processed = (tmp_path / name for name in ("models", "raw", "processed"))
    with database(postgres, "source") as source, database(postgres, "warehouse") as url:
        execute(source, "CREATE TABLE bike (bike_id int PRIMARY KEY, brand text, day date)")
        execute(source, "INSERT INTO bike VALUES (1, 'Gazelle', '2001-02-03')")
        write_models(models, {"dim_bike": "-- One row per bike.\nSELECT bike_id, brand, day FROM bike"})
        execute(url, "CREATE TABLE dim_bike (bike_id int PRIMARY KEY, brand text, day date)")
        warehouse = house.Warehouse(url, models, folder(str(raw)), folder(str(processed)))
        _, manifest = plan_batch(source, warehouse)
        warehouse.bring(manifest or pytest.fail("no batch"))
        with served(url) as client:
            assert client.get("/").headers["location"].endswith("/table")
            for path in ("/sales", "/purchases", "/owed", "/amendments"):
                line = failure(client, path, 404)
                assert (
                    "this page shows the models of transforms/, and the warehouse has no reporting." in line
                )
            for path in ("/table?view=dim_bike", "/table?view=dim_bike&as_of=2099-01-01"):
                shown = client.get(path).raise_for_status().text
                assert "Gazelle" in shown, "no period hides old rows"
                assert "All currencies" not in shown
            for path in ("/table", "/health"):
                menu = re.findall(r'<a href="([^"?]+)', client.get(path).raise_for_status().text)
                assert not {"/sales", "/purchases", "/owed", "/amendments"} & set(menu)
            assert "Gazelle" in client.get("/export/dim_bike.csv").raise_for_status().text
