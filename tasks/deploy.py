"""Deploy what prefect.yaml says, for this environment: ``python -m tasks.deploy``."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from pipeline import settings
from pipeline.errors import SettingsError
from tasks import blocks, events
from tasks.failures import print_all


def of_environment(said: dict[str, Any], environment: str) -> dict[str, Any]:
    """What a file like prefect.yaml says, with deployments that belong to an environment.

    Their names, tags and triggers begin with it, they are tagged with it, too, and their runs are in
    it whatever the worker's settings say. The unnamed environment's are as the file has them.
    """
    if not environment:
        return said
    return said | {"deployments": [_named(deployment, environment) for deployment in said["deployments"]]}


def _named(deployment: dict[str, Any], environment: str) -> dict[str, Any]:
    pool = deployment["work_pool"]
    variables = pool.get("job_variables", {})
    env = variables.get("env", {}) | {"TOTESYS_ENVIRONMENT": environment}
    made = deployment | {
        "name": blocks.named(deployment["name"], environment),
        "tags": [*(blocks.named(tag, environment) for tag in deployment.get("tags", [])), environment],
        "parameters": deployment.get("parameters", {}) | {"environment": environment},
        "work_pool": pool | {"job_variables": variables | {"env": env}},
    }
    if triggers := deployment.get("triggers"):
        renamed = [
            trigger
            | {"name": blocks.named(trigger["name"], environment), "match": events.warehouse(environment)}
            for trigger in triggers
        ]
        made["triggers"] = renamed
    return made


def to_pool(said: dict[str, Any], pool: str) -> dict[str, Any]:
    """The same, with all deployments in another work pool."""
    deployments = [
        deployment | {"work_pool": deployment["work_pool"] | {"name": pool}}
        for deployment in said["deployments"]
    ]
    return said | {"deployments": deployments}


def deploy(file: Path, pool: str | None = None) -> Iterator[str]:
    """Deploy all that a file says, for the environment of the settings, by Prefect's own command.

    Raises SettingsError for a file that cannot be read and for a work pool that does not exist.
    """
    environment = settings.load().environment
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from None
    said = to_pool(said, pool) if pool else said
    _check_pools({deployment["work_pool"]["name"] for deployment in said["deployments"]})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, file.name)
        made.write_text(yaml.safe_dump(of_environment(said, environment), sort_keys=False), encoding="utf-8")
        command = ["-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(made)]
        done = subprocess.run([sys.executable, *command], check=False)  # noqa: S603  our own words
    if done.returncode:
        raise SettingsError(f"{file}: Prefect did not deploy it; what it says is above")
    yield f"deployed {file} for {f'environment {environment}' if environment else 'the unnamed environment'}"


def _check_pools(names: Iterable[str]) -> None:
    """Ask for the work pools here, because Prefect's command answers a refusal with a traceback."""
    with get_client(sync_client=True) as client:
        for name in sorted(names):
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                raise SettingsError(
                    f"work pool {name} does not exist; make it with `.venv/bin/prefect work-pool create`"
                    " and the type of its workers: --type process, docker or ecs"
                ) from None


def main() -> int:
    """Deploy; one line and status 1 where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tasks.deploy", description=__doc__)
    default = Path("prefect.yaml")
    parser.add_argument("file", nargs="?", type=Path, default=default, help=f"{default} by default")
    parser.add_argument("--pool", metavar="NAME", help="deploy to this work pool, and not to the file's")
    arguments = parser.parse_args()
    return print_all(deploy(arguments.file, arguments.pool))


if __name__ == "__main__":
    sys.exit(main())
