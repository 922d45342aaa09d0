"""The main flow on the made-up shop, over folders and S3, and what a run reports."""

from __future__ import annotations

from collections.abc import Callable
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
from pipeline.lake.manifest import Chunk, ReadSpec
from pipeline.source.changes import Slice
from tasks.extract import extracting
from tests.flows.shop_runs import FACTS, ORACLES, RunOutcome, ShopRuns, run_and_read
from tests.flows.support import EQUAL, ROOT, changed, client, query

# What the warehouse calls the columns that a working day changes without a trace.
IN_THE_WAREHOUSE = {("sales_order", "staff_id"): "sales_staff_id"}


@pytest.fixture(params=["s3", pytest.param("folders", marks=pytest.mark.campaign)])
def runs(shop_runs: Callable[[str], ShopRuns], request: pytest.FixtureRequest) -> ShopRuns:
    return shop_runs(request.param)


@pytest.fixture
def runs_over_s3(shop_runs: Callable[[str], ShopRuns]) -> ShopRuns:
    """The runs over S3, for tests where the kind of bucket does not matter."""
    return shop_runs("s3")


@pytest.fixture(scope="module")
def reconciled(shop_runs: Callable[[str], ShopRuns]) -> RunOutcome:
    """One more run over S3, which reads everything again."""
    return run_and_read(shop_runs("s3").world, reconcile=True)


def history(runs: ShopRuns, table: str, key: str, id_: int, column: str) -> list[Any]:
    """A column's values over all versions, the latest last."""
    order = "valid_from NULLS FIRST" if table.startswith("fact_") else "valid_to NULLS LAST"
    statement = sql.SQL("SELECT {column} FROM {view} WHERE {key} = {id} ORDER BY " + order).format(
        column=sql.Identifier(column),
        view=sql.Identifier(f"{table}_history"),
        key=sql.Identifier(key),
        id=id_,
    )
    return [value for (value,) in query(runs.world.warehouse_url, statement)]


@pytest.mark.parametrize("table", ORACLES)
def test_the_first_run_equals_plain_sql(runs: ShopRuns, table: str) -> None:
    assert runs.first.differences[table] == EQUAL
    assert (runs.first.versions[table] > 0) == (table != "dim_exchange_rate"), "its seed is empty"


def test_there_is_an_oracle_for_each_warehouse_table(runs_over_s3: ShopRuns) -> None:
    named = r"SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%\_version'"
    assert {name for (name,) in query(runs_over_s3.world.warehouse_url, named)} == set(ORACLES)
    assert {path.stem for path in (ROOT / "transforms").glob("*.sql")} - {"schema"} == set(ORACLES)


def test_a_row_that_is_not_committed_yet_comes_with_the_next_run(runs: ShopRuns) -> None:
    for table, key, id_ in [
        ("fact_sales_order", "sales_order_id", runs.late.order_id),
        ("fact_payment", "payment_id", runs.late.payment_id),
    ]:
        came_at = query(
            runs.world.warehouse_url,
            sql.SQL("SELECT min(valid_from) FROM {} WHERE {} = {}").format(
                sql.Identifier(f"{table}_history"), sql.Identifier(key), id_
            ),
        )
        assert came_at == [(runs.second.run.reports[0].snapshot_at,)]


@pytest.mark.parametrize("table", ORACLES)
def test_the_second_run_loads_every_change(runs: ShopRuns, table: str) -> None:
    """Deletions too; only a dimension keeps its rows, because facts refer to them."""
    assert runs.second.differences[table].missing == []
    beyond = runs.second.differences[table].beyond
    if table != "dim_date":  # it keeps the days of facts that were deleted or changed
        assert len(beyond) == {"dim_transaction": 1}.get(table, 0)


@pytest.mark.parametrize("number", range(len(shop.SILENT)))
def test_a_silent_edit_has_its_old_and_its_new_version(runs: ShopRuns, number: int) -> None:
    edit = runs.day.edits[number]
    table = f"dim_{edit.table}" if edit.table == "design" else f"fact_{edit.table}"
    column = IN_THE_WAREHOUSE.get((edit.table, edit.column), edit.column)
    values = history(runs, table, f"{edit.table}_id", edit.id, column)
    assert [str(values[0]), str(values[-1])] == [str(edit.old), str(edit.new)]


def test_each_payment_that_became_paid_has_both_versions(runs: ShopRuns) -> None:
    assert runs.day.paid
    for payment_id in runs.day.paid:
        assert history(runs, "fact_payment", "payment_id", payment_id, "paid") == [False, True]
        times = history(runs, "fact_payment", "payment_id", payment_id, "last_updated_time")
        assert times[-1] == runs.day.paid_at.time()


def test_new_orders_came_with_their_payments(runs: ShopRuns) -> None:
    came = changed(runs.second.run)
    orders = len(runs.day.sales) + 1, len(runs.day.purchases)
    assert (came["fact_sales_order"][0], came["fact_purchase_order"][0]) == orders
    assert came["fact_payment"][0] == came["dim_transaction"][0] == sum(orders)


def test_a_department_that_moves_takes_its_staff_along(runs: ShopRuns) -> None:
    assert runs.day.moved_staff
    for staff_id in runs.day.moved_staff:
        places = history(runs, "dim_staff", "staff_id", staff_id, "location")
        assert places == [runs.day.move.old, runs.day.move.new]
    assert changed(runs.second.run)["dim_staff"] == (0, len(runs.day.moved_staff), 0)


def test_only_changed_rows_get_a_new_version(runs: ShopRuns) -> None:
    edited = {edit.table: set[int]() for edit in runs.day.edits}
    for edit in runs.day.edits:
        edited[edit.table].add(edit.id)
    came = changed(runs.second.run)
    assert came["fact_sales_order"][1] == len(edited["sales_order"])
    assert came["fact_purchase_order"][1] == len(edited["purchase_order"])
    assert came["fact_payment"][1] == len(runs.day.paid)
    assert came["dim_design"] == (1, len(edited["design"]), 0)
    assert set(came) <= {*FACTS, "dim_design", "dim_staff", "dim_transaction", "dim_date"}


def test_a_run_without_changes_ends_as_up_to_date(runs: ShopRuns) -> None:
    assert runs.quiet.run.reports == []
    assert runs.quiet.versions == runs.second.versions
    assert set(runs.quiet.objects) == set(runs.second.objects)
    assert runs.quiet.up_to_date_at > runs.second.up_to_date_at
    assert set(runs.quiet.run.task_runs({"report up to date"})) == {"report up to date"}


def test_an_ordinary_run_marks_what_was_deleted(runs: ShopRuns) -> None:
    came = changed(runs.second.run)
    assert (came["fact_sales_order"][2], came["fact_payment"][2]) == (1, 1)
    for table, key, id_ in [
        ("fact_sales_order", "sales_order_id", runs.day.deleted.order_id),
        ("fact_payment", "payment_id", runs.day.deleted.payment_id),
    ]:
        assert history(runs, table, key, id_, "deleted")[-1] is True
    # A dimension's row is never deleted: facts refer to it.
    lost = (runs.day.deleted.transaction_id,)
    known = query(runs.world.warehouse_url, "SELECT transaction_id FROM dim_transaction")
    assert lost in known


def test_reconciling_finds_nothing_that_ordinary_runs_missed(reconciled: RunOutcome) -> None:
    assert changed(reconciled.run) == {}
    for table in FACTS:
        assert reconciled.differences[table] == EQUAL


def test_the_first_run_can_still_be_asked_for(runs: ShopRuns) -> None:
    moment = runs.first.run.reports[0].snapshot_at
    for table in FACTS:
        as_of = sql.SQL("SELECT count(*) FROM {}({})").format(sql.Identifier(f"{table}_as_of"), moment)
        assert query(runs.world.warehouse_url, as_of) == [(runs.first.versions[table],)]


def test_nothing_in_the_buckets_is_written_twice(runs: ShopRuns) -> None:
    for earlier, later in [(runs.first, runs.second), (runs.second, runs.quiet)]:
        kept = {name: later.objects.get(name) for name in earlier.objects}
        assert kept == earlier.objects
    assert len(runs.first.objects) < len(runs.second.objects)


def test_results_lie_beside_the_data_that_they_refer_to(runs_over_s3: ShopRuns) -> None:
    for uri, task, table in [
        (runs_over_s3.world.raw_uri, "extract", "payment"),
        (runs_over_s3.world.processed_uri, "transform", "fact_payment"),
    ]:
        batches = [report.batch_id for report in runs_over_s3.first.run.reports]
        ours = [name for name in runs_over_s3.first.objects if name.startswith(uri)]
        found = [name for name in ours if f"/_results/{task}/{table}/" in name]
        assert found
        assert all(f"batch={batches[0]}" in name for name in found)


def test_flows_have_the_names_that_users_know(runs_over_s3: ShopRuns) -> None:
    with client() as prefect:
        run = prefect.read_flow_run(runs_over_s3.first.run.id)
        children = prefect.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        )
        assert prefect.read_flow(run.flow_id).name == "totesys-etl"
        assert [prefect.read_flow(child.flow_id).name for child in children] == ["load-warehouse"]
        assert runs_over_s3.first.run.reports[0].batch_id in children[0].name


def test_task_runs_are_named_by_table(runs_over_s3: ShopRuns) -> None:
    reads = {
        "address", "counterparty", "currency", "department", "design", "payment", "payment_type",
        "purchase_order", "sales_order", "staff", "transaction",
    }  # fmt: skip
    wanted = {f"extract {table}" for table in reads} | {f"transform {table}" for table in ORACLES}
    runs = runs_over_s3.first.run.task_runs(wanted)
    assert wanted <= set(runs)
    assert not any("source" in run.tags for run in runs.values()), "each tag costs its run a question"


@pytest.mark.parametrize(("chunks", "tags"), [(3, set()), (4, {"source"})])
def test_a_table_of_many_chunks_has_the_tag_source(chunks: int, tags: set[str]) -> None:
    chunk = Chunk(batch_id="20230101T000000000000Z-00000001-00000001-1", table="sale", number=0, of=chunks)
    spec = ReadSpec(snapshot="", schema_name="public", slice=Slice(), columns=(), expected_rows=0)
    assert extracting(chunk, spec, "").tags == tags


def test_second_run_has_tasks_for_changed_tables_only(runs_over_s3: ShopRuns) -> None:
    changed_tables = {"department", "design", "payment", "purchase_order", "sales_order", "transaction"}
    wanted = {f"extract {table}" for table in changed_tables}
    runs = runs_over_s3.second.run.task_runs(wanted)
    assert {name for name in runs if name.startswith("extract ")} == wanted
    assert {name for name in runs if name.startswith("transform ")}.isdisjoint(
        f"transform {table}" for table in ("dim_currency", "dim_location", "dim_payment_type")
    )


def test_the_report_is_a_page_and_a_table(runs_over_s3: ShopRuns) -> None:
    report = runs_over_s3.second.run.reports[0]
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[runs_over_s3.second.run.id]))
    with client() as prefect:
        found = {artifact.type: artifact for artifact in prefect.read_artifacts(artifact_filter=of_run)}
    assert set(found) == {"markdown", "table"}
    page = str(found["markdown"].data)
    for words in [
        report.batch_id,
        f"{report.snapshot_at:%Y-%m-%d %H:%M:%S}",
        *changed(runs_over_s3.second.run),
    ]:
        assert words in page
    assert "dim_staff" in str(found["table"].data)


def test_a_run_without_changes_reports_the_time_of_the_source(runs_over_s3: ShopRuns) -> None:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[runs_over_s3.quiet.run.id]))
    with client() as prefect:
        pages = [str(artifact.data) for artifact in prefect.read_artifacts(artifact_filter=of_run)]
    assert len(pages) == 1
    assert f"{runs_over_s3.quiet.up_to_date_at:%Y-%m-%d %H:%M:%S}" in pages[0]


@pytest.mark.parametrize("parameter", ["reconcile", "full", "max_rejected"])
def test_the_parameters_are_documented(parameter: str) -> None:
    described = etl.parameters.properties[parameter]
    assert len(described["description"].split()) > 3
