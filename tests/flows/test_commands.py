"""The exit status and the output of commands, and limits on rejected rows."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL

import flows.command
from flows.etl import etl
from tests.flows.attempts import WRONG, Try, nothing_changes, with_parts
from tests.flows.support import ROOT, World, query


def test_a_negative_limit_is_refused(loaded: World) -> None:
    """A deployment's run has no command that would refuse it."""
    loaded.save_blocks()
    with loaded.entered(), nothing_changes(loaded), pytest.raises(ParameterTypeError, match="max_rejected"):
        etl(max_rejected=-1)


def test_invalid_rows_are_rejected_until_they_are_fixed(kiosk: World, attempt: Try) -> None:
    in_fact = "SELECT array_agg(sale_id ORDER BY sale_id) FROM fact_sale"
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 2, '2026-01-06', NULL), (5, 9, '2026-01-06', 1)")
    kiosk.save_blocks()
    refused = attempt(kiosk, flows.command.main, "--max-rejected", "1")
    refused.fails_with("2 rows would be rejected", "1 .*allowed")
    assert query(kiosk.warehouse_url, "SELECT * FROM etl.watermark") == []
    assert query(kiosk.warehouse_url, "SELECT * FROM dim_item") == []

    done = attempt(kiosk, flows.command.main, "--max-rejected", "2")
    assert (done.status, done.err) == (0, "")
    assert "Rejected: 2 rows; etl.rejected has the reason of each." in done.out.splitlines()
    assert query(kiosk.warehouse_url, in_fact) == [([1, 2, 3],)]
    said = "SELECT key ->> 'sale_id', reason, \"row\" ->> 'item_id', resolved FROM etl.rejected ORDER BY 1, 4"
    assert query(kiosk.warehouse_url, said) == [
        ("4", "pieces is missing (NULL)", "2", False),
        ("5", "item_id is not in dim_item", "9", False),
    ]

    query(kiosk.source_url, "UPDATE sale SET pieces = 3 WHERE sale_id = 4")
    query(kiosk.source_url, "INSERT INTO item VALUES (9, 'lighter', 1.50)")
    assert attempt(kiosk, flows.command.main, "--max-rejected", "0").status == 0
    assert query(kiosk.warehouse_url, in_fact) == [([1, 2, 3, 4, 5],)]
    assert query(kiosk.warehouse_url, "SELECT bool_and(resolved), count(*) FROM etl.rejected") == [(True, 2)]


def command(world: World, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module as a command, with the session's Prefect server."""
    ours = ("TOTESYS_", "AWS_", "PREFECT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= world.settings | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_HOME": str(world.home / "prefect"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=world.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_the_command_fails_with_one_line_and_a_status_and_no_secret(loaded: World) -> None:
    world = replace(loaded, source_url=with_parts(loaded.source_url, password=WRONG))
    world.save_blocks()
    with nothing_changes(loaded):
        done = command(world, "flows")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(errors(done)) == 1
    assert done.stderr.splitlines()[-1] == errors(done)[0]
    assert done.stderr.count("password authentication failed") == 1, done.stderr
    assert "password authentication failed" in errors(done)[0]
    secrets = {WRONG, urlsplit(loaded.warehouse_url).password}
    assert not any(str(secret) in done.stdout + done.stderr for secret in secrets)
    assert "Traceback" not in done.stderr


def test_a_rebuild_that_lacks_the_last_batch_has_the_status_of_a_failure(kiosk: World, attempt: Try) -> None:
    assert kiosk.run().state.is_completed()
    query(kiosk.source_url, "UPDATE sale SET pieces = 9 WHERE sale_id = 1")
    assert kiosk.run().state.is_completed()
    max(Path(kiosk.raw_uri, "_manifests").rglob("*.json"), key=lambda path: path.name).unlink()
    query(kiosk.warehouse_url, "DROP SCHEMA public, etl CASCADE; CREATE SCHEMA public")
    attempt(kiosk, flows.command.main, "--rebuild").fails_with("1 batch is lost", "make run")
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM etl.batch") == [(1,)], "what exists was loaded"


def test_the_command_succeeds_without_changes(loaded: World) -> None:
    loaded.save_blocks()
    done = command(loaded, "flows")
    assert (done.returncode, done.stdout) == (0, "up to date: nothing changed in the source\n")
    assert errors(done) == []


def test_the_last_line_says_what_a_run_did_beside_its_batches(kiosk: World, attempt: Try) -> None:
    kiosk.save_blocks()

    def last_line(*arguments: str) -> str:
        done = attempt(kiosk, flows.command.main, *arguments)
        assert (done.status, done.err) == (0, "")
        return done.out.splitlines()[-1]

    assert last_line().startswith("  fact_sale"), "of a batch, the last table"
    model, schema = kiosk.transforms / "dim_item.sql", kiosk.transforms / "schema.sql"
    model.write_text(model.read_text().replace("label,", "upper(label) AS label,"), encoding="utf-8")
    assert last_line() == "nothing changed in the source; restated dim_item"
    schema.write_text(schema.read_text() + "COMMENT ON TABLE dim_item IS 'Things';", encoding="utf-8")
    assert last_line() == "nothing changed in the source; executed schema.sql"
    query(kiosk.warehouse_url, "TRUNCATE fact_sale")
    both = "nothing changed in the source; refilled fact_sale; restated dim_item"
    assert last_line("--restate", "dim_item") == both
    query(kiosk.source_url, "UPDATE item SET price = price + 1 WHERE item_id = 3")
    assert last_line("--restate", "fact_sale") == "restated fact_sale"
    assert last_line() == "up to date: nothing changed in the source"


def test_a_refused_change_is_shown_once(kiosk: World) -> None:
    kiosk.save_blocks()
    assert command(kiosk, "flows").returncode == 0
    schema = kiosk.transforms / "schema.sql"
    schema.write_text(schema.read_text(encoding="utf-8").replace("label text", "label varchar(3)"))
    done = command(kiosk, "flows")
    assert done.returncode == 1
    assert done.stderr.count("changes from text to character varying(3)") == 1, done.stderr
    assert "changes from text to character varying(3)" in errors(done)[0]
    assert "Finished in state" not in done.stderr


def test_a_failure_of_a_task_is_shown_once(kiosk: World) -> None:
    query(kiosk.source_url, "INSERT INTO sale VALUES (5, 9, '2026-01-06', 1)")
    kiosk.save_blocks()
    done = command(kiosk, "flows", "--max-rejected", "0")
    assert done.returncode == 1
    assert done.stderr.count("1 row would be rejected") == 1, done.stderr


def test_the_command_that_saves_blocks_fails_with_one_line_and_a_status(loaded: World) -> None:
    world = replace(loaded, more={"TOTESYS_SOURCE_URL": f"postgres//u:{WRONG}@h/d"})
    done = command(world, "tasks.save_blocks")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == errors(done)
    assert len(errors(done)) == 1
    assert "TOTESYS_SOURCE_URL" in errors(done)[0]
    assert WRONG not in done.stderr
