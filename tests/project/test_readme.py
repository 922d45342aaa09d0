"""The README's commands are targets of the Makefile, and its SQL and its example work."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from demo import shop
from demo.home import PROJECT
from pipeline.errors import WarehouseError
from pipeline.lake.buckets import Bucket
from pipeline.warehouse import catalogue
from tests.house import Warehouse, plan_batch

ROOT = PROJECT
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SQL = [text for language, text in BLOCKS if language == "sql"]


def test_every_command_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    pages = [README, *(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([\w-]+)", page, re.MULTILINE)}
    assert named
    assert named <= targets


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.fixture
def house(source_url: str, warehouse_url: str, raw: Bucket, processed: Bucket, tmp_path: Path) -> Warehouse:
    """A warehouse after the first batch of a small made-up shop."""
    with psycopg.connect(source_url) as connection:
        shop.create(connection)
        shop.fill(connection, orders=60)
    house = Warehouse(
        warehouse_url, shutil.copytree(ROOT / "transforms", tmp_path / "transforms"), raw, processed
    )
    _run(source_url, house)
    return house


def _run(source_url: str, house: Warehouse) -> None:
    _, manifest = plan_batch(source_url, house)
    assert manifest is not None
    house.bring(manifest)


def test_the_queries_of_the_readme_run(house: Warehouse) -> None:
    questions = [query for query in SQL[0].split(";") if query.strip()]
    answers = [house.query(query) for query in questions]
    assert [len(rows) for rows in answers] == [1, 3, 1, 0]


def test_the_dimension_of_the_readme_can_be_added(source_url: str, house: Warehouse) -> None:
    model, table = SQL[1:]
    (house.folder / "dim_department.sql").write_text(model, encoding="utf-8")
    with (house.folder / "schema.sql").open("a", encoding="utf-8") as schema:
        schema.write(table)
    house.prepared = None
    _run(source_url, house)
    assert house.query("SELECT count(*) FROM dim_department") == [(8,)]
    _change_the_model(house, model, table)


def _change_the_model(house: Warehouse, model: str, table: str) -> None:
    """Remove the column that the README drops; only what it writes allows that."""
    (allow,) = re.findall(r'make run ALLOW="(drop .*)"', README)
    path = house.folder / "schema.sql"
    (house.folder / "dim_department.sql").write_text(model.replace(",\n    manager", ""), encoding="utf-8")
    path.write_text(path.read_text().replace(",\n    manager varchar", ""), encoding="utf-8")
    with pytest.raises(WarehouseError, match=f'ALLOW="{allow}"'):
        house.prepare()
    catalogue.prepare(house.url, "public", house.models, house.folder, [allow])
    assert "manager" not in house.prepare()["dim_department"].model_dump_json(include={"columns"})
    assert house.query("SELECT count(*) FROM dim_department") == [(8,)]


def test_the_lines_of_the_help_line_up() -> None:
    # Within `make test`, this make would print the folders that it enters.
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    _, *lines = done.stdout.splitlines()
    columns = {line.index(line.split(maxsplit=1)[1], len(line.split(maxsplit=1)[0])) for line in lines}
    assert len(lines) > 10
    assert len(columns) == 1


def test_the_readme_names_what_must_exist_first() -> None:
    for page in (".env.example", "docs/source-role.sql", "docs/warehouse-role.sql"):
        assert f"]({page})" in README
    lease = README.index("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=")
    assert lease < README.index("prefect server start")
    assert "buckets must exist" in README
