"""The release has one number."""

from __future__ import annotations

import tomllib

from demo.home import PROJECT
from pipeline import RELEASE


def test_the_engine_and_the_project_have_the_same_release() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == RELEASE
