"""Terraform, and the resources that it creates from `infra/` on a simulated AWS."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from tests.support import KEY

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
REGION = "eu-west-2"
NAME = "totesys-dev"
REGISTRIES = {"terraform": "registry.terraform.io", "tofu": "registry.opentofu.org"}
ALTERED = """
terraform {
  backend "local" {}
}
provider "aws" {
  s3_use_path_style = true
}
resource "aws_ecs_service" "worker" {
  lifecycle {
    ignore_changes = [availability_zone_rebalancing] # moto does not tell it
  }
}
"""


@dataclass(frozen=True)
class Terraform:
    """Terraform or OpenTofu in a folder of its own."""

    program: str
    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self, *arguments: str) -> str:
        """What a command prints; fails with its errors."""
        ran = self(*arguments, "-no-color")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture(scope="session")
def program() -> str:
    """The program's name; tests that need it are skipped where there is none."""
    found = next(filter(shutil.which, REGISTRIES), None)
    if found is None:
        pytest.skip("neither terraform nor tofu is installed")
    return found


@pytest.fixture(scope="session")
def mirror(program: str) -> Path:
    """A folder that holds the provider already: nothing is downloaded for a test."""
    home = Path.home()
    folders = [
        Path(os.environ.get("TF_PLUGIN_CACHE_DIR", home / ".terraform.d/plugin-cache")),
        INFRA / ".terraform/providers",
        home / ".terraform.d/plugins",
        home / ".local/share/terraform/plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
    ]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    wanted = f"{REGISTRIES[program]}/hashicorp/aws/*/{platform.system().lower()}_{machine}"
    found = next((folder for folder in folders if any(folder.glob(wanted))), None)
    if found is None:
        pytest.skip(
            f"no AWS provider for {program} is on this machine: `{program} -chdir=infra init -backend=false`"
            " fetches it, or TF_PLUGIN_CACHE_DIR names a folder that holds it"
        )
    return found


@pytest.fixture(scope="session")
def terraform(program: str, mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform in a copy of `infra/`, its state in that folder, the provider from the mirror."""
    home = tmp_path_factory.mktemp("terraform")
    config = home / "cli.tfrc"
    config.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n',
        encoding="utf-8",
    )
    folder = home / "infra"
    shutil.copytree(INFRA, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    (folder / "override.tf").write_text(ALTERED, encoding="utf-8")
    # A cache cannot be filled from itself.
    alone = {"TF_CLI_CONFIG_FILE": str(config), "TF_PLUGIN_CACHE_DIR": "", "TF_INPUT": "0"}
    made = Terraform(program, folder, alone)
    made.done("init")
    return made


@dataclass(frozen=True)
class Stack:
    """The resources that Terraform created from `infra/`."""

    terraform: Terraform
    endpoint: str
    first: str

    def client(self, service: str, **credentials: str) -> Any:
        """A connection to a service, as its owner unless credentials are given."""
        return boto3.client(service, **({"endpoint_url": self.endpoint} | OWNER | credentials))

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """Terraform's outputs."""
        found = json.loads(self.terraform.done("output", "-json"))
        return {name: output["value"] for name, output in found.items()}

    def policies(self, role: str) -> list[dict[str, Any]]:
        """The statements of everything that a role may do."""
        iam = self.client("iam")
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
        return [statement for document in documents for statement in document["Statement"]]


OWNER = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY, "region_name": REGION}


@pytest.fixture(scope="session")
def stack(terraform: Terraform, s3_endpoint: str) -> Stack:
    """All resources, created within a minute on a simulated AWS, with its own network."""
    terraform.environment.update(
        AWS_ENDPOINT_URL=s3_endpoint, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=KEY
    )
    ec2 = boto3.client("ec2", endpoint_url=s3_endpoint, **OWNER)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
        for number in range(2)
    ]
    variables = {
        "vpc_id": vpc,
        "subnet_ids": subnets,
        "image_tag": "0123456789ab",
        "totesys_environment": "shop",
    }
    (terraform.folder / "test.tfvars.json").write_text(json.dumps(variables), encoding="utf-8")
    for command in ("apply", "plan"):
        given = "-var-file=example.tfvars -var-file=test.tfvars.json"
        terraform.environment[f"TF_CLI_ARGS_{command}"] = given
    return Stack(terraform, s3_endpoint, terraform.done("apply", "-auto-approve"))


def listed(value: str | list[str]) -> list[str]:
    """An element of a policy, which may be one or many."""
    return [value] if isinstance(value, str) else value


@pytest.fixture(params=["raw", "processed"])
def bucket(stack: Stack, request: pytest.FixtureRequest) -> str:
    """The name of one of the buckets."""
    uri = re.search(f"TOTESYS_{request.param.upper()}_URI=(.*)", stack.outputs["dotenv"])
    assert uri
    return urlsplit(uri[1]).netloc
