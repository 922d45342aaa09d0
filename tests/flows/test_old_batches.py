"""Old batches under today's models: missing columns are NULL, and a rebuild skips lost batches."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from tests.flows import test_rebuild
from tests.flows.support import World, query

# Rebuilds are tested without Prefect in tests/recovery/; here are the flows'.
pytestmark = pytest.mark.campaign

SCHEMA = "CREATE TABLE IF NOT EXISTS fact_sale (sale_id int NOT NULL, pieces int{});"
TOWNS = "CREATE TABLE IF NOT EXISTS dim_town (sale_id int PRIMARY KEY, town text);"
FIRST = {"fact_sale": "-- key: sale_id\nSELECT sale_id, pieces FROM sale", "schema": SCHEMA.format("")}
SECOND = {
    "fact_sale": "-- key: sale_id\n"
    "SELECT sale_id, pieces, note, town FROM sale LEFT JOIN town USING (sale_id)",
    "dim_town": "SELECT sale_id, town FROM town",
    "schema": SCHEMA.format(", note text, town text") + TOWNS,
}
NOW = "SELECT sale_id, pieces, note, town FROM sale LEFT JOIN town USING (sale_id) ORDER BY 1"


@dataclass(frozen=True)
class Past:
    """Three batches, of which the first lacks a column and a table; ``kept`` are the buckets after them."""

    world: World
    kept: Path
    batches: list[str]

    def rebuild(self) -> list[int]:
        """Rebuild an empty warehouse; returns which of the batches were loaded."""
        test_rebuild.lose(self.world)
        with test_rebuild.source_down(self.world):
            reports = test_rebuild.run(self.world).result()
        current = query(self.world.warehouse_url, "SELECT * FROM fact_sale_current ORDER BY 1")
        assert [row[:4] for row in current] == query(self.world.source_url, NOW)
        towns = query(self.world.warehouse_url, "SELECT * FROM dim_town ORDER BY 1")
        assert towns == query(self.world.source_url, "SELECT * FROM town ORDER BY 1")
        return [self.batches.index(report.batch_id) for report in reports]

    def versions(self) -> list[tuple[object, ...]]:
        query_ = "SELECT sale_id, pieces, note, town FROM fact_sale ORDER BY recorded_at, sale_id"
        return query(self.world.warehouse_url, query_)

    @contextmanager
    def models(self, files: dict[str, str]) -> Iterator[None]:
        """Other models for the block."""
        write(self.world, files)
        yield
        write(self.world, SECOND)


def write(world: World, files: dict[str, str]) -> None:
    for name, text in files.items():
        (world.transforms / f"{name}.sql").write_text(text, encoding="utf-8")


def manifests(world: World) -> list[Path]:
    """The bucket's manifests, oldest batch first."""
    found = (Path(world.raw_uri) / "_manifests").rglob("*.json")
    return sorted(found, key=lambda path: path.name)


@pytest.fixture(scope="module")
def lived(make_world: Callable[..., World], tmp_path_factory: pytest.TempPathFactory) -> Past:
    world = make_world("past", tmp_path_factory.mktemp("models"))
    write(world, FIRST)
    query(world.source_url, "CREATE TABLE sale (sale_id int PRIMARY KEY, pieces int)")
    query(world.source_url, "INSERT INTO sale VALUES (1, 1), (2, 2), (3, 3)")
    reports = world.run().reports
    query(world.source_url, "ALTER TABLE sale ADD COLUMN note text DEFAULT 'old'")
    query(world.source_url, "CREATE TABLE town (sale_id int PRIMARY KEY, town text)")
    query(world.source_url, "INSERT INTO town VALUES (1, 'York')")
    write(world, SECOND)
    query(world.warehouse_url, "ALTER TABLE fact_sale ADD note text, ADD town text")
    query(world.warehouse_url, "DROP VIEW fact_sale_current, fact_sale_history CASCADE")
    reports += world.run().reports
    query(world.source_url, "UPDATE sale SET pieces = 30, note = 'new' WHERE sale_id = 3")
    query(world.source_url, "DELETE FROM sale WHERE sale_id = 2")
    reports += world.run().reports
    kept = tmp_path_factory.mktemp("kept")
    shutil.copytree(world.raw_uri, kept / "raw")
    shutil.copytree(world.processed_uri, kept / "processed")
    return Past(world, kept, [report.batch_id for report in reports])


@pytest.fixture
def past(lived: Past) -> Past:
    """The same with its buckets as they were."""
    for uri in (lived.world.raw_uri, lived.world.processed_uri):
        shutil.rmtree(uri, ignore_errors=True)
        shutil.copytree(lived.kept / Path(uri).name, uri)
    return lived


def test_columns_that_an_early_batch_lacks_are_null(past: Past) -> None:
    assert past.rebuild() == [0, 1, 2]
    first = [(1, 1, None, None), (2, 2, None, None), (3, 3, None, None)]
    second = [(1, 1, "old", "York"), (2, 2, "old", None), (3, 3, "old", None)]
    assert past.versions() == [*first, *second, (2, 2, "old", None), (3, 30, "new", None)]


@pytest.mark.parametrize("lost", [[0, 1], [1]])
def test_a_rebuild_continues_at_the_next_batch_that_holds_all_rows(past: Past, lost: list[int]) -> None:
    paths = manifests(past.world)
    for number in lost:
        paths[number].unlink()
    assert past.rebuild() == [number for number in range(3) if number not in lost]
    query(past.world.source_url, "UPDATE sale SET pieces = pieces + 1 WHERE sale_id = 1")
    (report,) = past.world.run().reports
    assert report.rows_read == 1, "runs go on from there as ever"
    query(past.world.source_url, "UPDATE sale SET pieces = pieces - 1 WHERE sale_id = 1")


def test_a_batch_whose_rows_are_lost_is_left_out(past: Past) -> None:
    for lost in (
        Path(past.world.raw_uri, "sale", f"batch={past.batches[0]}"),
        Path(past.world.processed_uri),
    ):
        shutil.rmtree(lost)
    assert past.rebuild() == [1, 2]


def test_a_batch_whose_rows_are_all_rejected_is_loaded_where_others_follow_it(past: Past) -> None:
    """The first batch's rows have no note; the next batch has the values."""
    needed = {"schema": SCHEMA.format(", note text NOT NULL, town text") + TOWNS}
    with past.models(needed):
        assert past.rebuild() == [0, 1, 2]
        assert past.versions()[0] == (1, 1, "old", "York")


def test_a_model_that_no_batch_can_feed_is_named(past: Past) -> None:
    """Columns of other models that the first batch lacks count as NULL."""
    with past.models({"dim_town": "SELECT sale_id, twon AS town FROM town"}):
        test_rebuild.lose(past.world)
        with pytest.raises(PipelineError, match=r"dim_town\.sql:1: .*twon"):
            test_rebuild.run(past.world).result()
    assert past.rebuild() == [0, 1, 2]


def test_lost_rows_of_a_carried_state_are_read_again_in_the_same_run(past: Past) -> None:
    assert past.rebuild() == [0, 1, 2]
    shutil.rmtree(Path(past.world.raw_uri, "town"))
    query(past.world.source_url, "INSERT INTO sale VALUES (4, 4, 'more')")
    (report,) = past.world.run().reports
    current = query(past.world.warehouse_url, "SELECT * FROM fact_sale_current ORDER BY 1")
    assert [row[:4] for row in current] == query(past.world.source_url, NOW)
    query(past.world.source_url, "DELETE FROM sale WHERE sale_id = 4")
    assert report.rows_read > 1
