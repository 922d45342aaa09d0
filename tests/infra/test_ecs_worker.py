"""Prefect's ECS worker starts the task of a deployed run on the resources of Terraform."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from moto.ecs.models import EC2ContainerServiceBackend
from prefect.client.orchestration import get_client

from tests.flows.support import blocks_were_changed
from tests.infra.conftest import OWNER, Stack
from tests.infra.test_deployments import NAMES, Project, committed
from tests.support import KEY

pytestmark = pytest.mark.campaign


@pytest.fixture
def project(stack: Stack, tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A committed project whose `infra/` is what was applied, and the way to what stands for AWS."""
    made = committed(tmp_path, stack.terraform.folder)
    program = shutil.which(stack.terraform.program)
    assert program
    made.stand_in("terraform", f'exec {program} "$@"')
    settings = {
        "AWS_ENDPOINT_URL": stack.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_DEFAULT_REGION": OWNER["region_name"],
        "PREFECT_API_KEY": "pnu_secret",
        "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME": "totesys-dev-tasks",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # moto asks each container for memory of its own, which Fargate does not.
    monkeypatch.setattr(EC2ContainerServiceBackend, "_calculate_task_resource_requirements", _no_requirements)
    return made


def _no_requirements(*_: object) -> dict[str, Any]:
    return {"CPU": 0, "MEMORY": 0, "PORTS": [], "PORTS_UDP": []}


def prefect(project: Project, *arguments: str) -> None:
    """Run Prefect's command; fails with what it says."""
    ran = project.run(sys.executable, "-m", "prefect", *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def no_blocks() -> None:
    """A server that nobody has saved blocks on, whatever ran before."""
    with get_client(sync_client=True) as client:
        for document in client.read_block_documents():
            client.delete_block_document(document.id)
    blocks_were_changed()


def test_a_run_becomes_a_task_with_its_roles(stack: Stack, project: Project, no_blocks: None) -> None:
    prefect(project, "work-pool", "create", "totesys-ecs", "--type", "ecs", "--overwrite")
    project.deploy("ecs")
    for name in (NAMES[0], NAMES[2]):
        prefect(project, "deployment", "run", name)
        prefect(project, "worker", "start", "--type", "ecs", "--pool", "totesys-ecs", "--run-once")

    ecs, said = stack.client("ecs"), stack.outputs["deployment"]
    arns = ecs.list_tasks(cluster=said["cluster"], family=said["family"])["taskArns"]
    first, second = ecs.describe_tasks(cluster=said["cluster"], tasks=arns)["tasks"]
    assert first["taskDefinitionArn"] == second["taskDefinitionArn"]
    assert first["overrides"]["taskRoleArn"] == said["task_role_arn"]
    (container,) = first["overrides"]["containerOverrides"]
    assert container["command"] == ["prefect", "flow-run", "execute"]
    assert "pnu_secret" not in str(first)

    task = ecs.describe_task_definition(taskDefinition=first["taskDefinitionArn"])["taskDefinition"]
    assert task["executionRoleArn"] == said["execution_role_arn"]
    (defined,) = task["containerDefinitions"]
    key = {"name": "PREFECT_API_KEY", "valueFrom": stack.outputs["secrets"]["prefect-api"]}
    assert defined["secrets"] == [key]
    assert defined["logConfiguration"]["options"]["awslogs-group"] == said["log_group"]

    # What the task would do, in a folder that has what the image has.
    environment = {variable["name"]: variable["value"] for variable in container["environment"]}
    ran = project.run(
        "env",
        *(f"{name}={value}" for name, value in environment.items()),
        sys.executable,
        "-m",
        *container["command"],
    )
    assert "is missing; set TOTESYS_" in ran.stdout + ran.stderr
    assert "Finished in state Failed" in ran.stdout + ran.stderr
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(environment["PREFECT__FLOW_RUN_ID"])
    assert run.state
    assert run.state.is_failed()
