"""Where a flow's tasks run: in threads of its process, or on the workers of a cluster.

Workers need the project's folder as their own, and reach S3, both databases and the
Prefect server; they share nothing else.
"""

from importlib import import_module
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pipeline import settings
from pipeline.errors import SettingsError

# Each reads the source over a connection of its own and has memory of its own; a fourth made reading slower.
_THREADS = 3


def runner() -> TaskRunner[Any]:
    """The task runner that ``TOTESYS_TASK_RUNNER`` names; threads while settings cannot be read.

    Flows read the settings once more, and end with the line that says what is wrong with them.
    """
    try:
        wanted = settings.load().task_runner
    except SettingsError:
        wanted = "threads"
    if wanted == "threads":
        return ThreadPoolTaskRunner(max_workers=_THREADS)
    if wanted.startswith("ray"):
        return _made("prefect_ray", "RayTaskRunner", None if wanted == "ray" else wanted)
    return _made("prefect_dask", "DaskTaskRunner", None if wanted == "dask" else wanted)


def _made(package: str, name: str, address: str | None) -> TaskRunner[Any]:
    """A cluster's task runner: at an address, or with a cluster of this machine's own."""
    try:
        kind = getattr(import_module(package), name)
    except ImportError:
        raise SettingsError(
            f"TOTESYS_TASK_RUNNER wants {package}, which is not installed; pip install {package}"
        ) from None
    made: TaskRunner[Any] = kind(address=address) if address else kind()
    return made
