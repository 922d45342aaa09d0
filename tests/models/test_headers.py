"""Where headers of a model are read, and which files of SQL can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import ModelError, PipelineError
from pipeline.models import checks, headers, library, marts
from pipeline.warehouse import heads, schema_file
from tests.support import write_models

SQL = "SELECT a, b FROM t"


@pytest.mark.parametrize(
    "text",
    [
        f"-- personal: a\n{SQL}",
        f"/* Licensed as\n-- kind: fact\n*/\n\n-- One row per a.\n/* b */ -- personal: a\n{SQL}",
        f"-- see x/*\r\n  --personal: a\r\n{SQL} -- key: b",
        "-- personal: a\rSELECT '-- key: b' AS a",
    ],
)
def test_headers_are_the_line_comments_before_the_sql(text: str) -> None:
    assert headers.headers_in(Path("dim_a.sql"), text)["personal"][0].text == "a"


def test_a_meaning_begins_after_block_comments() -> None:
    for end in "-- key: a", "":
        text = f"/* x */\n-- One row\n-- per a.\n{end}\n-- b\n{SQL}"
        assert headers.meaning(text) == "One row per a."


def files(folder: Path, before: bytes, after: bytes) -> None:
    """Models with a file of each kind."""
    for name, text in {
        "dim_a.sql": SQL,
        "schema.sql": "CREATE TABLE dim_a (a integer)",
        "checks/c.sql": f"-- check: warn\n-- No row.\n{SQL}",
        "marts/m.sql": f"-- One row.\n-- columns:\n-- a: A.\n{SQL}",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(before + text.encode() + after)


def read_all(folder: Path) -> list[str]:
    """The texts of all files."""
    texts = [schema_file.read(folder / "schema.sql"), library.load(folder)["dim_a"].sql]
    texts += [check.sql for check in checks.load(folder)]
    return texts + [mart.sql for mart in marts.load(folder)]


def test_the_mark_that_editors_put_before_a_text_is_no_part_of_it(tmp_path: Path) -> None:
    files(tmp_path, b"", b"")
    plain = read_all(tmp_path)
    files(tmp_path, b"\xef\xbb\xbf", b"")
    assert read_all(tmp_path) == plain


@pytest.mark.parametrize(
    ("after", "words"),
    [("\n-- prix: 3 €".encode("cp1252"), "is not UTF-8; save it as UTF-8"), (b"\n\0", "has a NUL character")],
)
@pytest.mark.parametrize("name", ["dim_a", "schema", "checks/c", "marts/m"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, name: str, after: bytes, words: str) -> None:
    files(tmp_path, b"", b"")
    path = tmp_path / f"{name}.sql"
    line = path.read_text().count("\n") + 2
    path.write_bytes(path.read_bytes() + after)
    with pytest.raises(PipelineError) as raised:
        read_all(tmp_path)
    assert str(raised.value).startswith(f"{path}:{line}: {words}")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, mail FROM person\n-- personal: mail",
        "SELECT id,\n    mail -- personal: hash mail\nFROM person",
        "/* personal: mail */ SELECT id, mail FROM person",
        "/*\n * Personal: mail\n */\nSELECT id, mail FROM person",
        "/* Licensed as\n   personal: mail */\nSELECT id, mail FROM person",
        "/* personal: mail */ -- a person\nSELECT id, mail FROM person",
        "--- personal: mail\nSELECT id, mail FROM person",
        "-- * personal: hash mail\nSELECT id, mail FROM person",
        "-- personal = mail\nSELECT id, mail FROM person",
    ],
)
def test_personal_columns_that_are_declared_elsewhere_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        ModelError, match=r"`personal` declares columns only in a line comment before the SQL"
    ):
        headers.headers_in(tmp_path / "dim_person.sql", text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, '-- personal: mail' AS note FROM person",
        'SELECT id, mail AS "/* personal: mail */" FROM person',
        "SELECT id,\n    cost\n    * personal::integer AS cost FROM person",
        "SELECT id, mail\n-- personal::text is what the source has\nFROM person",
        "-- Of the personal: no names.\nSELECT id FROM person",
    ],
)
def test_what_declares_no_personal_columns_is_not_refused(tmp_path: Path, text: str) -> None:
    assert headers.headers_in(tmp_path / "dim_person.sql", text) == {}


@pytest.mark.parametrize(
    "line",
    [
        "-- personal hash mail",
        "-- personal hash phone",
        "-- personal mail, person.id",
        "-- key id",
        "-- KEY = id",
        "--- key: id",
        "-- * untracked: mail",
        "-- untracked id, mail",
        "-- kind fact",
        "-- deletes ignore",
        "-- reads changes",
        "-- unstable allowed",
        "-- renamed mail -> post",
        "-- max_deleted_share 0.5",
        "-- cursor person.changed_at",
        "-- cursor person.changed_at 1 hour",
        '-- personal "id", "mail"',
        "-- kye: id",
        "-- renmaed: mail -> post",
    ],
)
def test_a_line_that_looks_like_a_header_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(
        ModelError,
        match=r"dim_person\.sql:2: (is no header as it stands|there is no header \w+); write `-- [a-z_]+: ",
    ):
        headers.headers_in(tmp_path / "dim_person.sql", f"-- A person.\n{line}\nSELECT id, mail FROM person")


@pytest.mark.parametrize(
    "line",
    [
        "-- key figures of a person",
        "-- key figures",
        "-- key id and mail",
        "-- key id.",
        "-- personal data",
        "-- personal hashes of nobody",
        "-- reads changes of persons",
        "-- kind of a person",
        "-- unstable prices",
        "-- cursor based",
        "-- renamed columns",
        "-- id, mail",
        "-- cursor person.changed_at is no use, as it can be NULL",
        "-- renamed in the source in 2020: staff -> employee",
        "-- max_deleted_share is what the settings say",
        "-- Name: person",
        "-- Created: 2020",
        "-- Version: 2",
        "-- Table: person",
        "-- Remarks: none",
    ],
)
def test_prose_that_begins_as_a_header_does_is_prose(tmp_path: Path, line: str) -> None:
    text = f"-- A person.\n{line}\nSELECT id, mail FROM person"
    assert headers.headers_in(tmp_path / "dim_person.sql", text) == {}


@pytest.mark.parametrize("line", ["-- personal mail", "-- personal p.mail, phone"])
@pytest.mark.parametrize("star", ["*", "p.*", "id, *"])
def test_personal_columns_of_an_asterisk_need_their_header(line: str, star: str) -> None:
    with pytest.raises(ModelError, match="is no header as it stands"):
        headers.headers_in(Path("dim_person.sql"), f"{line}\nSELECT {star} FROM person AS p")


def test_a_checkout_with_other_line_ends_is_the_same_model(tmp_path: Path) -> None:
    path, text = tmp_path / "dim_a.sql", b"-- A line.\nSELECT a, 'x\ny' AS b FROM t\n"
    read = []
    for ends in b"\n", b"\r\n", b"\r":
        path.write_bytes(text.replace(b"\n", ends))
        read.append(library.read(path))
    assert read == [read[0]] * 3
    assert "'x\ny'" in read[0].sql


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("-- kind: snowflake", r"dim_m\.sql:2: kind is 'snowflake'; write"),
        ("-- cursor: v", r"dim_m\.sql:2: write `-- cursor"),
        ("-- personal: a b", r"dim_m\.sql:2: write `-- personal"),
        ("-- renamed: a", r"dim_m\.sql:2: renamed is 'a'; write"),
    ],
)
def test_a_wrong_value_of_a_header_has_its_line(header: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        library.parse(Path("dim_m.sql"), f"-- One row a day.\n{header}\n{SQL}")


def test_an_unknown_column_in_a_header_has_the_line_of_the_header() -> None:
    read = library.parse(Path("dim_m.sql"), f"-- One row a day.\n-- key: a\n-- key: nosuch\n{SQL}")
    with pytest.raises(
        ModelError, match=r"dim_m\.sql:3: key column nosuch is not in the warehouse table dim_m"
    ):
        heads.check_key(read, read.key, ["a"])


@pytest.mark.parametrize("name", ["dim_b.SQL", "checks/c.Sql", "marts/m.SQL", "seeds/s.CSV"])
def test_a_file_that_would_be_left_out_because_of_capitals_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("SELECT 1 AS a", encoding="utf-8")
    end = name.rpartition(".")[2].lower()
    with pytest.raises(ModelError, match=rf"/{re.escape(name)}: its name has to end in \.{end}; rename it"):
        write_models(tmp_path, {"dim_a": "SELECT a FROM t"})
