"""Models read nothing but tables: no files, settings or Python variables."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from pipeline import duck
from pipeline.duck import session
from pipeline.errors import ModelError
from pipeline.models import library
from pipeline.source.table_names import spelled
from tests.models.plans import analysed
from tests.support import write_models


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_json('{file}')",
        "SELECT * FROM read_parquet('{file}')",
        "SELECT * FROM glob('{file}')",
        "SELECT a FROM t WHERE c IN (SELECT content FROM read_text('{file}'))",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_tables()",
        "SELECT * FROM query('FROM duckdb_settings()')",
        "SELECT * FROM query_table('duckdb_settings')",
        "COPY (SELECT 1) TO '{file}'",
        "COPY t FROM '{file}'",
        "ATTACH '{file}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CALL duckdb_settings()",
        "EXPORT DATABASE '{file}'",
        "EXPLAIN SELECT 1 AS a",
        "CREATE MACRO twice(x) AS x * 2; SELECT twice(a) AS a FROM t",
        "SELECT getenv('HOME') AS a",
    ],
)
def test_files_and_settings_are_out_of_reach(tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"m0\.sql") as raised:
        analysed(tmp_path / "models", sql.format(file=file))
    assert "\n" not in str(raised.value)


def test_no_function_of_duckdb_reads_anything_but_its_arguments(tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    with session() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN ('table', 'table_macro') ORDER BY 1"
        ).fetchall()
    allowed = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"}
    # Macros over the rows of their arguments.
    over_rows = {"histogram", "histogram_values", "summary"}
    names = {name for (name,) in rows} - allowed - over_rows
    assert len(names) > 50
    for place, name in enumerate(sorted(names)):
        for number, arguments in enumerate(("", f"'{file}'", f"'{file}', 'a'", f"['{file}']")):
            folder = tmp_path / f"models-{place}-{number}"
            with pytest.raises(ModelError, match=r"m0\.sql"):
                analysed(folder, f"SELECT * FROM {name}({arguments})")


def test_a_model_cannot_read_a_file_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    all_models = write_models(tmp_path / "models", {"dim_x": f"SELECT a FROM '{file}'"})
    assert library.source_tables(all_models) == {spelled(str(file))}, (
        "it is asked of the source, which does not have it"
    )
    with session() as connection, pytest.raises(Exception, match=re.escape(str(file))):
        connection.execute(f"FROM '{file}'")


def test_variables_of_python_are_out_of_reach() -> None:
    secret = {"a": [1]}
    with session() as connection, pytest.raises(Exception, match="secret does not exist"):
        connection.execute("FROM secret")
    assert secret


def test_rows_are_spilled_into_a_temporary_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "o'neil"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with duck._database.__wrapped__() as database:
        (place,) = database.execute("SELECT current_setting('temp_directory')").fetchall()[0]
    assert Path(place).parent == folder
