"""A reader finds the tests of every module without a search, and reads no module of more than 300 lines."""

from __future__ import annotations

import re
from pathlib import Path

from demo.home import PROJECT

TESTS = PROJECT / "tests"
FOLDERS = ("pipeline", "tasks", "flows", "dashboard")
LONGEST = 300  # lines of a module
ROW = re.compile(r"^\| `([\w/]+\.py)` \| (.+) \|$", re.MULTILINE)


def modules() -> list[Path]:
    paths = (path.relative_to(PROJECT) for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py"))
    return sorted(path for path in paths if not path.name.startswith("__"))


def has_test_of_its_name(module: Path) -> bool:
    """Whether the folder of the module's package has a test of its name; pipeline/ itself has no folder."""
    package = {"tasks": "flows", "pipeline": "."}.get(module.parent.name, module.parent.name)
    return any((TESTS / package).rglob(f"test_{module.name}"))


def test_every_module_has_a_test_of_its_name_or_a_row_in_the_table() -> None:
    rows = dict(ROW.findall((PROJECT / "docs" / "tests.md").read_text(encoding="utf-8")))
    assert [module for module in rows if not (PROJECT / module).is_file()] == []
    named = {module: re.findall(r"`([^`]+)`", tests) for module, tests in rows.items()}
    assert [test for tests in named.values() for test in tests if not (PROJECT / test).is_file()] == []
    assert all(named.values())
    without = [module.as_posix() for module in modules() if not has_test_of_its_name(module)]
    assert sorted(rows) == without, "correct the table in docs/tests.md"


def test_no_module_is_too_long() -> None:
    """Of tests and tools neither: a longer one has more than one subject."""
    folders = (*FOLDERS, "demo", "bench", "tests")
    paths = sorted(path for folder in folders for path in (PROJECT / folder).rglob("*.py"))
    lines = {path.relative_to(PROJECT).as_posix(): path.read_bytes().count(b"\n") for path in paths}
    assert {path: number for path, number in lines.items() if number > LONGEST} == {}, "split these modules"
