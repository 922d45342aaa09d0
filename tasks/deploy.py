"""Create the deployments of prefect.yaml for this environment: ``python -m tasks.deploy``."""

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
from tasks.arguments import Parser
from tasks.failures import print_all
from tasks.prefect_messages import api_hint


def of_environment(content: dict[str, Any], environment: str) -> dict[str, Any]:
    """The content of a file like prefect.yaml, with its deployments renamed for an environment.

    Names, tags and triggers get the environment as prefix, and the environment is a tag of its own. Runs use
    it whatever the worker's settings are. For the unnamed environment the content is unchanged.
    """
    if not environment:
        return content
    deployments = [_renamed(deployment, environment) for deployment in content["deployments"]]
    return content | {"deployments": deployments}


def _renamed(deployment: dict[str, Any], environment: str) -> dict[str, Any]:
    pool = deployment["work_pool"]
    variables = pool.get("job_variables", {})
    env = variables.get("env", {}) | {"TOTESYS_ENVIRONMENT": environment}
    result = deployment | {
        "name": blocks.named(deployment["name"], environment),
        "tags": [*(blocks.named(tag, environment) for tag in deployment.get("tags", [])), environment],
        "parameters": deployment.get("parameters", {}) | {"environment": environment},
        "work_pool": pool | {"job_variables": variables | {"env": env}},
    }
    if triggers := deployment.get("triggers"):
        result["triggers"] = [
            trigger
            | {"name": blocks.named(trigger["name"], environment), "match": events.warehouse(environment)}
            for trigger in triggers
        ]
    return result


def to_pool(content: dict[str, Any], pool: str) -> dict[str, Any]:
    """The content with all deployments in another work pool."""
    deployments = [
        deployment | {"work_pool": deployment["work_pool"] | {"name": pool}}
        for deployment in content["deployments"]
    ]
    return content | {"deployments": deployments}


def deploy(file: Path, pool: str | None = None) -> Iterator[str]:
    """Create all deployments of a file, for the environment of the settings, with ``prefect deploy``.

    Raises SettingsError for a file that cannot be read and for a work pool that does not exist.
    """
    environment = settings.load().environment
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from None
    content = to_pool(content, pool) if pool else content
    _check_pools({deployment["work_pool"]["name"] for deployment in content["deployments"]})
    with tempfile.TemporaryDirectory() as folder:
        renamed = Path(folder, file.name)
        renamed.write_text(
            yaml.safe_dump(of_environment(content, environment), sort_keys=False), encoding="utf-8"
        )
        command = ["-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(renamed)]
        completed = subprocess.run([sys.executable, *command], check=False)  # noqa: S603  no user input
    if completed.returncode:
        raise SettingsError(f"{file}: Prefect did not deploy it; its message is above")
    yield f"deployed {file} for {f'environment {environment}' if environment else 'the unnamed environment'}"


def _check_pools(names: Iterable[str]) -> None:
    """Raise SettingsError for a missing work pool, for which Prefect's command shows a traceback."""
    with get_client(sync_client=True) as client:
        for name in sorted(names):
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                raise SettingsError(
                    f"work pool {name} does not exist; make it with `.venv/bin/prefect work-pool create`"
                    f" and the type of its workers: --type process, docker or ecs{api_hint()}"
                ) from None


def main() -> int:
    """Deploy; returns the exit status, 1 after an error, which is printed in one line."""
    parser = Parser("tasks.deploy", __doc__)
    default = Path("prefect.yaml")
    parser.add_argument("file", nargs="?", type=Path, default=default, help=f"{default} by default")
    parser.add_argument("--pool", metavar="NAME", help="deploy to this work pool instead of the file's")
    arguments = parser.parse_args()
    return print_all(deploy(arguments.file, arguments.pool))


if __name__ == "__main__":
    sys.exit(main())
