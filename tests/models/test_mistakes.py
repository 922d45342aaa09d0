"""What a person reads about a model that is wrong: file, line, column, what is wrong and what to do."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.columns import Column
from pipeline.errors import ModelError
from pipeline.lake.buckets import folder
from pipeline.models.dry_run import verify
from pipeline.models.transform import transform
from pipeline.models.work import Work
from tests.made_up import MadeUp, made_target
from tests.support import write_models

SALE = {
    "id": "integer", "staff_id": "integer", "units": "integer", "price": "numeric", "note": "text",
    "sold_on": "character varying", "doc": "jsonb",
}  # fmt: skip
STAFF = {"id": "integer", "name": "text", "manager": "character varying(20)"}
TABLES = {
    name: tuple(Column(name=column, type=type_) for column, type_ in types.items())
    for name, types in {"sale": SALE, "staff": STAFF}.items()
}
LACKING = "is not in the warehouse table dim_m; add it to schema.sql, or run ALTER TABLE dim_m ADD COLUMN"
PRODUCT = (
    "a product has more than 38 digits; cast its factors to the digits that they need, such as"
    " CAST(x AS DECIMAL(18, 2))"
)
UNSIGNED = (
    "range does not take (ubigint); cast what it is applied to, such as"
    " CAST(json_array_length(doc) AS bigint)"
)
LINES = {
    "unknown column": (
        "SELECT id,\n    unitz AS v\nFROM sale",
        "2: column unitz is not in sale; write units",
    ),
    "unknown column of a table": (
        "SELECT s.id,\n    s.prise AS v\nFROM sale AS s",
        "2: column prise is not in sale; write price",
    ),
    "unknown column without a similar one": (
        "SELECT id,\n    zzz AS v\nFROM staff",
        "2: column zzz is not in staff; choose from id, name, manager",
    ),
    "unknown column of a CTE": (
        "WITH c AS (SELECT id, units AS pieces FROM sale)\nSELECT id, peaces AS v FROM c",
        "2: column peaces is not in sale; write pieces",
    ),
    "text as a number": (
        "SELECT id,\n    units * note AS v\nFROM sale",
        "2: note is text, which * does not take; write CAST(note AS DECIMAL(18, 2))",
    ),
    "text as a number within a product": (
        "SELECT id,\n    CAST(note * units * (1 - price) AS decimal(12, 2)) AS v\nFROM sale",
        "2: note is text, which * does not take; write CAST(note AS DECIMAL(18, 2))",
    ),
    "sum of text": (
        "SELECT max(id) AS id, sum(note) AS v\nFROM sale",
        "1: note is text, which sum does not take; write CAST(note AS DECIMAL(18, 2))",
    ),
    "text compared with a number": (
        "SELECT id, 1 AS v FROM sale\nWHERE note > 5",
        "2: note is text and cannot be compared with integer; write CAST(note AS integer)",
    ),
    "text compared with a date": (
        "SELECT id, 1 AS v FROM sale\nWHERE sold_on > DATE '2024-01-01'",
        "2: sold_on is text and cannot be compared with date; write CAST(sold_on AS date)",
    ),
    "text as a date": (
        "SELECT id, year(sold_on) AS v FROM sale",
        "1: sold_on is text, which year does not take; write CAST(sold_on AS timestamp)",
    ),
    "number as text": (
        "SELECT id, price + length(price) AS v FROM sale",
        "1: length does not take (numeric); cast what it is applied to, such as CAST(price AS text)",
    ),
    "unsigned number": (
        "SELECT id, units AS v\nFROM sale, unnest(range(json_array_length(doc))) AS r (n)",
        f"2: {UNSIGNED}",
    ),
    "number as a number of characters": (
        "SELECT id, length(left(note, price)) AS v FROM sale",
        "1: left does not take (text, numeric); cast what it is applied to, such as CAST(price AS bigint)",
    ),
    "number of days": (
        "SELECT id, year(CAST(sold_on AS date) + price) AS v FROM sale",
        "1: + does not take (date, numeric); cast what it is applied to, such as CAST(price AS integer)",
    ),
    "product of four": (
        "SELECT id, price * price * price * price AS v FROM sale",
        f"1: {PRODUCT}",
    ),
    "ambiguous": (
        "SELECT s.id, 1 AS v FROM sale AS s\nJOIN staff AS t ON staff_id = id",
        "2: column id is ambiguous; write s.id or t.id",
    ),
    "unknown alias": (
        "SELECT id, x.price AS v FROM sale AS s",
        "1: x is neither a table nor an alias in this query; correct its name",
    ),
    "not grouped": (
        "SELECT id,\n    sum(units) AS v\nFROM sale",
        "1: column id is neither grouped nor in an aggregate; add it to GROUP BY, or write max(id)",
    ),
    "unknown function": (
        "SELECT id, lenght(note) AS v FROM sale",
        "1: there is no function lenght; write length",
    ),
    "missing cast": (
        "SELECT id,\n    DATE '2024-01-01' AS v\nFROM sale",
        "2: column v is DATE, the warehouse column is numeric; cast it in the model",
    ),
    "column that the table lacks": (
        "SELECT id, 1 AS v,\n    manager\nFROM staff",
        f"2: column manager {LACKING} manager character varying(20)",
    ),
    "number that the table lacks": (
        "SELECT id, 1 AS v, price, units * price AS amount, CAST(1 AS DECIMAL(8, 2)) AS d FROM sale",
        f"1: column price {LACKING} price numeric",
    ),
    "computed column that the table lacks": (
        "SELECT id, 1 AS v,\n\n    units * price AS amount FROM sale",
        f"3: column amount {LACKING} amount numeric",
    ),
    "syntax": (
        "SELECT id,\n    units v w\nFROM sale",
        '2: syntax error at or near "w"; correct the SQL here or just before',
    ),
    "no SELECT": ("DELETE FROM sale", "1: this is no SELECT; a model is one SELECT"),
    "column twice": (
        "SELECT id, units AS v,\n    id\nFROM sale",
        "2: column id comes twice; remove one, or rename it with AS",
    ),
    "type": (
        "SELECT id, CAST(note AS COLOR) AS v FROM sale",
        "1: there is no type COLOR; correct its name",
    ),
}  # fmt: skip


def check(folder: Path, files: dict[str, str]) -> str:
    """The message about these models."""

    def run() -> None:
        all_models = write_models(folder, files)
        targets = {name: made_target(name, ("id",), id="integer", v="numeric") for name in files}
        verify(all_models, targets, TABLES, {"sale": ("id",), "staff": ("id",)})

    with pytest.raises(ModelError) as raised:
        run()
    return str(raised.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("mistake", LINES)
def test_a_mistake_is_explained_in_one_line(tmp_path: Path, mistake: str) -> None:
    sql, line = LINES[mistake]
    assert check(tmp_path, {"dim_m": sql}) == f"dim_m.sql:{line}"


def test_no_line_is_told_if_duckdb_tells_none(tmp_path: Path) -> None:
    sql = "SELECT id,\n    units * price AS u,\n    note * units * price AS v\nFROM sale"
    assert (
        check(tmp_path, {"dim_m": sql})
        == "dim_m.sql: * does not take (text, integer); cast what it is applied to"
    )


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    files = {
        "dim_a": "SELECT id,\n    unitz + 1 AS v,\n    units + prise AS w\nFROM sale",
        "dim_b": "SELECT id, units * note AS v FROM sale",
        "dim_c": "SELECT id, v FROM dim_b",
        "dim_d": "SELECT id, units AS v FROM sale",
    }
    assert check(tmp_path, files).splitlines() == [
        "dim_a.sql:2: column unitz is not in sale; write units",
        "dim_a.sql:3: column prise is not in sale; write price",
        "dim_b.sql:1: note is text, which * does not take; write CAST(note AS DECIMAL(18, 2))",
    ]


def test_all_files_with_a_syntax_error_are_told_at_once(tmp_path: Path) -> None:
    files = {"dim_a": "SELEC 1", "dim_b": "SELECT id FROM sale", "x": "SELECT 1 AS id"}
    lines = check(tmp_path, files).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["dim_a.sql:1:", "x.sql:"]


def test_the_log_has_the_words_of_duckdb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pipeline.models.mistakes")
    message = check(tmp_path, {"dim_m": "SELECT id, units * note AS v FROM sale"})
    assert "Candidate" not in message
    assert "Candidate functions" in caplog.text


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (
            "SELECT id, 7 % units AS v FROM sale",
            "a row is divided by zero; write NULLIF(divisor, 0) for NULL",
        ),
        (
            "SELECT id, price * price * price * price AS v FROM sale",
            "a product has more than 38 digits; cast its",
        ),
    ],
)
def test_an_error_in_a_row_says_what_to_write(tmp_path: Path, sql: str, words: str) -> None:
    raw, processed = folder(str(tmp_path / "raw")), folder(str(tmp_path / "processed"))
    rows = [{"id": number, "units": 0, "price": "123456789"} for number in (1, 2)]
    batch = MadeUp(raw, {"sale": (SALE, ("id",))}).batch({"sale": rows})
    all_models = write_models(tmp_path / "models", {"dim_m": sql})
    target = {"dim_m": made_target("dim_m", ("id",), id="integer", v="numeric")}
    with pytest.raises(ModelError) as raised:
        transform(Work(all_models, target, batch, None, raw, processed))
    assert words in str(raised.value)
