"""A run logs the session that it waits for, and fails in one line after a limit."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from pipeline.errors import LockTimeout
from tests.flows.support import World


@pytest.mark.parametrize(
    ("where", "statement", "logger"),
    [
        pytest.param(
            "source", "ALTER TABLE item ADD more int", "prefect.flow_runs", marks=pytest.mark.campaign
        ),
        ("warehouse", "LOCK TABLE fact_sale IN SHARE MODE", "prefect.task_runs"),
    ],
)
def test_a_run_names_the_session_that_it_waits_for(
    kiosk: World, caplog: pytest.LogCaptureFixture, where: str, statement: str, logger: str
) -> None:
    assert kiosk.run().reports
    world = replace(kiosk, more={"TOTESYS_LOCK_TIMEOUT": "8"})
    caplog.clear()
    url = world.source_url if where == "source" else world.warehouse_url
    with psycopg.connect(world.source_url, autocommit=True) as changing:
        changing.execute("UPDATE sale SET pieces = pieces + 1")
    with psycopg.connect(url, application_name="psql of ann") as other:
        other.execute(statement.encode())
        error = world.run().error
        other.rollback()
    assert isinstance(error, LockTimeout)
    assert "(psql of ann) holds" in str(error)
    waits = [record.name for record in caplog.records if "waiting for" in record.getMessage()]
    assert [name for name in waits if name.startswith("prefect.")] == [logger]
    assert world.run().reports
