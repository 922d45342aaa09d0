"""The deployments to Docker and to ECS, by Prefect's own command against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.steps.core import StepExecutionError, run_steps
from prefect.settings import PREFECT_API_URL
from prefect.utilities.schema_tools.validation import validate
from prefect_aws.workers.ecs_worker import ECSWorker
from pydantic import BaseModel

from tests.infra.conftest import INFRA, ROOT

FILES = sorted([*ROOT.glob("prefect*.yaml"), *INFRA.glob("prefect*.yaml")])
pytestmark = pytest.mark.campaign  # half a minute; tests/flows/test_deployments.py reads prefect.yaml itself

NAMES = ["totesys-etl/incremental", "totesys-etl/nightly-reconcile", "rebuild-warehouse/rebuild"]
# What `terraform output -json deployment` says.
TERRAFORM = {
    "region": "eu-west-2",
    "registry": "1.dkr.ecr.eu-west-2.amazonaws.com",
    "repository": "1.dkr.ecr.eu-west-2.amazonaws.com/totesys-dev",
    "cluster": "arn:aws:ecs:eu-west-2:1:cluster/totesys-dev",
    "family": "totesys-dev-flow-run",
    "task_role_arn": "arn:aws:iam::1:role/totesys-dev-pipeline",
    "execution_role_arn": "arn:aws:iam::1:role/totesys-dev-execution",
    "vpc_id": "vpc-1",
    "log_group": "totesys-dev",
    "prefect_api_key_secret_arn": "arn:aws:secretsmanager:eu-west-2:1:secret:totesys-dev/prefect-api",
    "prefect_api_auth_string_secret_arn": None,
    "network": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"},
}
# Job variables by what Terraform calls their values.
JOB = {name: name for name in TERRAFORM.keys() - {"region", "registry", "repository", "log_group", "network"}}
JOB |= {"network_configuration": "network"}


def known(model: type[BaseModel]) -> set[str]:
    """The keys that a part of the file may have; Prefect ignores others without a word."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_prefect_knows_every_key(file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    PrefectYamlModel.model_validate(content)
    assert content.keys() <= known(PrefectYamlModel) | {"definitions"}
    for deployment in content["deployments"]:
        assert deployment.keys() <= known(DeploymentConfig)
        assert deployment["work_pool"].keys() <= known(WorkPoolConfig)
        assert deployment.get("concurrency_limit", {}).keys() <= known(ConcurrencyLimitSpec)
        for schedule in deployment.get("schedules", []):
            assert schedule.keys() <= known(RawScheduleConfig)
            assert schedule["slug"]


def without_infrastructure(deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment without where its runs are started, and how long that may take."""
    limit = dict(deployment.get("concurrency_limit", {"grace_period_seconds": 60}))
    assert limit.pop("grace_period_seconds") >= 60
    return deployment | {"work_pool": None, "concurrency_limit": limit}


def test_all_files_deploy_the_same() -> None:
    said = [
        [without_infrastructure(deployment) for deployment in content["deployments"]]
        for content in (yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES)
    ]
    assert len(said) >= 2
    assert all(deployments == said[0] for deployments in said)


@dataclass(frozen=True)
class Project:
    """A committed copy of the project, with stand-ins for programs that would leave this machine."""

    folder: Path
    programs: Path

    def stand_in(self, program: str, script: str = "") -> None:
        """Let a program write down how it is called, and do what the script says."""
        path = self.programs / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >> "$0.calls"\n{script}\n', encoding="utf-8")
        path.chmod(0o755)

    def pushed(self) -> list[str]:
        """The images that were pushed."""
        calls = (self.programs / "docker.calls").read_text(encoding="utf-8").splitlines()
        return [call.removeprefix("docker push ") for call in calls if call.startswith("docker push ")]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with the tests' Prefect server."""
        more = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "IMAGE_REPOSITORY": "registry.example.org/totesys",
        }
        return subprocess.run(
            command, cwd=self.folder, env=os.environ | more, capture_output=True, text=True, check=False
        )

    def deploy(self, overlay: str, *arguments: str, environment: str = "") -> list[DeploymentResponse]:
        """Deploy as the overlay's first lines say; what the server has afterwards, in their order."""
        named = ["env", f"TOTESYS_ENVIRONMENT={environment}", sys.executable]
        ran = self.run(*named, "-m", "tasks.deploy", f"infra/prefect.{overlay}.yaml", *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        prefix = environment and f"{environment}-"
        with get_client(sync_client=True) as client:
            return [client.read_deployment_by_name(name.replace("/", f"/{prefix}")) for name in NAMES]

    def steps(self, overlay: str) -> dict[str, Any]:
        """Run the overlay's steps alone."""
        content = yaml.safe_load((INFRA / f"prefect.{overlay}.yaml").read_text(encoding="utf-8"))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")
            return asyncio.run(run_steps(content["build"] + content["push"]))

    def git(self, *arguments: str) -> str:
        """Run git as somebody."""
        somebody = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
        ran = self.run("git", *somebody, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()


def committed(folder: Path, infra: Path = INFRA) -> Project:
    """The flows and the overlays as a commit, without a Docker or an AWS."""
    made = Project(folder / "project", folder / "programs")
    made.folder.mkdir()
    made.programs.mkdir()
    for path in (*(ROOT / name for name in ("flows", "tasks", "pipeline", "transforms")), infra):
        (made.folder / path.name).symlink_to(path)
    made.git("init", "--quiet")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "all")
    made.stand_in("docker", 'test "$1" != manifest')
    made.stand_in("aws")
    made.stand_in("terraform", f"echo '{json.dumps(TERRAFORM)}'")
    return made


@pytest.fixture
def project(tmp_path: Path, prefect_server: None) -> Project:
    """A committed project."""
    return committed(tmp_path)


@pytest.fixture
def templates(prefect_server: None) -> dict[str, dict[str, Any]]:
    """Work pools of the names and types that the overlays want; their templates by type."""
    with get_client(sync_client=True) as client:
        docker = client.read_worker_metadata()["prefect-docker"]["docker"]["default_base_job_configuration"]
        found = {"docker": docker, "ecs": ECSWorker.get_default_base_job_template()}
        for type_, template in found.items():
            pool = WorkPoolCreate(name=f"totesys-{type_}", type=type_, base_job_template=template)
            client.create_work_pool(pool, overwrite=True)
    return found


@pytest.mark.parametrize("overlay", ["docker", "ecs"])
def test_three_deployments_of_one_image(
    project: Project, templates: dict[str, dict[str, Any]], overlay: str
) -> None:
    made = project.deploy(overlay)
    repository = {"docker": "registry.example.org/totesys", "ecs": TERRAFORM["repository"]}[overlay]
    image = f"{repository}:{project.git('rev-parse', '--short=12', 'HEAD')}"
    assert set(project.pushed()) == {image}
    for deployment in made:
        said = deployment.job_variables
        assert said["image"] == image
        assert said.keys() <= templates[overlay]["variables"]["properties"].keys()
        validate(said, templates[overlay]["variables"], raise_on_error=True)
        if overlay == "ecs":
            expected = [TERRAFORM[name] for name in JOB.values()]
            assert [said[name] for name in JOB] == expected
            assert said["match_latest_revision_in_family"] is True
        assert deployment.work_pool_name == f"totesys-{overlay}"
        assert deployment.tags == ["totesys"]
        assert not deployment.pull_steps
    incremental = made[0]
    assert incremental.global_concurrency_limit
    assert incremental.global_concurrency_limit.limit == 1
    assert incremental.concurrency_options
    assert incremental.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert [bool(deployment.schedules) for deployment in made] == [True, True, False]
    assert [deployment.parameters for deployment in made] == [{}, {"reconcile": True}, {}]


def test_an_environment_has_a_work_pool_of_its_own(
    project: Project, templates: dict[str, dict[str, Any]]
) -> None:
    pool = WorkPoolCreate(name="prod-ecs", type="ecs", base_job_template=templates["ecs"])
    with get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=True)
    for deployment in project.deploy("ecs", "--pool", "prod-ecs", environment="prod"):
        assert deployment.work_pool_name == "prod-ecs"
        assert deployment.tags == ["prod-totesys", "prod"]
        assert deployment.parameters["environment"] == "prod"
        environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "TOTESYS_ENVIRONMENT": "prod"}
        assert deployment.job_variables["env"] == environment


def test_an_image_that_is_there_is_not_pushed_again(project: Project) -> None:
    project.stand_in("docker")
    project.steps("ecs")
    assert project.pushed() == []


@pytest.mark.parametrize("overlay", ["docker", "ecs"])
def test_what_is_not_committed_is_not_deployed(project: Project, overlay: str) -> None:
    (project.folder / "transforms").unlink()
    with pytest.raises(StepExecutionError) as failure:
        project.steps(overlay)
    assert "commit first: the image is named by the commit" in str(failure.value.__cause__)


def test_terraform_without_outputs_is_named(project: Project) -> None:
    project.stand_in("terraform", 'echo "no outputs found" >&2; exit 1')
    with pytest.raises(StepExecutionError) as failure:
        project.steps("ecs")
    assert "no outputs found" in str(failure.value.__cause__)
