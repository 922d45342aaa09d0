"""The same flows on a different database with its own models: no Python module names Totesys' tables."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from demo import shop
from pipeline.models.target import ADDED_TO_FACTS
from tests.flows.shop_runs import TRANSFORMS
from tests.flows.support import (
    EQUAL,
    HERE,
    ROOT,
    Difference,
    Run,
    World,
    difference,
    execute_file,
    query,
    warehouse_state,
    words_of,
)

FOLDER = HERE / "other"
ORACLES = {path.stem: path for path in sorted((FOLDER / "oracle").glob("*.sql"))}
SCHEMAS = {"TOTESYS_SOURCE_SCHEMA": "Observatory", "TOTESYS_WAREHOUSE_SCHEMA": "Sky archive"}
RED = "0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01"


@dataclass(frozen=True)
class Chapter:
    run: Run
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Story:
    """A first run, one after changes, and one after nothing."""

    world: World
    first: Chapter
    second: Chapter
    quiet: Run


def chapter(world: World) -> Chapter:
    run = world.run()
    run.reports  # noqa: B018  raises what the run failed with
    schema = SCHEMAS["TOTESYS_WAREHOUSE_SCHEMA"]
    return Chapter(run, {name: difference(world, schema, path, name) for name, path in ORACLES.items()})


def observatory(make_world: Callable[..., World], transforms: Path) -> World:
    """A world with the observatory as its source."""
    world = make_world("observatory", transforms, more=SCHEMAS)
    execute_file(world.source_url, FOLDER / "source.sql")
    query(world.warehouse_url, 'CREATE SCHEMA "Sky archive"')
    return world


@pytest.fixture(scope="module")
def story(make_world: Callable[..., World]) -> Story:
    world = observatory(make_world, FOLDER / "models")
    first = chapter(world)
    execute_file(world.source_url, FOLDER / "changes.sql")
    second = chapter(world)
    # Otherwise the view's newest rows would lie within the cursor's overlap for a minute.
    query(world.source_url, "UPDATE \"Observatory\".calibration_entry SET changed_at = '2026-01-03'")
    world.run().reports  # noqa: B018  raises what the run failed with
    return Story(world, first, second, world.run())


@pytest.mark.parametrize("relation", ORACLES)
def test_every_value_arrives_exactly(story: Story, relation: str) -> None:
    assert story.first.differences[relation] == EQUAL


@pytest.mark.parametrize("relation", ORACLES)
def test_every_changed_value_arrives_exactly(story: Story, relation: str) -> None:
    assert story.second.differences[relation] == EQUAL


def test_columns_have_the_same_types_on_both_sides(story: Story) -> None:
    """Equal texts could otherwise be different values."""
    described = (
        "SELECT attname::text, format_type(COALESCE(NULLIF(typbasetype, 0), atttypid), CASE typtype WHEN 'd'"
        " THEN typtypmod ELSE atttypmod END) FROM pg_attribute INNER JOIN pg_type ON pg_type.oid = atttypid"
        " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
    )
    source = query(story.world.source_url, described, '"Observatory"."Instrument"')
    found = query(story.world.warehouse_url, described, '"Sky archive"."dim_Instrument"')

    def unqualified(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(name, type_.rpartition(".")[2]) for name, type_ in rows]

    assert unqualified(found) == unqualified(source)
    assert len(found) > 25


def test_an_empty_table_stays_empty_until_it_has_rows(story: Story) -> None:
    counts = {count.table: count for count in story.first.run.reports[0].counts}
    assert "dim_part" not in counts or counts["dim_part"].added == 0
    assert query(story.world.warehouse_url, 'SELECT count(*) FROM "Sky archive".dim_part') == [(1,)]


def test_a_changed_lookup_row_adds_versions_of_the_rows_that_join_it(story: Story) -> None:
    counts = {count.table: count for count in story.second.run.reports[0].counts}
    log = counts["Observation log"]
    # Two observations through the filter, three by the name of their instrument (two of them
    # the same), and one by its own remark; one is new.
    assert (log.added, log.changed, log.deleted, log.rejected) == (1, 4, 0, 0)
    versions = query(
        story.world.warehouse_url,
        "SELECT colour, bandwidth::text, instrument_name, valid_to IS NULL"
        ' FROM "Sky archive"."Observation log_history"'
        ' WHERE "Instrument Id" = %s AND "Slot" = 1 AND "Taken At" = %s ORDER BY valid_from',
        RED,
        "2026-01-01 20:00:00.000001+00",
    )
    assert versions == [("red", "10.50", "plain", False), ('deep "red"', "10.5", "\\N\n", True)]


def test_a_view_is_read_by_its_cursor(story: Story) -> None:
    counts = {count.table: count for count in story.second.run.reports[0].counts}
    assert (counts["fact_calibration"].added, counts["fact_calibration"].changed) == (1, 1)
    assert counts["fact_calibration"].read == 3, "what is new, and what the overlap reads again"


def test_a_run_without_changes_ends_early(story: Story) -> None:
    assert story.quiet.reports == []


def test_a_value_that_cannot_be_carried_is_rejected(make_world: Callable[..., World], tmp_path: Path) -> None:
    """Postgres' last moment lies beyond what 64 bits of microseconds since 1970 can hold."""
    world = make_world("thing", tmp_path)
    columns = "(id integer PRIMARY KEY, odd timestamptz)"
    query(world.source_url, f"CREATE TABLE thing {columns}")
    query(
        world.source_url, "INSERT INTO thing VALUES (1, '294276-12-31 23:59:59.999999+00'), (2, '2024-01-01')"
    )
    (tmp_path / "schema.sql").write_text(f"CREATE TABLE IF NOT EXISTS dim_thing {columns}")
    (tmp_path / "dim_thing.sql").write_text("SELECT id, odd FROM thing")
    (report,) = world.run().reports
    assert [count.rejected for count in report.counts] == [1]
    assert query(world.warehouse_url, "SELECT id FROM dim_thing") == [(2,)]


def test_a_type_that_cannot_be_carried_is_refused(story: Story, tmp_path: Path) -> None:
    """Postgres has no type for a STRUCT of DuckDB's; the model has to say what it means."""
    before = warehouse_state(story.world.warehouse_url)
    for path in (FOLDER / "models").glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"))
    model = tmp_path / "Observation log.sql"
    model.write_text(model.read_text().replace('"Observation".counts', "{'a': 1} AS counts"))
    world = replace(story.world, transforms=tmp_path, raw_uri=str(tmp_path / "raw"))
    error = words_of(world.run().error)
    assert re.search(r"Observation log\.sql:8: column counts is STRUCT\(.*bigint\[\].*cast", error), error
    assert warehouse_state(story.world.warehouse_url) == before


# Words of psycopg (a transaction), of the cluster's API (its address), of s3transfer (its module
# manager), of servers (when one was started), and of everybody (an id, a day, a checksum).
EVERYDAY = {
    "transaction", "id", "address", "manager", "started_at", "day", "month", "quarter", "year", "location",
    "checksum", "rate",
}  # fmt: skip


def totesys_names(make_world: Callable[..., World]) -> set[str]:
    """All table and column names of source and warehouse, from their catalogues."""
    world = make_world("names", TRANSFORMS)
    execute_file(world.source_url, ROOT / "demo" / "source.sql")
    execute_file(world.warehouse_url, TRANSFORMS / "schema.sql")
    named = (
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public'"
        " UNION SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    return {name for url in (world.source_url, world.warehouse_url) for (name,) in query(url, named)}


def code_words(path: Path) -> Iterator[tuple[str, int]]:
    """Each word of a file's code, comments and docstrings aside, and its line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        for number, line in enumerate(text.splitlines(), 1):
            yield from ((word, number) for word in re.findall(r"\w+", line.partition("--")[0]))
        return
    prose = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT and not (token.type == tokenize.STRING and token.start[0] in prose):
            yield from ((word, token.start[0]) for word in re.findall(r"\w+", token.string))


def test_no_python_module_names_tables_of_totesys(make_world: Callable[..., World]) -> None:
    names = totesys_names(make_world)
    assert {*shop.COLUMNS, "sales_order_id", "dim_staff", "units_sold"} <= names
    paths = [
        path
        for layer in ("pipeline", "tasks", "flows")
        for path in (ROOT / layer).rglob("*")
        if path.suffix in {".py", ".sql"}
    ]
    assert len(paths) > 20
    found = {
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in paths
        for word, line in code_words(path)
        if word in names - EVERYDAY - set(ADDED_TO_FACTS)
    }
    assert found == set()
