"""The layout: folders, imports, documented flows and modules."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

import flows
from tests.flows.support import ROOT

LAYERS = ["flows", "tasks", "pipeline", "dashboard"]
# What each folder may not import, downwards being the only way.
FORBIDDEN = {
    "pipeline": {"prefect", "prefect_aws", "prefect_sqlalchemy", "tasks", "flows", "demo", "tests"},
    "tasks": {"flows", "demo", "tests"},
    "flows": {"demo", "tests"},
    "demo": {"tests"},
    "dashboard": {"prefect", "prefect_aws", "prefect_sqlalchemy", "tasks", "flows", "demo", "tests"},
}
TOP_LEVEL = {*LAYERS, "transforms", "tests", "demo", "docs", "infra", "bench"}
MODULES = [importlib.import_module(f"flows.{found.name}") for found in pkgutil.iter_modules(flows.__path__)]
FLOWS: dict[str, Flow[..., Any]] = {
    value.name: value for module in MODULES for value in vars(module).values() if isinstance(value, Flow)
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Top-level names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_imports_run_downwards_only(layer: str) -> None:
    assert sources(layer)
    found = {f"{path.relative_to(ROOT)}: {name}" for path in sources(layer) for name in imported(path)}
    assert {line for line in found if line.rpartition(" ")[2] in FORBIDDEN[layer]} == set()


def test_top_level_folders_are_those_of_the_layout() -> None:
    found = {path.name for path in ROOT.iterdir() if path.is_dir()}
    folders = {name for name in found if not name.startswith((".", "__"))}
    assert folders <= TOP_LEVEL
    assert {"flows", "tasks", "transforms", "tests"} <= folders


def test_transforms_are_sql_and_seeds_and_nothing_else() -> None:
    folder = ROOT / "transforms"
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in found if path.parts[0] != "seeds"} == {".sql"}
    assert {path.suffix for path in found if path.parts[0] == "seeds"} == {".csv"}


@pytest.mark.parametrize("layer", LAYERS)
def test_each_module_has_a_docstring(layer: str) -> None:
    silent = [path.name for path in sources(layer) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_no_query_is_written_into_flows_or_tasks() -> None:
    verbs = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "DROP ", "ALTER ")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for layer in ("flows", "tasks")
        for path in sources(layer)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(verbs)
    ]
    assert found == []


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_and_parameter_is_documented(name: str) -> None:
    flow = FLOWS[name]
    assert flow.description
    assert flow.parameters.properties
    for parameter, described in flow.parameters.properties.items():
        assert len(str(described.get("description", "")).split()) > 3, parameter
        assert {"type", "anyOf", "$ref", "allOf"} & described.keys(), f"{parameter} has no type"


def test_flows_are_named_as_users_know_them() -> None:
    assert {"totesys-etl", "load-warehouse"} <= FLOWS.keys()
