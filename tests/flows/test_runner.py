"""A setting selects where tasks run."""

from __future__ import annotations

import sys

import pytest
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask.task_runners import DaskTaskRunner

from flows.context import open_run
from flows.runner import runner
from pipeline import settings
from pipeline.errors import SettingsError


def set_runner(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TOTESYS_TASK_RUNNER", name)


def test_the_number_of_threads_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTESYS_READERS", "5")
    made = runner()
    assert isinstance(made, ThreadPoolTaskRunner)
    assert made._max_workers == 5


def test_threads_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOTESYS_TASK_RUNNER", raising=False)
    assert isinstance(runner(), ThreadPoolTaskRunner)


@pytest.mark.parametrize("name", ["dask", "tcp://scheduler:8786", "tls://scheduler:8786"])
def test_a_dask_cluster_by_its_address(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    set_runner(monkeypatch, name)
    made = runner()
    assert isinstance(made, DaskTaskRunner)
    assert made.address == (None if name == "dask" else name)


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the run, as the module of a flow must be importable."""
    set_runner(monkeypatch, "ray://head:10001")
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    assert isinstance(runner(), ThreadPoolTaskRunner)
    with (
        pytest.raises(SettingsError, match="pip install prefect_ray"),
        open_run("", None, None, wait_for_lock=False),
    ):
        pass


def test_a_runner_of_another_kind_is_refused_when_the_flow_reads_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_runner(monkeypatch, "spark")
    assert isinstance(runner(), ThreadPoolTaskRunner)
    with pytest.raises(SettingsError, match="TOTESYS_TASK_RUNNER"):
        settings.load()
