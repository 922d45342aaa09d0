"""Models: what is read off a .sql file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import models
from pipeline.errors import ModelError
from pipeline.source import Cursor
from tests.support import write_models

PLAIN = "SELECT a FROM t"


def model(folder: Path, text: str, name: str = "dim_m") -> models.Model:
    """A model of that text."""
    (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return models.read(folder / f"{name}.sql")


def test_a_header_says_key_kind_and_cursors(tmp_path: Path) -> None:
    read = model(
        tmp_path,
        '-- One row an event.\n-- KEY: a , "Mixed Case"\n--kind:Fact\n-- cursor: v.changed_at 1 hour\n'
        '-- cursor: "w.x.y 2 days"\nSELECT a FROM v'.replace('"w.x.y 2 days"', "w.y 2 days"),
        "events",
    )
    assert (read.name, read.kind, read.key) == ("events", "fact", ("a", "Mixed Case"))
    assert read.cursors == {
        "v": Cursor(column="changed_at", overlap="1 hour"),
        "w": Cursor(column="y", overlap="2 days"),
    }


@pytest.mark.parametrize(
    ("name", "header", "kind"),
    [
        ("fact_x", "", "fact"),
        ("dim_x", "", "dimension"),
        ("x", "-- kind: dimension\n", "dimension"),
        ("dim_x", "-- kind: fact\n", "fact"),
    ],
)
def test_a_kind_comes_from_the_header_or_the_name(tmp_path: Path, name: str, header: str, kind: str) -> None:
    assert model(tmp_path, header + PLAIN, name).kind == kind


@pytest.mark.parametrize("header", ["", "-- kind: snowflake\n"])
def test_a_kind_that_nothing_tells_is_asked_for(tmp_path: Path, header: str) -> None:
    with pytest.raises(ModelError, match=r"x\.sql: say `-- kind: fact` or `-- kind: dimension`"):
        model(tmp_path, header + PLAIN, "x")


@pytest.mark.parametrize("said", ["changed_at 1 hour", "v.", "v", '"v.changed_at"'])
def test_a_cursor_that_is_not_one_shows_how(tmp_path: Path, said: str) -> None:
    with pytest.raises(ModelError, match=r"write `-- cursor: table\.column overlap`"):
        model(tmp_path, f"-- cursor: {said}\n{PLAIN}")


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT * FROM t", {"t"}),
        ('SELECT * FROM "Odd ""Name"', {'Odd "Name'}),
        ("SELECT * FROM transaction AS x JOIN payment AS y USING (id)", {"transaction", "payment"}),
        ("WITH c AS (SELECT * FROM t) SELECT * FROM c JOIN u ON c.a = u.a", {"t", "u"}),
        ("WITH c AS (SELECT * FROM t), d AS (SELECT * FROM C) SELECT * FROM D", {"t"}),
        ("SELECT * FROM (SELECT * FROM t) AS s WHERE a IN (SELECT a FROM u)", {"t", "u"}),
        ("SELECT (SELECT max(a) FROM u) AS m FROM t", {"t", "u"}),
        ("SELECT a FROM t UNION ALL SELECT a FROM u EXCEPT SELECT a FROM w", {"t", "u", "w"}),
        ("SELECT * FROM t AS u", {"t"}),
        ("SELECT ' FROM x ' AS s FROM t -- FROM y", {"t"}),
        ("SELECT 1 AS a", set()),
    ],
)
def test_tables_are_those_that_are_read(tmp_path: Path, sql: str, tables: set[str]) -> None:
    assert model(tmp_path, sql).reads == tables


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, upper(b) AS b FROM t",
        "SELECT a FROM t WHERE b > 1",
        "WITH c AS (SELECT a, b FROM t) SELECT a FROM c",
        "SELECT CASE WHEN a > 1 THEN 'x' END AS x, coalesce(b, 0) AS b FROM t AS q",
        "SELECT list_sort([a, b])[1] AS least, greatest(a, b) AS most FROM t",
        "SELECT a FROM (SELECT a FROM t) AS s",
    ],
)
def test_a_row_from_one_row_needs_changed_rows_only(tmp_path: Path, sql: str) -> None:
    assert model(tmp_path, sql).row_wise


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t.a FROM t JOIN u ON t.a = u.a",
        "SELECT t.a FROM t, u",
        "SELECT x.a FROM t AS x LEFT JOIN t AS y ON x.a = y.b",
        "WITH c AS (SELECT * FROM t) SELECT x.a FROM c AS x JOIN c AS y ON x.a = y.b",
        "WITH c AS (SELECT max(a) AS a FROM t) SELECT t.a FROM t, c",
        "SELECT count(*) AS n FROM t",
        "SELECT a, sum(b) AS b FROM t GROUP BY a",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT a + max(b) AS x FROM t GROUP BY a",
        "SELECT list(b) AS bs FROM t",
        "SELECT a, row_number() OVER (ORDER BY b) AS n FROM t",
        "SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1",
        "SELECT DISTINCT a FROM t",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b",
        "SELECT a FROM t ORDER BY b LIMIT 5",
        "SELECT a FROM t LIMIT 5",
        "SELECT a FROM t UNION ALL SELECT b FROM t",
        "SELECT a FROM t UNION SELECT a FROM t",
        "SELECT a FROM t WHERE b = (SELECT max(b) FROM t)",
        "SELECT a FROM t WHERE a IN (SELECT b FROM t)",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u)",
        "SELECT a FROM t USING SAMPLE 10%",
        "SELECT a FROM t TABLESAMPLE 10%",
        "WITH RECURSIVE r AS (SELECT a FROM t UNION ALL SELECT a + 1 FROM r WHERE a < 9) SELECT a FROM r",
        "SELECT MAX(a) AS a FROM t",
        "SELECT 1 AS a",
    ],
)
def test_a_row_from_several_rows_needs_the_present_state(tmp_path: Path, sql: str) -> None:
    assert not model(tmp_path, sql).row_wise


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("SELEC a FROM t", r":1: "),
        ("SELECT\n    a,\n    b c d\nFROM t", r":3: "),
        ("-- key: a\n\nSELECT a FROM t WHERE (", r":3: "),
    ],
)
def test_a_syntax_error_has_file_and_line_and_duckdbs_words(tmp_path: Path, sql: str, place: str) -> None:
    with pytest.raises(ModelError, match=rf"dim_m\.sql{place}.*(syntax error|end of input)") as caught:
        model(tmp_path, sql)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t; SELECT b FROM t",
        "DELETE FROM t",
        "PIVOT t ON a USING sum(b)",
        "CREATE TABLE x AS SELECT 1",
        "",
        "-- only a comment",
    ],
)
def test_a_model_is_one_select(tmp_path: Path, sql: str) -> None:
    with pytest.raises(ModelError, match=r"dim_m\.sql"):
        model(tmp_path, sql)


def test_a_last_semicolon_and_comments_are_no_matter(tmp_path: Path) -> None:
    assert model(tmp_path, "SELECT a FROM t;\n").row_wise
    assert model(tmp_path, "SELECT a FROM t -- the end\n;\n").reads == {"t"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PLAIN, f"-- a comment\n\n  {PLAIN}\n", True),
        ("SELECT a\nFROM t", "SELECT a\n    -- which\nFROM t", True),
        (PLAIN, "SELECT b FROM t", False),
        ("SELECT 'x' AS a FROM t", "SELECT 'X' AS a FROM t", False),
        (PLAIN, f"-- key: a\n{PLAIN}", False),
        (f"-- kind: fact\n{PLAIN}", PLAIN, False),
    ],
)
def test_a_fingerprint_tells_meaning_and_not_comments(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    assert (model(tmp_path, one).fingerprint == model(tmp_path, other).fingerprint) == same


def test_models_come_after_those_that_they_read(tmp_path: Path) -> None:
    files = {
        "dim_a": "SELECT a FROM fact_b",
        "fact_b": "SELECT a FROM dim_c JOIN t USING (a)",
        "dim_c": "SELECT a FROM t",
        "schema": "this is no model",
    }
    assert list(write_models(tmp_path, files)) == ["dim_c", "fact_b", "dim_a"]


def test_models_in_a_circle_are_named(tmp_path: Path) -> None:
    files = {"dim_a": "SELECT a FROM dim_b", "dim_b": "SELECT a FROM dim_a"}
    with pytest.raises(ModelError, match=r"in a circle: .*dim_a.*dim_b"):
        write_models(tmp_path, files)


@pytest.mark.parametrize("files", [{}, {"schema": "CREATE TABLE t ()"}])
def test_a_folder_without_models_names_the_setting(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="no models here; set TOTESYS_TRANSFORMS"):
        write_models(tmp_path, files)


def test_what_models_read_between_them(tmp_path: Path) -> None:
    known = write_models(
        tmp_path,
        {
            "fact_orders": "-- key: a\nSELECT a FROM orders",
            "dim_days": "SELECT DISTINCT a FROM fact_orders",
            "dim_shop": "SELECT a FROM shop JOIN street USING (b) JOIN iso_4217 ON a = code",
        },
    )
    assert models.source_tables(known) == {"orders", "shop", "street"}
    assert models.looked_up(known) == {"shop", "street"}
    assert models.affected(known, ["fact_orders"]).keys() == {"orders"}
    ((table, reason),) = models.affected(known, ["dim_days"]).items()
    assert table == "orders"
    assert "dim_days" in reason
    assert models.affected(known, ["dim_shop"]) == {}


@pytest.mark.parametrize(
    ("sql", "carries"),
    [
        ("SELECT a, t.b AS c, a + 1 AS d FROM t WHERE a > 1", {"a": "a", "c": "b"}),
        ("SELECT a, unnest([1, 2]) AS b FROM t", {}),
        ("WITH s AS (SELECT a FROM t) SELECT a FROM s", {}),
        ("SELECT a FROM t JOIN u USING (a)", {}),
        ("SELECT * FROM t", {}),
    ],
)
def test_columns_that_are_the_tables_own_are_known(tmp_path: Path, sql: str, carries: dict[str, str]) -> None:
    assert model(tmp_path, sql).carries == carries
