"""The Terraform files: their format, and their errors for wrong values."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.conftest import INFRA, Terraform

GOOD = {
    "environment": "dev",
    "region": "eu-west-2",
    "vpc_id": "vpc-1",
    "subnet_ids": '["subnet-1"]',
    "prefect_api_url": "https://api.prefect.cloud/api/accounts/1/workspaces/2",
    "alarm_email": "somebody@example.org",
}


@pytest.fixture(scope="module")
def variables(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The variables alone: Terraform checks them without any provider."""
    folder = tmp_path_factory.mktemp("variables")
    shutil.copy(INFRA / "variables.tf", folder)
    return folder


def plan(program: str, folder: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """Plan with these variables."""
    given = [f"-var={name}={value}" for name, value in values.items()]
    return subprocess.run(
        [program, "plan", "-no-color", "-input=false", *given],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_files_have_the_usual_form(program: str) -> None:
    ran = subprocess.run(
        [program, "fmt", "-check", "-diff", "-recursive", str(INFRA)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("", 0)


def test_files_are_valid(terraform: Terraform) -> None:
    assert "Success! The configuration is valid." in terraform.done("validate")


def test_valid_values_are_accepted(program: str, variables: Path) -> None:
    assert plan(program, variables, **GOOD).returncode == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("environment", "Dev"),
        ("environment", "a-name-that-is-too-long"),
        ("region", "London"),
        ("vpc_id", "10.0.0.0/16"),
        ("subnet_ids", "[]"),
        ("subnet_ids", '["vpc-1"]'),
        ("egress_ports", "[5432]"),
        ("egress_ports", "[443, 70000]"),
        ("prefect_api_url", "https://prefect.example.org"),
        ("prefect_api_auth", "password"),
        ("work_pool", "two words"),
        ("totesys_environment", "Prod"),
        ("alarm_email", "nobody"),
        ("minutes_without_success", "31"),
        ("log_retention_days", "1000"),
        ("noncurrent_version_days", "0"),
        ("processed_cheaper_after_days", "10"),
        ("results_expire_after_days", "20"),
    ],
)
def test_a_wrong_value_is_named(program: str, variables: Path, name: str, value: str) -> None:
    ran = plan(program, variables, **(GOOD | {name: value}))
    assert ran.returncode == 1
    said = " ".join(ran.stderr.replace("│", "").split())
    assert f'variable "{name}"' in said
    assert re.search(rf"{name} (is|are) ", said)
