"""The main job on the made-up shop, over folders and over S3, and what a run shows of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from psycopg import sql

from demo import shop
from flows.etl import etl
from tests.flows.story import FACTS, ORACLES, Chapter, Story, chapter
from tests.flows.support import (
    EQUAL,
    ROOT,
    Run,
    World,
    client,
    query,
    words_of,
)

# What the warehouse calls the columns that a working day changes without a trace.
IN_THE_WAREHOUSE = {
    ("sales_order", "staff_id"): "sales_staff_id",
}


@pytest.fixture(params=["s3", pytest.param("folders", marks=pytest.mark.campaign)])
def story(stories: Callable[[str], Story], request: pytest.FixtureRequest) -> Story:
    return stories(request.param)


@pytest.fixture
def told(stories: Callable[[str], Story]) -> Story:
    """The story over S3: enough where the kind of bucket cannot matter."""
    return stories("s3")


@pytest.fixture(scope="module")
def reconciled(stories: Callable[[str], Story]) -> Chapter:
    """One more run of the story over S3, which reads everything once more."""
    return chapter(stories("s3").world, reconcile=True)


def history(story: Story, table: str, key: str, id_: int, column: str) -> list[Any]:
    """A column's values in the order in which they came, the latest last."""
    order = "valid_from NULLS FIRST" if table.startswith("fact_") else "valid_to NULLS LAST"
    statement = sql.SQL("SELECT {column} FROM {view} WHERE {key} = {id} ORDER BY " + order).format(
        column=sql.Identifier(column),
        view=sql.Identifier(f"{table}_history"),
        key=sql.Identifier(key),
        id=id_,
    )
    return [value for (value,) in query(story.world.warehouse_url, statement)]


def changed(run: Run) -> dict[str, tuple[int, int, int]]:
    """Rows added, changed and deleted, by table, where there are any."""
    counts = [count for report in run.reports for count in report.counts]
    found = {count.table: (count.added, count.changed, count.deleted) for count in counts}
    return {table: numbers for table, numbers in found.items() if any(numbers)}


@pytest.mark.parametrize("table", ORACLES)
def test_first_run_brings_what_plain_sql_says(story: Story, table: str) -> None:
    assert story.first.differences[table] == EQUAL
    assert story.first.versions[table] > 0


def test_there_is_an_oracle_for_each_warehouse_table(told: Story) -> None:
    named = r"SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%\_version'"
    assert {name for (name,) in query(told.world.warehouse_url, named)} == set(ORACLES)
    assert {path.stem for path in (ROOT / "transforms").glob("*.sql")} - {"schema"} == set(ORACLES)


def test_a_row_that_is_not_committed_yet_comes_with_the_next_run(story: Story) -> None:
    for table, key, id_ in [
        ("fact_sales_order", "sales_order_id", story.late.order_id),
        ("fact_payment", "payment_id", story.late.payment_id),
    ]:
        came_at = query(
            story.world.warehouse_url,
            sql.SQL("SELECT min(valid_from) FROM {} WHERE {} = {}").format(
                sql.Identifier(f"{table}_history"), sql.Identifier(key), id_
            ),
        )
        assert came_at == [(story.second.run.reports[0].snapshot_at,)]


@pytest.mark.parametrize("table", ORACLES)
def test_second_run_brings_every_change(story: Story, table: str) -> None:
    """Deletions too; only a dimension keeps its rows, because facts refer to them."""
    assert story.second.differences[table].missing == []
    beyond = story.second.differences[table].beyond
    if table != "dim_date":  # it keeps the days of facts that were deleted or changed
        assert len(beyond) == {"dim_transaction": 1}.get(table, 0)


@pytest.mark.parametrize("number", range(len(shop.SILENT)))
def test_a_change_without_a_trace_is_there_with_old_and_new_value(story: Story, number: int) -> None:
    edit = story.day.edits[number]
    table = f"dim_{edit.table}" if edit.table == "design" else f"fact_{edit.table}"
    column = IN_THE_WAREHOUSE.get((edit.table, edit.column), edit.column)
    values = history(story, table, f"{edit.table}_id", edit.id, column)
    assert [str(values[0]), str(values[-1])] == [str(edit.old), str(edit.new)]


def test_each_payment_that_became_paid_has_both_versions(story: Story) -> None:
    assert story.day.paid
    for payment_id in story.day.paid:
        assert history(story, "fact_payment", "payment_id", payment_id, "paid") == [False, True]
        times = history(story, "fact_payment", "payment_id", payment_id, "last_updated_time")
        assert times[-1] == story.day.paid_at.time()


def test_new_orders_came_with_their_payments(story: Story) -> None:
    came = changed(story.second.run)
    orders = len(story.day.sales) + 1, len(story.day.purchases)
    assert (came["fact_sales_order"][0], came["fact_purchase_order"][0]) == orders
    assert came["fact_payment"][0] == came["dim_transaction"][0] == sum(orders)


def test_a_department_that_moves_takes_its_staff_along(story: Story) -> None:
    assert story.day.moved_staff
    for staff_id in story.day.moved_staff:
        places = history(story, "dim_staff", "staff_id", staff_id, "location")
        assert places == [story.day.move.old, story.day.move.new]
    assert changed(story.second.run)["dim_staff"] == (0, len(story.day.moved_staff), 0)


def test_a_version_is_added_for_what_changed_and_for_nothing_else(story: Story) -> None:
    edited = {edit.table: set[int]() for edit in story.day.edits}
    for edit in story.day.edits:
        edited[edit.table].add(edit.id)
    came = changed(story.second.run)
    assert came["fact_sales_order"][1] == len(edited["sales_order"])
    assert came["fact_purchase_order"][1] == len(edited["purchase_order"])
    assert came["fact_payment"][1] == len(story.day.paid)
    assert came["dim_design"] == (1, len(edited["design"]), 0)
    assert set(came) <= {*FACTS, "dim_design", "dim_staff", "dim_transaction", "dim_date"}


def test_a_run_without_news_ends_early_as_up_to_date(story: Story) -> None:
    assert story.quiet.run.reports == []
    assert story.quiet.versions == story.second.versions
    assert set(story.quiet.objects) == set(story.second.objects)
    assert story.quiet.up_to_date_at > story.second.up_to_date_at
    assert set(story.quiet.run.task_runs({"report up to date"})) == {"report up to date"}


def test_an_ordinary_run_marks_what_was_deleted(story: Story) -> None:
    came = changed(story.second.run)
    assert (came["fact_sales_order"][2], came["fact_payment"][2]) == (1, 1)
    for table, key, id_ in [
        ("fact_sales_order", "sales_order_id", story.day.deleted.order_id),
        ("fact_payment", "payment_id", story.day.deleted.payment_id),
    ]:
        assert history(story, table, key, id_, "deleted")[-1] is True
    # A dimension's row is never deleted: facts refer to it.
    lost = (story.day.deleted.transaction_id,)
    known = query(story.world.warehouse_url, "SELECT transaction_id FROM dim_transaction")
    assert lost in known


def test_reconciling_finds_nothing_that_ordinary_runs_did_not(reconciled: Chapter) -> None:
    assert changed(reconciled.run) == {}
    for table in FACTS:
        assert reconciled.differences[table] == EQUAL


def test_the_first_run_can_still_be_asked_for(story: Story) -> None:
    moment = story.first.run.reports[0].snapshot_at
    for table in FACTS:
        as_of = sql.SQL("SELECT count(*) FROM {}({})").format(sql.Identifier(f"{table}_as_of"), moment)
        assert query(story.world.warehouse_url, as_of) == [(story.first.versions[table],)]


def test_nothing_in_the_buckets_is_written_twice(story: Story) -> None:
    for earlier, later in [(story.first, story.second), (story.second, story.quiet)]:
        kept = {name: later.objects.get(name) for name in earlier.objects}
        assert kept == earlier.objects
    assert len(story.first.objects) < len(story.second.objects)


def test_results_lie_beside_the_data_that_they_refer_to(told: Story) -> None:
    for uri, task, table in [
        (told.world.raw_uri, "extract", "payment"),
        (told.world.processed_uri, "transform", "fact_payment"),
    ]:
        batches = [report.batch_id for report in told.first.run.reports]
        ours = [name for name in told.first.objects if name.startswith(uri)]
        found = [name for name in ours if f"/_results/{task}/{table}/" in name]
        assert found
        assert all(f"batch={batches[0]}" in name for name in found)


def test_flows_have_the_names_that_users_know(told: Story) -> None:
    with client() as prefect:
        run = prefect.read_flow_run(told.first.run.id)
        children = prefect.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        )
        assert prefect.read_flow(run.flow_id).name == "totesys-etl"
        assert [prefect.read_flow(child.flow_id).name for child in children] == ["load-warehouse"]
        assert told.first.run.reports[0].batch_id in children[0].name


def test_task_runs_are_named_by_table(told: Story) -> None:
    reads = {
        "address", "counterparty", "currency", "department", "design", "payment", "payment_type",
        "purchase_order", "sales_order", "staff", "transaction",
    }  # fmt: skip
    wanted = {f"extract {table}" for table in reads} | {f"transform {table}" for table in ORACLES}
    runs = told.first.run.task_runs(wanted)
    assert wanted <= set(runs)
    assert not any("source" in run.tags for run in runs.values()), "each tag costs its run a question"


def test_a_table_of_many_parts_has_the_tag_that_spares_the_source(
    kiosk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.extract._MANY_PARTS", 1)
    runs = kiosk.run().task_runs({"extract item", "extract sale"})
    assert {name for name, run in runs.items() if "source" in run.tags} == {"extract item", "extract sale"}


def test_second_run_has_tasks_for_changed_tables_only(told: Story) -> None:
    changed_tables = {"department", "design", "payment", "purchase_order", "sales_order", "transaction"}
    wanted = {f"extract {table}" for table in changed_tables}
    runs = told.second.run.task_runs(wanted)
    assert {name for name in runs if name.startswith("extract ")} == wanted
    assert {name for name in runs if name.startswith("transform ")}.isdisjoint(
        f"transform {table}" for table in ("dim_currency", "dim_location", "dim_payment_type")
    )


def test_the_report_is_a_page_and_a_table(told: Story) -> None:
    report = told.second.run.reports[0]
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[told.second.run.id]))
    with client() as prefect:
        found = {artifact.type: artifact for artifact in prefect.read_artifacts(artifact_filter=of_run)}
    assert set(found) == {"markdown", "table"}
    page = str(found["markdown"].data)
    for words in [report.batch_id, f"{report.snapshot_at:%Y-%m-%d %H:%M:%S}", *changed(told.second.run)]:
        assert words in page
    assert "dim_staff" in str(found["table"].data)


def test_a_quiet_run_reports_how_fresh_the_warehouse_is(told: Story) -> None:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[told.quiet.run.id]))
    with client() as prefect:
        pages = [str(artifact.data) for artifact in prefect.read_artifacts(artifact_filter=of_run)]
    assert len(pages) == 1
    assert f"{told.quiet.up_to_date_at:%Y-%m-%d %H:%M:%S}" in pages[0]


@contextmanager
def source_down(world: World) -> Iterator[None]:
    """Let the source take no connections for the block, as if it were down."""
    switch = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
    name = sql.Identifier(world.source_url.rpartition("/")[2])
    query(world.warehouse_url, switch.format(name, sql.SQL("false")))
    yield
    query(world.warehouse_url, switch.format(name, sql.SQL("true")))


def test_a_batch_that_failed_after_its_seal_is_finished_without_the_source(
    kiosk: World, impatient: None
) -> None:
    counts = "SELECT (SELECT count(*) FROM dim_item), (SELECT count(*) FROM fact_sale_current)"
    model = kiosk.transforms / "dim_item.sql"
    right = model.read_text()
    # Only rows show what is wrong, so the batch is read and sealed before.
    model.write_text(right.replace("    label,", "    label::integer::varchar AS label,"))
    assert "does not fit INT32" in words_of(kiosk.run().error)
    assert query(kiosk.warehouse_url, "SELECT * FROM etl.watermark") == []
    assert query(kiosk.warehouse_url, counts) == [(0, 0)]

    model.write_text(right)
    with source_down(kiosk):
        finished = kiosk.run()
    assert re.search("source: .*not currently accepting connections", str(finished.error))
    assert query(kiosk.warehouse_url, counts) == [(3, 3)]
    states = {
        "extract item": "Cached",
        "extract sale": "Cached",
        "transform dim_item": "Completed",
        "transform fact_sale": "Cached",
    }
    runs = finished.task_runs(set(states))
    assert {name: run.state_name for name, run in runs.items() if name in states} == states

    loaded = "SELECT batch_id, loaded_at FROM etl.batch"
    before = query(kiosk.warehouse_url, loaded)
    assert kiosk.run().reports == []
    assert query(kiosk.warehouse_url, loaded) == before
    assert query(kiosk.warehouse_url, counts) == [(3, 3)]


@pytest.mark.campaign
def test_a_column_that_was_away_for_a_while_blocks_nothing(kiosk: World) -> None:
    assert kiosk.run().reports
    query(kiosk.source_url, "ALTER TABLE item RENAME COLUMN label TO caption")
    query(kiosk.source_url, "UPDATE item SET caption = 'away' WHERE item_id = 1")
    for _ in range(2):
        assert re.search("dim_item.sql:4: .*label", words_of(kiosk.run().error))
    query(kiosk.source_url, "ALTER TABLE item RENAME COLUMN caption TO label")
    assert kiosk.run().reports
    assert kiosk.run().reports == []
    assert query(kiosk.warehouse_url, "SELECT label FROM dim_item WHERE item_id = 1") == [("away",)]


def test_a_model_that_changed_is_computed_anew_for_all_rows(kiosk: World) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    model = kiosk.transforms / "dim_item.sql"
    model.write_text(model.read_text().replace("    label,", "    upper(label) AS label,"))
    assert changed(kiosk.run()) == {"dim_item": (0, 3, 0)}
    assert query(kiosk.warehouse_url, "SELECT label FROM dim_item WHERE item_id = 3") == [("UMBRELLA",)]


@pytest.mark.parametrize("parameter", ["reconcile", "full", "max_rejected"])
def test_the_parameters_are_documented(parameter: str) -> None:
    described = etl.parameters.properties[parameter]
    assert len(described["description"].split()) > 3


@pytest.mark.campaign
def test_a_column_that_is_gone_and_comes_back_leaves_nothing_stuck(kiosk: World) -> None:
    """The batch that was read without it is superseded by one that follows the same batch."""
    assert kiosk.run().state.is_completed()
    query(kiosk.source_url, "UPDATE sale SET pieces = 9 WHERE sale_id = 1")
    query(kiosk.source_url, "ALTER TABLE item RENAME label TO lable")
    for _ in range(2):
        assert re.search(r"dim_item\.sql.*label", words_of(kiosk.run().error))
    query(kiosk.source_url, "ALTER TABLE item RENAME lable TO label")
    query(kiosk.source_url, "UPDATE item SET label = 'parasol' WHERE item_id = 3")
    assert len(kiosk.run().reports) == 1
    assert query(kiosk.warehouse_url, "SELECT pieces FROM fact_sale_current WHERE sale_id = 1") == [(9,)]
    assert query(kiosk.warehouse_url, "SELECT label FROM dim_item WHERE item_id = 3") == [("parasol",)]
    assert kiosk.run().reports == []
