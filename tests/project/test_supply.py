"""The locked packages, and the software bill of materials."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from demo.home import PROJECT


@pytest.mark.campaign
def test_the_sbom_names_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    for file in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(PROJECT / file, tmp_path)
    (tmp_path / ".venv").symlink_to(PROJECT / ".venv")
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (tmp_path / "requirements.lock").read_text(), re.MULTILINE)
    )

    subprocess.run(["make", "sbom"], cwd=tmp_path, check=True)

    written = json.loads((tmp_path / "sbom.json").read_text())
    assert written["bomFormat"] == "CycloneDX"
    assert {part["name"]: part["version"] for part in written["components"]} == locked
    assert all(part["externalReferences"][0]["hashes"] for part in written["components"])


def test_no_process_builds_the_grammar_of_a_package_that_prefect_does_not_need() -> None:
    locked = (PROJECT / "requirements-dev.lock").read_text()
    assert "jsonschema==" in locked
    assert "rfc3987-syntax==" not in locked
