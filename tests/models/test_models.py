"""Models: the options and relations of a .sql file, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.duck import relation_name, session
from pipeline.errors import ModelError
from pipeline.models import library
from pipeline.source.cursors import Cursor
from tests.support import write_models

PLAIN = "SELECT a FROM t"


def model(folder: Path, text: str, name: str = "dim_m") -> library.Model:
    """A model of that text."""
    (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return library.read(folder / f"{name}.sql")


def test_headers_set_key_kind_and_cursors(tmp_path: Path) -> None:
    read = model(
        tmp_path,
        '-- One row an event.\n-- KEY: a , "Mixed Case"\n--kind:Fact\n-- cursor: v.changed_at 1 hour\n'
        '-- cursor: w.y 2 days\n-- cursor: "tenant 1".w."a.b" 3\nSELECT a FROM v',
        "events",
    )
    assert (read.name, read.kind, read.key) == ("events", "fact", ("a", "Mixed Case"))
    assert read.cursors == {
        "v": Cursor(column="changed_at", overlap="1 hour"),
        "w": Cursor(column="y", overlap="2 days"),
        "tenant 1.w": Cursor(column="a.b", overlap="3"),
    }


@pytest.mark.parametrize(
    ("name", "header", "kind"),
    [
        ("fact_x", "", "fact"),
        ("dim_x", "", "dimension"),
        ("x", "-- kind: dimension\n", "dimension"),
        ("dim_x", "-- kind: fact\n", "fact"),
        ("bridge_x", "", "bridge"),
        ("x", "-- kind: Bridge\n", "bridge"),
    ],
)
def test_the_header_or_the_name_sets_the_kind(tmp_path: Path, name: str, header: str, kind: str) -> None:
    assert model(tmp_path, header + PLAIN, name).kind == kind


def test_a_model_without_a_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"x\.sql: no kind; write `-- kind: fact, dimension or bridge`"):
        model(tmp_path, PLAIN, "x")


def test_headers_set_the_other_options(tmp_path: Path) -> None:
    plain = model(tmp_path, PLAIN)
    assert (plain.untracked, plain.keeps_deleted, plain.appends, plain.unstable) == (
        (), False, False, False,
    )  # fmt: skip
    read = model(
        tmp_path,
        "-- untracked: seen_at, b\n-- deletes: ignore\n-- reads: changes\n-- unstable: allowed\n" + PLAIN,
    )
    assert (read.untracked, read.keeps_deleted, read.appends, read.unstable) == (
        ("seen_at", "b"), True, True, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("-- kye: a", r"dim_m\.sql:2: there is no header kye; write `-- key: column\[, …\]`"),
        ("-- keys: a", r"there is no header keys; write `-- key"),
        ("-- unique_key: a", r"dim_m\.sql:2: there is no header unique_key; there are key, kind, cursor"),
        ("-- untracket: a", r"there is no header untracket; write `-- untracked"),
        ("-- cursors: t.a 1 hour", r"there is no header cursors; write `-- cursor"),
        ("-- key: a,", r"dim_m\.sql:2: key is 'a,'; write `-- key: column\[, …\]`"),
        ("-- key:", r":2: key is ''; write `-- key"),
        ("-- key: a, a", r"dim_m\.sql:2: key has a twice; write `-- key: column"),
        ("-- untracked: b,, c", r":2: untracked is 'b,, c'; write `-- untracked: column"),
        ("-- deletes: keep", r"dim_m\.sql:2: deletes is 'keep'; write `-- deletes: ignore`"),
        ("-- reads: everything", r":2: reads is 'everything'; write `-- reads: changes`"),
        (
            "-- max_deleted_share: 2",
            r":2: max_deleted_share is '2'; write `-- max_deleted_share: 0\.5, or any",
        ),
        ("-- max_deleted_share: all", r":2: max_deleted_share is 'all'; write"),
        ("-- max_deleted: 1", r"no header max_deleted; write `-- max_deleted_share"),
        ("-- unstable: yes", r":2: unstable is 'yes'; write `-- unstable: allowed`"),
    ],
)
def test_a_misspelt_header_is_refused_with_the_right_one(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        model(tmp_path, f"-- One row a day.\n{header}\n{PLAIN}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "prose",
    [
        "-- Grain: one row a day.",
        "-- Note: sums are in GBP",
        "-- see https://example.org/key",
        "-- TODO: more",
    ],
)
def test_prose_with_a_colon_is_prose(tmp_path: Path, prose: str) -> None:
    read = model(tmp_path, f"{prose}\n-- key: a\n{PLAIN}")
    assert read.key == ("a",)


def test_a_header_below_the_head_is_a_comment(tmp_path: Path) -> None:
    assert model(tmp_path, "SELECT a\n-- kye: b\n-- key: c\nFROM t").key == ()


@pytest.mark.parametrize(
    ("name", "other"), [("dim_a", "dim_a_version"), ("fact_a", "fact_a_current"), ("fact_a", "fact_a_begun")]
)
def test_a_name_that_is_made_beside_another_table_is_refused(tmp_path: Path, name: str, other: str) -> None:
    with pytest.raises(ModelError, match=rf"{other}\.sql: its name is made beside {name}; rename one"):
        write_models(tmp_path, {name: "SELECT a FROM t", other: "SELECT a FROM u"})
    write_models(tmp_path / "other", {"dim_b": "SELECT a FROM t", "dim_b_current": "SELECT a FROM u"})


def test_a_model_in_a_subfolder_is_refused(tmp_path: Path) -> None:
    write_models(tmp_path / "more", {"dim_a": PLAIN})
    with pytest.raises(ModelError, match=r"more/dim_a\.sql: is in a subfolder; models lie directly in"):
        write_models(tmp_path, {"dim_b": PLAIN})


@pytest.mark.parametrize("said", ["changed_at 1 hour", "v"])
def test_an_invalid_cursor_header_is_refused_with_an_example(tmp_path: Path, said: str) -> None:
    with pytest.raises(ModelError, match=r"write `-- cursor: table\.column \[overlap\]`"):
        model(tmp_path, f"-- cursor: {said}\n{PLAIN}")


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT * FROM t", {"t"}),
        ('SELECT * FROM "Odd ""Name"', {'"Odd ""Name"'}),
        ("SELECT * FROM crm.t JOIN t USING (a)", {"crm.t", "t"}),
        ('SELECT * FROM "a.b" CROSS JOIN "tenant 1" /* . */ . -- x\n "a.b"', {'"a.b"', 'tenant 1."a.b"'}),
        ("WITH t AS (SELECT * FROM crm.t) SELECT * FROM t", {"crm.t"}),
        ("SELECT * FROM transaction AS x JOIN payment AS y USING (id)", {"transaction", "payment"}),
        ("WITH c AS (SELECT * FROM t) SELECT * FROM c JOIN u ON c.a = u.a", {"t", "u"}),
        ("WITH c AS (SELECT * FROM t), d AS (SELECT * FROM C) SELECT * FROM D", {"t"}),
        ("SELECT * FROM (SELECT * FROM t) AS s WHERE a IN (SELECT a FROM u)", {"t", "u"}),
        ("SELECT (SELECT max(a) FROM u) AS m FROM t", {"t", "u"}),
        ("SELECT a FROM t UNION ALL SELECT a FROM u EXCEPT SELECT a FROM w", {"t", "u", "w"}),
        ("SELECT * FROM t AS u", {"t"}),
        ("SELECT ' FROM x ' AS s FROM t -- FROM y", {"t"}),
        ("SELECT 1 AS a", set()),
        ("WITH t AS (SELECT * FROM t) SELECT * FROM t", {"t"}),
        ("WITH t AS (SELECT * FROM t), c AS (SELECT * FROM t) SELECT * FROM c", {"t"}),
        ("SELECT * FROM (WITH u AS (SELECT 1 AS a) SELECT * FROM u) JOIN u USING (a)", {"u"}),
        ("WITH RECURSIVE r AS (SELECT a FROM t UNION ALL SELECT a FROM r) SELECT * FROM r", {"t"}),
        ('SELECT * FROM "T" JOIN t USING (a)', {"T", "t"}),
        ("SELECT moment FROM reference.batch", {"reference.batch"}),
    ],
)
def test_tables_are_those_that_are_read(tmp_path: Path, sql: str, tables: set[str]) -> None:
    assert model(tmp_path, sql).reads == tables


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t.a, 'FROM t' AS s FROM t /* FROM t */ JOIN u AS t2 ON t.a = t2.a",
        'SELECT x.a FROM "T" AS x JOIN t ON x.a = t.a',
        "WITH t AS (SELECT * FROM t) SELECT t.a FROM t",
        "SELECT ü.a FROM (SELECT 'ü' AS a, * FROM t) AS ü",
        "SELECT t.a FROM t--of u, or more\n, u/* as t */AS v",
    ],
)
def test_relations_get_unique_names_on_the_same_lines(tmp_path: Path, sql: str) -> None:
    bound = model(tmp_path, sql.replace(" FROM", "\nFROM")).bound_sql
    assert bound.count("\n") == sql.replace(" FROM", "\nFROM").count("\n")
    assert "'FROM t'" in bound or "'FROM t'" not in sql
    with session() as connection:
        for name in ("t", "T", "u"):
            connection.execute(f'CREATE TEMP TABLE "{relation_name(name)}" (a INTEGER)')
        connection.execute(bound)


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("SELEC a FROM t", r":1: "),
        ("SELECT\n    a,\n    b c d\nFROM t", r":3: "),
        ("-- key: a\n\nSELECT a FROM t WHERE (", r":3: "),
    ],
)
def test_a_syntax_error_has_file_line_and_message(tmp_path: Path, sql: str, place: str) -> None:
    with pytest.raises(ModelError, match=rf"dim_m\.sql{place}.*(syntax error|end of input)") as raised:
        model(tmp_path, sql)
    assert "\n" not in str(raised.value)


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


def test_a_last_semicolon_and_comments_are_allowed(tmp_path: Path) -> None:
    assert model(tmp_path, "SELECT a FROM t;\n").reads == {"t"}
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
def test_a_fingerprint_ignores_comments(tmp_path: Path, one: str, other: str, same: bool) -> None:
    assert (model(tmp_path, one).fingerprint == model(tmp_path, other).fingerprint) == same


def test_models_come_after_those_that_they_read(tmp_path: Path) -> None:
    files = {
        "dim_a": "SELECT a FROM fact_b",
        "fact_b": "SELECT a FROM dim_c JOIN t USING (a)",
        "dim_c": "SELECT a FROM t",
        "schema": "this is no model",
    }
    assert list(write_models(tmp_path, files)) == ["dim_c", "fact_b", "dim_a"]


def test_models_that_read_each_other_are_refused(tmp_path: Path) -> None:
    files = {"dim_a": "SELECT a FROM dim_b", "dim_b": "SELECT a FROM dim_a"}
    with pytest.raises(
        ModelError, match=r"dim_(.)\.sql: reads dim_., which reads dim_\1: a circle; remove one"
    ):
        write_models(tmp_path, files)
    with pytest.raises(ModelError, match=r"dim_a\.sql: reads dim_a: a circle; remove one reference"):
        write_models(tmp_path, {"dim_a": "SELECT a FROM dim_a", "dim_b": "SELECT a FROM t"})


@pytest.mark.parametrize("files", [{}, {"schema": "CREATE TABLE t ()"}])
def test_a_folder_without_models_names_the_setting(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="no models here; set TOTESYS_TRANSFORMS"):
        write_models(tmp_path, files)


def test_source_tables_are_those_that_models_read(tmp_path: Path) -> None:
    all_models = write_models(
        tmp_path,
        {
            "fact_orders": "-- key: a\nSELECT a FROM orders",
            "dim_days": "SELECT DISTINCT a FROM fact_orders",
            "dim_shop": "SELECT a FROM shop JOIN street USING (b) JOIN reference.iso_4217 ON a = code",
        },
    )
    assert library.source_tables(all_models) == {"orders", "shop", "street"}
    assert list(library.closure(all_models, "dim_days")) == ["fact_orders", "dim_days"]
    assert list(library.closure(all_models, "fact_orders")) == ["fact_orders"]


def test_a_changed_model_changes_the_fingerprint_of_its_readers(tmp_path: Path) -> None:
    files = {"fact_a": "SELECT a FROM t", "dim_b": "SELECT a FROM fact_a", "dim_c": "SELECT a FROM t"}
    before = library.with_meaning(write_models(tmp_path, files), {})
    after = library.with_meaning(write_models(tmp_path, {"fact_a": "SELECT a + 1 AS a FROM t"}), {})
    changed = {name for name in files if before[name].fingerprint != after[name].fingerprint}
    assert changed == {"fact_a", "dim_b"}
