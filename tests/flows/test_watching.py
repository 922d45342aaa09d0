"""What runs publish: events, assets, a chart and metrics."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.settings import PREFECT_CLIENT_METRICS_ENABLED, PREFECT_CLIENT_METRICS_PORT, temporary_settings
from prefect.utilities import services

from pipeline.status import Batch
from tasks.chart import chart
from tasks.metrics import OUTCOMES
from tests.flows.shop_runs import ShopRuns
from tests.flows.support import SECONDS_TO_WAIT, Run, World, client, figures, query

Event = dict[str, Any]


def events(run: Run, name: str, number: int) -> list[Event]:
    """At least this many events of a run whose names begin so, as soon as the server has them."""
    related = {"id": [f"prefect.flow-run.{run.id}"]}
    wanted = {"filter": {"event": {"prefix": [name]}, "related": related}, "limit": 50}
    deadline = time.monotonic() + SECONDS_TO_WAIT
    with client() as prefect:
        while True:
            found: list[Event] = prefect._client.post("/events/filter", json=wanted).json()["events"]
            if len(found) >= number or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def updated(run: Run) -> Event:
    (event,) = events(run, "totesys.warehouse.updated", 1)
    return event


@pytest.fixture
def runs(shop_runs: Callable[[str], ShopRuns]) -> ShopRuns:
    return shop_runs("s3")


def test_each_run_that_updates_the_warehouse_emits_an_event(runs: ShopRuns) -> None:
    report = runs.second.run.reports[0]
    event = updated(runs.second.run)
    assert event["resource"] == {"prefect.resource.id": "totesys.warehouse"}
    assert event["payload"] == {
        "up_to_date_at": report.snapshot_at.isoformat(),
        "batch_id": report.batch_id,
        **{what: report.total(what) for what in ("added", "changed", "deleted", "rejected")},
    }
    assert updated(runs.quiet.run)["payload"] == {"up_to_date_at": runs.quiet.up_to_date_at.isoformat()}


@pytest.mark.campaign
def test_rejected_rows_are_reported_once(kiosk: World) -> None:
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 9, now(), 1), (5, 1, now(), NULL)")
    run = kiosk.run()
    (event,) = events(run, "totesys.rows.rejected", 1)
    batch_id = run.reports[0].batch_id
    assert event["payload"] == {"batch_id": batch_id, "rows": 2, "tables": {"fact_sale": 2}}
    query(kiosk.source_url, "UPDATE sale SET pieces = 7 WHERE sale_id = 1")
    again = kiosk.run()
    assert again.reports[0].total("rejected") == 0, "the one that waits for its item was rejected before"
    assert updated(again)
    assert events(again, "totesys.rows.rejected", 0) == []


@pytest.mark.campaign
def test_missed_rows_are_reported(kiosk: World) -> None:
    kiosk.run()
    query(kiosk.source_url, "UPDATE sale SET pieces = 7 WHERE sale_id = 1")
    run = kiosk.run(reconcile=True)
    assert [report.total("changed") for report in run.reports] == [1, 0], (
        "what an ordinary run sees comes first"
    )
    assert len(events(run, "totesys.warehouse.updated", 2)) == 2
    assert events(run, "totesys.rows.missed", 0) == []
    query(kiosk.warehouse_url, "UPDATE fact_sale SET pieces = 99 WHERE sale_id = 2")
    run = kiosk.run(reconcile=True)
    (event,) = events(run, "totesys.rows.missed", 1)
    batch_id = run.reports[-1].batch_id
    assert event["payload"] == {"batch_id": batch_id, "rows": 1, "tables": {"fact_sale": 1}}
    assert "Earlier runs had missed 1 row" in run.reports[-1].summary


def test_a_batch_emits_its_lineage(kiosk: World) -> None:
    run = kiosk.run()
    made = {event["resource"]["prefect.resource.id"]: event for event in events(run, "prefect.asset.", 8)}
    source, warehouse = (key_of(url) for url in (kiosk.source_url, kiosk.warehouse_url))
    raw, processed = f"file://{kiosk.raw_uri}", f"file://{kiosk.processed_uri}"
    assert {key: origins(event) for key, event in made.items()} == {
        f"{source}/item": [],
        f"{source}/sale": [],
        f"{raw}/item": [f"{source}/item"],
        f"{raw}/sale": [f"{source}/sale"],
        f"{processed}/dim_item": [f"{raw}/item"],
        f"{processed}/fact_sale": [f"{raw}/sale"],
        f"{warehouse}/dim_item": [f"{processed}/dim_item"],
        f"{warehouse}/fact_sale": [f"{processed}/fact_sale"],
    }
    kinds = {key: event["event"] for key, event in made.items()}
    assert kinds[f"{source}/item"] == "prefect.asset.referenced"
    assert kinds[f"{warehouse}/fact_sale"] == "prefect.asset.materialization.succeeded"
    assert made[f"{warehouse}/fact_sale"]["payload"]["added"] == 3
    password = unquote(urlsplit(kiosk.source_url).password or "")
    assert password
    assert password not in json.dumps(made)


def key_of(url: str) -> str:
    parts = urlsplit(url)
    return f"postgres://{parts.hostname}:{parts.port}{parts.path}/public"


def origins(event: Event) -> list[str]:
    related = event["related"]
    return [each["prefect.resource.id"] for each in related if each["prefect.resource.role"] == "asset"]


@pytest.mark.campaign
def test_assets_are_emitted_only_for_changed_tables(kiosk: World) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.source_url, "UPDATE sale SET pieces = 7 WHERE sale_id = 1")
    changed = kiosk.run()
    tables = {
        event["resource"]["prefect.resource.id"].rpartition("/")[2]
        for event in events(changed, "prefect.asset.", 4)
    }
    assert tables == {"sale", "fact_sale"}
    quiet = kiosk.run()
    assert updated(quiet)
    assert events(quiet, "prefect.asset.", 0) == []


def test_the_page_has_a_chart_of_the_last_batches(runs: ShopRuns) -> None:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[runs.second.run.id]))
    with client() as prefect:
        (page,) = [
            str(artifact.data)
            for artifact in prefect.read_artifacts(artifact_filter=of_run)
            if artifact.type == "markdown"
        ]
    picture = drawn(page)
    bars = picture.findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 2 * 2, "rows and seconds of two batches"
    high = [float(bar.attrib["height"]) for bar in bars]
    assert high[0] == max(high)
    assert 0 < high[1] < high[0]
    assert bars_and_words(page)[1][0] == "rows added, changed or deleted"


def drawn(page: str) -> ET.Element:
    """The picture that a page holds."""
    image = r"^!\[the last batches\]\(data:image/svg\+xml;base64,([^)]+)\)$"
    (encoded,) = re.findall(image, page, re.MULTILINE)
    return ET.fromstring(base64.b64decode(encoded))  # noqa: S314  made by ourselves


def bars_and_words(page: str) -> tuple[int, list[str | None]]:
    svg = "{http://www.w3.org/2000/svg}"
    picture = drawn(page)
    return len(list(picture.iter(f"{svg}rect"))), [text.text for text in picture.iter(f"{svg}text")]


def test_a_chart_can_be_drawn_of_any_batches() -> None:
    """Nothing changed, clocks that disagree, and numbers of any size."""
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    batch = Batch(
        batch_id="1", snapshot_at=moment, loaded_at=moment, added=0, changed=0, deleted=0, rejected=0
    )
    early = batch.model_copy(update={"loaded_at": moment - timedelta(hours=1)})
    assert bars_and_words(chart([early])) == (0, ["2026-11-20 00:00 UTC"])
    large = batch.model_copy(update={"added": 12_345_678, "loaded_at": moment + timedelta(seconds=0.2)})
    assert bars_and_words(chart([large, early])) == (
        4,
        [
            "rows added, changed or deleted",
            "12.3M",
            "seconds from a batch's moment to the warehouse",
            "0",
            "-3600",
            "2026-11-20 00:00 UTC",
        ],
    )


@pytest.fixture
def metrics() -> Iterator[Callable[[], dict[str, dict[str, float]]]]:
    """A function that asks the endpoint which Prefect serves its client's metrics at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ask() -> dict[str, dict[str, float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return figures(answer.read().decode())

    with temporary_settings({PREFECT_CLIENT_METRICS_ENABLED: True, PREFECT_CLIENT_METRICS_PORT: port}):
        yield ask
    assert services._metrics_server
    server, _ = services._metrics_server
    services.stop_client_metrics_server()
    server.server_close()


@pytest.mark.campaign
def test_prefect_s_metrics_have_ours_among_them(
    kiosk: World, metrics: Callable[[], dict[str, dict[str, float]]]
) -> None:
    run = kiosk.run()
    first = metrics()
    assert first["totesys_up_to_date_timestamp_seconds"][""] == run.reports[0].snapshot_at.timestamp()
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 1, now(), 1), (5, 1, now(), NULL)")
    query(kiosk.source_url, "UPDATE sale SET pieces = 7 WHERE sale_id = 1")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    second = metrics()

    def grown(name: str, labels: str) -> float:
        return second[name][labels] - first[name].get(labels, 0)

    rows = {what: grown("totesys_rows_total", f"{what} fact_sale") for what in OUTCOMES}
    assert rows == {"added": 1, "changed": 1, "deleted": 0, "rejected": 1}
    assert grown("totesys_batches_total", "") == 1
    assert all(
        grown("totesys_step_seconds_total", step) > 0 for step in ("plan", "extract", "transform", "load")
    )
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    third = metrics()
    assert third["totesys_batches_total"] == second["totesys_batches_total"]
    name = "totesys_up_to_date_timestamp_seconds"
    assert third[name][""] > second[name][""]
