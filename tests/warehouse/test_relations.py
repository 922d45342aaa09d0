"""The files that tell BI tools how the views for readers belong together.

Both were read by the tools themselves when their formats were chosen: dbt-metabase 1.7 and Superset 6.1.
"""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tasks.relations import ARCHIVE, MANIFEST, write
from tests.pair import Pair
from tests.support import query

MODELS = {
    "dim_shop": "-- One row per shop.\nSELECT shop_id, city FROM shop",
    "fact_sale": """
        -- One row per sale.
        -- key: sale_id
        SELECT sale_id, shop_id, buyer_id, sold_on FROM sale
    """,
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, city text);
        COMMENT ON COLUMN dim_shop.city IS 'Where it is.';
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL,
            shop_id integer REFERENCES dim_shop,
            buyer_id integer REFERENCES dim_shop,
            sold_on date
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, city text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, buyer_id int, sold_on date)",
    "INSERT INTO shop VALUES (1, 'York'), (2, 'Bath')",
    "INSERT INTO sale VALUES (1, 1, 2, '2026-01-31'), (2, 2, NULL, NULL)",
)


@pytest.fixture(scope="module")
def written(shared: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Path]:
    """A loaded shop, and the folder with its files."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    folder = tmp_path_factory.mktemp("relations")
    house = shared.house
    first, second = write(house.url, "public", house.folder, folder, "reader", "bi.example")
    assert first.endswith("manifest.json: 5 views, 2 relations, for Metabase, by dbt-metabase")
    assert "superset.zip" in second
    return shared, folder


def test_metabase_gets_keys_and_relations_of_views(written: tuple[Pair, Path]) -> None:
    manifest = json.loads((written[1] / MANIFEST).read_text(encoding="utf-8"))
    node = manifest["nodes"]["model.warehouse.fact_sale"]
    assert (node["schema"], node["name"]) == ("reporting", "fact_sale")
    assert node["description"].endswith("One row per sale.")
    constraints = {name: column["constraints"] for name, column in node["columns"].items()}
    database = node["database"]
    to_shop = {"type": "foreign_key", "to": f"{database}.reporting.dim_shop", "to_columns": ["shop_id"]}
    assert constraints == {
        "sale_id": [{"type": "primary_key"}],
        "shop_id": [to_shop],
        "buyer_id": [to_shop],
        "sold_on": [],
    }
    shop = manifest["nodes"]["model.warehouse.dim_shop"]["columns"]
    assert shop["city"]["description"] == "Where it is."
    assert "Made by" not in manifest["nodes"]["model.warehouse.freshness"]["description"]
    assert manifest["child_map"].keys() == manifest["nodes"].keys()


def files_of(folder: Path) -> dict[str, Any]:
    with zipfile.ZipFile(BytesIO((folder / ARCHIVE).read_bytes())) as archive:
        return {name: json.loads(archive.read(name)) for name in archive.namelist()}


def test_superset_gets_views_and_joined_ones(written: tuple[Pair, Path]) -> None:
    pair, folder = written
    files = files_of(folder)
    assert files["warehouse/metadata.yaml"] == {"version": "1.0.0", "type": "SqlaTable"}
    database = files["warehouse/databases/warehouse.yaml"]
    assert urlsplit(database["sqlalchemy_uri"]).hostname == "bi.example"
    password = urlsplit(pair.house.url).password
    assert password
    assert password not in json.dumps(files)
    datasets = {
        name.rpartition("/")[2]: each
        for name, each in files.items()
        if name.startswith("warehouse/datasets/")
    }
    assert {each["database_uuid"] for each in datasets.values()} == {database["uuid"]}
    sold = datasets["fact_sale.yaml"]
    assert [(each["column_name"], each["is_dttm"]) for each in sold["columns"]] == [
        ("sale_id", False), ("shop_id", False), ("buyer_id", False), ("sold_on", True),
    ]  # fmt: skip
    joined = datasets["fact_sale_joined.yaml"]
    names = [each["column_name"] for each in joined["columns"]]
    assert names == ["sale_id", "shop_id", "buyer_id", "sold_on", "shop_city", "buyer_city"]
    rows = query(
        pair.house.url, f"SELECT sale_id, shop_city, buyer_city FROM ({joined['sql']}) AS j ORDER BY 1"
    )
    assert rows == [(1, "York", "Bath"), (2, "Bath", None)]


def test_a_second_archive_replaces_the_first(written: tuple[Pair, Path], tmp_path: Path) -> None:
    pair, folder = written
    house = pair.house
    assert len(list(write(house.url, "public", house.folder, tmp_path, "reader", ""))) == 2
    first, second = files_of(folder), files_of(tmp_path)
    assert {name: each.get("uuid") for name, each in first.items()} == {
        name: each.get("uuid") for name, each in second.items()
    }
