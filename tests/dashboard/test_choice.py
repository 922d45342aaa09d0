"""Which warehouse the page shows: the reader's URL, the settings', the block's, or the demo's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from demo import commands
from demo.home import WAREHOUSE, Home
from demo.postgres import Postgres
from pipeline import settings
from pipeline.settings import Settings
from tasks import blocks, dashboard

READER, LOADER = "postgresql://reader@127.0.0.1/warehouse", "postgresql://loader@127.0.0.1/warehouse"


def _shown(user: str) -> str:
    """The same URL as libpq's parameters."""
    return f"user={user} dbname=warehouse host=127.0.0.1"


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def execv(program: str, argv: list[str]) -> None:
        raise SystemExit([program, *argv[1:]])

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["dashboard", "--port", "0"])
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    # Set first, so that it is removed again at the end.
    monkeypatch.setenv("TOTESYS_DASHBOARD_URL", READER)
    monkeypatch.delenv("TOTESYS_DASHBOARD_URL")
    monkeypatch.setattr(dashboard, "env_file", dict)
    return monkeypatch


@pytest.mark.parametrize(
    ("urls", "has_prefect", "shown"),
    [
        ({"dashboard_url": READER, "warehouse_url": LOADER}, True, _shown("reader")),
        ({"warehouse_url": LOADER}, True, _shown("loader")),
        ({"warehouse_url": "name-of-a-secret"}, False, "of the block"),
        ({}, True, "of the block"),
        ({}, False, None),
    ],
    ids=["the reader's", "the settings'", "a secret's", "the block's", "the demo's"],
)
def test_the_page_shows_the_first_warehouse_that_is_named(
    replaced: pytest.MonkeyPatch, urls: dict[str, str], has_prefect: bool, shown: str | None
) -> None:
    config = Settings(**{name: SecretStr(url) for name, url in urls.items()})  # type: ignore[arg-type]
    replaced.setattr(settings, "load", lambda: config)
    replaced.setattr(blocks, "database_url", lambda block, environment: f"of the block{environment or ''}")
    if has_prefect:
        replaced.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    with pytest.raises(SystemExit) as ended:
        dashboard.main()
    module = ["dashboard"] if shown else ["demo", "dashboard"]
    assert ended.value.args == ([sys.executable, "-m", *module, "--port", "0"],)
    assert os.environ.get("TOTESYS_DASHBOARD_URL") == shown


def test_an_error_of_the_settings_is_one_line(replaced: pytest.MonkeyPatch) -> None:
    config = Settings(warehouse_url=SecretStr("a-secret"))
    replaced.setattr(settings, "load", lambda: config)

    def missing(block: str, environment: str | None) -> str:
        raise ValueError("there is no block\nof this name")

    replaced.setattr(blocks, "database_url", missing)
    with pytest.raises(SystemExit, match=r"^error: ValueError: there is no block of this name$"):
        dashboard.main()


def test_the_demo_serves_its_own_warehouse(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[object] = []

    class Page:
        def __init__(self, *given: object) -> None:
            started.extend(given)

        def wait_for_end(self) -> int:
            return 0

    monkeypatch.setattr(commands, "Dashboard", Page)
    monkeypatch.setattr(Home, "isolate", lambda home: None)
    home = Home(tmp_path)
    assert commands._dashboard(home, postgres, ["--port", "0"]) == 0
    assert started == [postgres.url(WAREHOUSE), home.folder, "--port", "0"]
