"""Several environments on one Prefect server: every run uses and names the one it was started for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped]

import flows.command
import tasks.status
from flows.load import load_warehouse
from flows.rebuild import rebuild
from pipeline import settings
from tasks import save_blocks
from tasks.deploy import of_environment
from tests.flows.conftest import open_kiosk
from tests.flows.support import ROOT, World, blocks_were_changed, query

NOTHING_YET = "SELECT to_regclass('etl.batch')"
CONFLICT = (
    "environment dev was requested, but TOTESYS_ENVIRONMENT is prod here;"
    " run it where TOTESYS_ENVIRONMENT is dev or not set"
)
SAID: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(make_world: Callable[..., World]) -> dict[str, World]:
    """Three environments on one server, the unnamed one among them."""
    worlds = {}
    for name in ("", "dev", "prod"):
        worlds[name] = replace(open_kiosk(make_world), more={"TOTESYS_ENVIRONMENT": name})
        with worlds[name].entered():
            save_blocks.save(settings.load())
    blocks_were_changed()
    return worlds


@pytest.fixture
def worlds(made: dict[str, World]) -> Iterator[dict[str, World]]:
    """The same, and no warehouse has anything."""
    yield made
    for world in made.values():
        query(world.warehouse_url, "DROP SCHEMA IF EXISTS etl, public CASCADE; CREATE SCHEMA public")


def loaded(worlds: dict[str, World]) -> set[str]:
    """The environments whose warehouses have a batch."""
    return {name for name, world in worlds.items() if query(world.warehouse_url, NOTHING_YET) != [(None,)]}


@pytest.mark.parametrize(
    ("set_to", "parameter", "expected"),
    [("prod", "", "prod"), ("prod", "prod", "prod"), ("", "prod", "prod"), ("", "", ""), ("dev", "", "dev")],
)
@pytest.mark.rarely("prod-prod-prod", "dev--dev")
def test_a_run_is_in_the_environment_that_it_or_the_settings_name(
    worlds: dict[str, World], set_to: str, parameter: str, expected: str
) -> None:
    run = worlds[set_to].flow(environment=parameter)
    assert run.state.is_completed(), run.error
    assert loaded(worlds) == {expected}


@pytest.mark.parametrize("flow", [rebuild, lambda **given: load_warehouse("x.json", [], "", **given)])
def test_the_other_flows_refuse_another_environment(
    worlds: dict[str, World], flow: Callable[..., object]
) -> None:
    with worlds["prod"].entered(), pytest.raises(Exception, match=CONFLICT):
        flow(environment="dev")


def test_a_run_for_another_environment_than_its_settings_is_refused(worlds: dict[str, World]) -> None:
    assert str(worlds["prod"].flow(environment="dev").error) == CONFLICT
    assert loaded(worlds) == set()


def command(world: World, main: Callable[[], int], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """A command's status, run with the world's settings."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    with world.entered():
        return main()


def test_make_run_refuses_another_environment(
    worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = flows.command.main
    assert command(worlds["prod"], run, monkeypatch, "--environment", "dev") == 1
    assert command(worlds["prod"], run, monkeypatch) == 0
    assert loaded(worlds) == {"prod"}
    assert command(worlds[""], run, monkeypatch, "--environment", "dev") == 0
    assert loaded(worlds) == {"dev", "prod"}


def test_make_status_refuses_another_environment(
    worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worlds["prod"].flow().state.is_completed()
    assert command(worlds["prod"], tasks.status.main, monkeypatch, "--quick") == 0
    assert command(worlds[""], tasks.status.main, monkeypatch, "--quick", "--environment", "prod") == 0
    assert command(worlds["dev"], tasks.status.main, monkeypatch, "--quick") == 2
    capsys.readouterr()
    assert command(worlds["prod"], tasks.status.main, monkeypatch, "--environment", "dev") == 3
    assert capsys.readouterr().out == f"UNKNOWN: {CONFLICT}\n"


def test_the_first_log_line_names_databases_and_buckets(
    worlds: dict[str, World], caplog: pytest.LogCaptureFixture
) -> None:
    prod = worlds["prod"]
    source, warehouse = urlsplit(prod.source_url), urlsplit(prod.warehouse_url)
    with caplog.at_level(logging.INFO, "prefect.flow_runs"):
        assert prod.flow().state.is_completed()
    ours = [record.getMessage() for record in caplog.records if record.filename != "flow_engine.py"]
    assert ours[0] == (
        f"Environment prod: source host={source.hostname} port={source.port} dbname={source.path[1:]}"
        f" user={source.username} schema=public; warehouse host={warehouse.hostname} port={warehouse.port}"
        f" dbname={warehouse.path[1:]} user={warehouse.username} schema=public;"
        f" raw bucket {prod.raw_uri}; processed bucket {prod.processed_uri}"
    )
    for secret in (source.password, warehouse.password):
        assert str(secret) not in caplog.text


def test_a_rebuild_does_not_name_the_source(
    worlds: dict[str, World], caplog: pytest.LogCaptureFixture
) -> None:
    """It works without one."""
    with worlds[""].entered(), caplog.at_level(logging.INFO, "prefect.flow_runs"):
        rebuild()
    (line,) = [record.getMessage() for record in caplog.records if "Environment" in record.getMessage()]
    assert line.startswith("Environment (unnamed): warehouse host=")


def test_the_unnamed_environment_s_deployments_are_as_the_file_has_them() -> None:
    assert of_environment(SAID, "") == SAID


def test_the_deployments_of_environments_share_nothing() -> None:
    before = yaml.safe_dump(SAID)
    made = {name: of_environment(SAID, name)["deployments"] for name in ("", "dev", "prod")}
    assert yaml.safe_dump(SAID) == before
    names = [deployment["name"] for deployments in made.values() for deployment in deployments]
    assert len(names) == len(set(names)) == 9
    for deployment in made["prod"]:
        assert deployment["name"].startswith("prod-")
        assert deployment["tags"] == ["prod-totesys", "prod"]
        assert deployment["parameters"]["environment"] == "prod"
        assert deployment["work_pool"]["job_variables"]["env"]["TOTESYS_ENVIRONMENT"] == "prod"
    assert made["prod"][1]["parameters"]["reconcile"] is True
    (trigger,) = made["prod"][0]["triggers"]
    assert trigger["name"] == "prod-totesys-refresh-wanted"
    assert trigger["match"] == {"prefect.resource.id": "prod.totesys.warehouse"}
