"""Each SQL file of the engine is used, and each one that is named exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from demo.home import PROJECT

ENGINE = PROJECT / "pipeline"
NAME = re.compile(r"\"([a-z_]+/)?(?:[a-z_]+/)*([a-z_0-9]+\.sql)\"")


def test_the_sql_files_that_are_named_are_those_that_exist() -> None:
    named = set[str]()
    for module in ENGINE.rglob("*.py"):
        for package, name in NAME.findall(module.read_text(encoding="utf-8")):
            named.add(name)
            assert not package or list((ENGINE / package / "sql").rglob(name)), f"{module}: {package}{name}"
            if f'"{name}"' in module.read_text(encoding="utf-8"):
                places = [*(module.parent / "sql").rglob(name), *(ENGINE / "sql").rglob(name)]
                assert places or name == "schema.sql", f"{module}: {name}"
    migrations = {path.name for path in (ENGINE / "warehouse/sql/etl").glob("*.sql")}
    assert {path.name for path in ENGINE.rglob("*.sql")} - migrations == named - {"schema.sql"}


def test_the_style_of_models_in_another_folder_is_checked(tmp_path: Path) -> None:
    """A dry run prints the commands, with the folder of the settings."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "sql"],
        cwd=PROJECT,
        env={**os.environ, "TOTESYS_TRANSFORMS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f'folder="{tmp_path}"' in printed
    assert "transforms/" not in printed
