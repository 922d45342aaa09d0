"""Where a flow's tasks run: in threads of its process, or on the workers of a cluster.

Cluster workers start in the project's folder and need access to S3, both databases and the Prefect server.
"""

from importlib import import_module
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pipeline import settings
from pipeline.errors import SettingsError


def runner() -> TaskRunner[Any]:
    """The task runner of TOTESYS_TASK_RUNNER; threads if there is none, so that a flow can be imported.

    The flow then fails in its first step, as :func:`configured` does.
    """
    try:
        return configured()
    except SettingsError:
        return ThreadPoolTaskRunner(max_workers=1)


def configured() -> TaskRunner[Any]:
    """The task runner; raises SettingsError if a setting is invalid or its package is not installed."""
    config = settings.load()
    address = config.task_runner
    if address == "threads":
        return ThreadPoolTaskRunner(max_workers=config.readers)
    if address.startswith("ray"):
        return _cluster("prefect_ray", "RayTaskRunner", None if address == "ray" else address)
    return _cluster("prefect_dask", "DaskTaskRunner", None if address == "dask" else address)


def _cluster(package: str, name: str, address: str | None) -> TaskRunner[Any]:
    """A cluster's task runner, at an address or with a temporary cluster on this machine."""
    try:
        runner_class = getattr(import_module(package), name)
    except ImportError:
        raise SettingsError(
            f"TOTESYS_TASK_RUNNER needs {package}, which is not installed; pip install {package}"
        ) from None
    cluster: TaskRunner[Any] = runner_class(address=address) if address else runner_class()
    return cluster
