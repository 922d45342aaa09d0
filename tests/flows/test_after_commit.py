"""A failure after the commit does not undo it, and its error names the committed batch."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

import flows.command
from flows.load import load_warehouse
from pipeline.errors import PipelineError, SourceError
from pipeline.warehouse import ledger
from tasks import report as reporting
from tests.flows.support import World, query, words_of

SALES = "SELECT count(*) FROM fact_sale"
LOAD = "flows.finish.load_warehouse"
BATCH = r"batch \d{8}T\d+Z-\S+"

Warnings = Callable[[], list[str]]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    """A function that returns the warnings of runs."""

    def found() -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("prefect.flow_runs") and record.levelno == logging.WARNING
        ]

    caplog.set_level(logging.WARNING, logger="prefect.flow_runs")
    return found


def failing(fault: Exception) -> Callable[..., None]:
    """A function that fails."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    return fail


@pytest.mark.parametrize(
    ("where", "fault", "words"),
    [
        pytest.param(
            "create_markdown_artifact",
            httpx.ConnectError("gone"),
            "its report failed; Prefect's server cannot be",
            marks=pytest.mark.campaign,
        ),
        ("create_table_artifact", ValueError("surprise"), "its report failed; ValueError: surprise"),
        pytest.param(
            "transaction",
            PipelineError("warehouse: gone"),
            "its report failed; warehouse: gone",
            marks=pytest.mark.campaign,
        ),
    ],
)
def test_a_run_completes_even_if_its_report_fails(
    kiosk: World,
    monkeypatch: pytest.MonkeyPatch,
    warnings: Warnings,
    where: str,
    fault: Exception,
    words: str,
) -> None:
    monkeypatch.setattr(reporting, where, failing(fault))
    monkeypatch.setattr(reporting.report, "retries", 0)
    run = kiosk.run()
    assert run.state.is_completed()
    assert len(run.reports) == 1
    assert query(kiosk.warehouse_url, SALES) == [(3,)]
    (warning,) = warnings()
    assert warning.startswith(f"Batch {run.reports[0].batch_id} is in the warehouse, but {words}")


def test_a_batch_is_reported_even_if_it_cannot_be_announced(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, warnings: Warnings
) -> None:
    monkeypatch.setattr("tasks.report.events.updated", failing(RuntimeError("no events")))
    run = kiosk.run()
    assert run.state.is_completed()
    assert run.task_runs({f"report batch {run.reports[0].batch_id}"})
    (warning,) = warnings()
    assert warning.endswith("is in the warehouse, but was not announced; RuntimeError: no events")


def test_a_command_succeeds_even_if_its_report_fails(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kiosk.save_blocks()
    monkeypatch.setattr(reporting, "create_markdown_artifact", failing(ValueError("surprise")))
    monkeypatch.setattr(sys, "argv", ["flows"])
    with kiosk.entered():
        assert flows.command.main() == 0
    assert "fact_sale  3 added" in capsys.readouterr().out


def test_a_batch_is_loaded_even_if_its_seal_cannot_be_announced(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, warnings: Warnings
) -> None:
    monkeypatch.setattr("flows.etl.assets.sealed", failing(RuntimeError("no events")))
    assert kiosk.run().state.is_completed()
    assert "is sealed, but that was not announced; RuntimeError: no events" in warnings()[0]


@pytest.mark.parametrize("step", ["record", "report"])
def test_a_run_without_changes_completes_even_if_that_cannot_be_recorded(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, warnings: Warnings, step: str
) -> None:
    assert kiosk.run().state.is_completed()
    if step == "record":
        monkeypatch.setattr(ledger, "record_up_to_date", failing(psycopg.OperationalError("cut off")))
    else:
        monkeypatch.setattr(reporting, "create_markdown_artifact", failing(ValueError("surprise")))
    assert kiosk.run().state.is_completed()
    assert warnings()[0].startswith("The source holds nothing new, but that was not recorded; ")


def test_a_failure_after_a_commit_says_which_batch_is_in_the_warehouse(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, without_retries: None
) -> None:
    """The sealed batch is finished first; then connecting to the source fails."""
    with monkeypatch.context() as patch:
        patch.setattr(LOAD, failing(PipelineError("warehouse: full")))
        assert words_of(kiosk.run().error) == "warehouse: full", "nothing was committed"
    gone = re.sub(r":\d+/", ":1/", kiosk.source_url)
    run = replace(kiosk, source_url=gone).run()
    assert query(kiosk.warehouse_url, SALES) == [(3,)]
    assert re.search(
        rf"source: cannot be reached: .*; {BATCH} was committed and is in the warehouse$", words_of(run.error)
    )
    assert run.state.message is not None
    assert run.state.message.endswith("was committed and is in the warehouse")


def test_a_model_that_changes_after_the_transform_ends_the_load(
    kiosk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change_then_load(*arguments: Any) -> None:
        model = kiosk.transforms / "dim_item.sql"
        model.write_text(model.read_text().replace("label", "upper(label) AS label"))
        load_warehouse(*arguments)

    monkeypatch.setattr(LOAD, change_then_load)
    line = words_of(kiosk.run().error)
    assert "models or tables have changed since the batch was transformed; run again" in line
    assert query(kiosk.warehouse_url, SALES) == [(0,)]


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ReadError("cut off"),
        pytest.param(SourceError("source: odd"), marks=pytest.mark.campaign),
        pytest.param(ValueError("surprise"), marks=pytest.mark.campaign),
    ],
)
def test_an_error_after_the_commit_names_the_batch(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def unheard(*arguments: Any) -> None:
        load_warehouse(*arguments)
        raise fault

    monkeypatch.setattr(LOAD, unheard)
    error = kiosk.run().error
    assert isinstance(error, Exception)
    said = [str(error), *getattr(error, "__notes__", [])]
    assert re.search(rf"{BATCH} was committed and is in the warehouse$", said[-1])


def test_an_unreachable_warehouse_leaves_the_commit_unknown(
    kiosk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        gone = failing(PipelineError("warehouse: gone"))
        monkeypatch.setattr("pipeline.warehouse.ledger.last_batch", gone)
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(LOAD, cut_off)
    said = words_of(kiosk.run().error)
    assert re.search(rf"the connection is lost.*; whether {BATCH} was committed is not known", said)
