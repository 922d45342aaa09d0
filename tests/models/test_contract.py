"""The contract: values are cast to the warehouse's types without loss, or their row is rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.lake.buckets import Bucket
from pipeline.models.target import Target
from pipeline.models.transform import transform
from pipeline.models.work import Work
from tests.made_up import MadeUp, made_target
from tests.support import parquet_rows, write_models

Judge = Callable[..., tuple[list[Any], list[str]]]


def target(**types: str) -> Target:
    """A warehouse table dim_t with key id."""
    return made_target("dim_t", ("id",), id="integer!", **types)


@pytest.fixture
def judge(raw: Bucket, processed: Bucket, tmp_path: Path) -> Judge:
    """A function that casts values of a source type to a warehouse type; returns values and reasons."""

    def judge(given: str, values: list[Any], expected: str, model: str = "v") -> tuple[list[Any], list[str]]:
        models = write_models(tmp_path / "models", {"dim_t": f"SELECT id, {model} AS v FROM t"})
        batch = MadeUp(raw, {"t": ({"id": "integer", "v": given}, ("id",))}).batch(
            {"t": [{"id": number, "v": value} for number, value in enumerate(values)]}
        )
        output = transform(Work(models, {"dim_t": target(v=expected)}, batch, None, raw, processed))
        valid = sorted(parquet_rows(processed, output.files), key=lambda row: row["id"])
        invalid = sorted(
            parquet_rows(processed, output.rejected), key=lambda row: int(json.loads(row["key"])["id"])
        )
        assert len(valid) + len(invalid) == len(values)
        return [row["v"] for row in valid], [row["reason"] for row in invalid]

    return judge


FITS: list[tuple[str, list[Any], str, list[Any]]] = [
    (
        "character varying",
        ["2023-11-06", "2024-02-29", None],
        "date",
        [date(2023, 11, 6), date(2024, 2, 29), None],
    ),
    (
        "character varying",
        ["08:00", "23:59:59.123456"],
        "time without time zone",
        [time(8), time(23, 59, 59, 123456)],
    ),
    (
        "character varying",
        ["2023-11-06 08:00:00.5"],
        "timestamp without time zone",
        [datetime(2023, 11, 6, 8, 0, 0, 500000)],
    ),
    ("character varying", ["12", "-7", "007"], "integer", [12, -7, 7]),
    ("character varying", ["t", "false"], "boolean", [True, False]),
    (
        "character varying",
        ["3.5", "-0.25", "7"],
        "numeric(10,2)",
        [Decimal("3.50"), Decimal("-0.25"), Decimal("7.00")],
    ),
    ("numeric", ["3.450", "3.4500000"], "numeric(10,2)", [Decimal("3.45")] * 2),
    (
        "numeric",
        ["3.50", "NaN", "-Infinity", "1e5", ".5", "9" * 200],
        "numeric",
        ["3.50", "NaN", "-Infinity", "1e5", ".5", "9" * 200],
    ),
    ("numeric", ["12", "12.0"], "integer", [12, 12]),
    ("numeric(10,2)", [Decimal("3.50")], "numeric", ["3.50"]),
    ("numeric(10,2)", [Decimal("3.00")], "integer", [3]),
    ("numeric(10,4)", [Decimal("3.4500")], "numeric(10,2)", [Decimal("3.45")]),
    ("bigint", [2**31 - 1, -(2**31)], "integer", [2**31 - 1, -(2**31)]),
    ("integer", [7], "bigint", [7]),
    ("integer", [7], "numeric(10,2)", [Decimal("7.00")]),
    ("integer", [7, None], "character varying", ["7", None]),
    ("integer", [2**31 - 1], "double precision", [2147483647.0]),
    ("character varying", ["äöü", "", None], "character varying(3)", ["äöü", "", None]),
    (
        "uuid",
        ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", None],
        "uuid",
        ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", None],
    ),
    ("jsonb", ['{"a": [1, null]}', "null", None], "jsonb", ['{"a": [1, null]}', "null", None]),
    ("date", [date(2023, 11, 6)], "timestamp without time zone", [datetime(2023, 11, 6)]),
    ("bytea", ["\\x00ff"], "bytea", ["\\x00ff"]),
    ("integer[]", ["{1,NULL}"], "integer[]", ["{1,NULL}"]),
    ("numeric(50,20)", ["NaN", "1.5"], "numeric(50,20)", ["NaN", "1.5"]),
]


@pytest.mark.parametrize(
    ("given", "values", "expected", "result"), FITS, ids=[f"{c[0]}-{c[2]}-{c[1][0]}" for c in FITS]
)
def test_values_that_fit_are_unchanged(
    judge: Judge, given: str, values: list[Any], expected: str, result: list[Any]
) -> None:
    assert judge(given, values, expected) == (result, [])


MISFITS: list[tuple[str, list[Any], str]] = [
    ("character varying", ["soon", "2023-02-30", "", "06/11/2023 x", "20231106"], "date"),
    ("character varying", ["2023-11-06 10:00:00", "2023-11-06T10:00"], "date"),
    (
        "character varying",
        ["25:00", "noon", "2023-11-06 12:00", "10:00:00.1234567"],
        "time without time zone",
    ),
    (
        "character varying",
        ["2023-11-06 10:00:00 +02", "2023-11-06 10:00:00.1234567"],
        "timestamp without time zone",
    ),
    ("character varying", ["3.7", "x", "", "2147483648", "0x10", "1_000", "12 apples"], "integer"),
    ("numeric", ["3.7", "NaN", "2147483648", "0.0000000000000000000000000000000000001"], "integer"),
    (
        "numeric",
        ["3.456", "NaN", "100000000", "0.001", "3.4500000000000000000000000000000000000001"],
        "numeric(10,2)",
    ),
    ("character varying", ["3,50", "$3", "1e"], "numeric(10,2)"),
    ("character varying", ["x", "", "1,5", "--1", "1 2"], "numeric"),
    ("numeric(10,4)", [Decimal("3.4567")], "numeric(10,2)"),
    ("numeric(10,2)", [Decimal("3.50")], "integer"),
    ("double precision", [3.456, float("nan"), float("inf"), 1e300], "numeric(10,2)"),
    ("double precision", [3.5, 1e10, float("nan")], "integer"),
    ("double precision", [0.1], "real"),
    ("bigint", [2**31, -(2**31) - 1], "integer"),
    ("bigint", [2**53 + 1], "double precision"),
    ("integer", [32768], "smallint"),
    ("character varying", ["four", "äöüß"], "character varying(3)"),
    ("character varying", ["abcd"], "character(3)"),
    ("character varying", ["a0eebc99", ""], "uuid"),
    ("character varying", ["{", "", "{'a': 1}"], "jsonb"),
    ("character varying", ["maybe", ""], "boolean"),
    ("character varying", ["\\xzz", "\\x0", "0a", ""], "bytea"),
]


@pytest.mark.parametrize(
    ("given", "values", "expected"), MISFITS, ids=[f"{c[0]}-{c[2]}-{c[1][0]}" for c in MISFITS]
)
def test_values_that_do_not_fit_are_rejected_with_a_reason(
    judge: Judge, given: str, values: list[Any], expected: str
) -> None:
    valid, invalid = judge(given, values, expected)
    assert valid == []
    assert set(invalid) == {f"v does not fit {expected}"}


@pytest.mark.parametrize(
    ("given", "value", "expected"),
    [
        ("numeric", "3.456", "numeric(50,2)"),
        ("numeric", "149", "numeric(5,-2)"),
        (
            "timestamp without time zone",
            datetime(2023, 11, 6, 8, 0, 0, 123456),
            "timestamp(3) without time zone",
        ),
        ("time without time zone", time(8, 0, 0, 123456), "time(0) without time zone"),
    ],
)
def test_a_value_that_postgres_would_round_is_a_misfit(
    judge: Judge, given: str, value: Any, expected: str
) -> None:
    valid, invalid = judge(given, [value], expected)
    assert (valid, len(invalid)) == ([], 1)


def test_a_reason_names_column_and_type_without_the_value(judge: Judge) -> None:
    assert judge("character varying", ["2023-02-30"], "date")[1] == ["v does not fit date"]
    assert judge("character varying", [None], "date!")[1] == ["v is missing (NULL)"]


def test_valid_rows_are_written_without_the_rejected_ones(judge: Judge) -> None:
    valid, invalid = judge("character varying", ["2024-01-01", "bad", "2024-01-02", None], "date!")
    assert valid == [date(2024, 1, 1), date(2024, 1, 2)]
    assert invalid == ["v does not fit date", "v is missing (NULL)"]


def test_infinity_and_far_years_fit(judge: Judge) -> None:
    assert judge("character varying", ["infinity", "9999-12-31"], "character varying")[1] == []
    valid, invalid = judge("date", [date(9999, 12, 31)], "date")
    assert (valid, invalid) == ([date(9999, 12, 31)], [])


@pytest.mark.parametrize(
    ("given", "expression", "expected"),
    [
        ("timestamp without time zone", "v", "date"),
        ("timestamp with time zone", "v", "date"),
        ("timestamp without time zone", "v", "time without time zone"),
        ("timestamp without time zone", "v", "timestamp with time zone"),
        ("date", "v", "integer"),
        ("boolean", "v", "integer"),
        ("integer", "[v]", "character varying"),
        ("integer", "{'a': v}", "jsonb"),
    ],
)
def test_lossy_casts_must_be_written_in_the_model(
    judge: Judge, given: str, expression: str, expected: str
) -> None:
    with pytest.raises(
        ModelError, match=r"dim_t\.sql:1: column v is .*, the warehouse column is .*; cast it in the model"
    ):
        judge(given, [None], expected, expression)


@pytest.mark.parametrize(
    ("given", "expression", "expected", "result"),
    [
        ("timestamp without time zone", "CAST(v AS DATE)", "date", [date(2023, 11, 6)]),
        ("timestamp without time zone", "encode(strftime(v, '%Y'))", "bytea", ["\\x32303233"]),
        ("timestamp without time zone", "NULL", "jsonb", [None]),
        (
            "timestamp without time zone",
            "uuid '00000000-0000-0000-0000-000000000001'",
            "uuid",
            ["00000000-0000-0000-0000-000000000001"],
        ),
    ],
)
def test_values_that_the_model_casts_are_accepted(
    judge: Judge, given: str, expression: str, expected: str, result: list[Any]
) -> None:
    assert judge(given, [datetime(2023, 11, 6, 8)], expected, expression) == (result, [])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("SELECT id, v AS typo FROM t", "column typo is not in the warehouse table dim_t"),
        ("SELECT id FROM t", "yields no column v, which the warehouse table dim_t requires"),
        ("SELECT v FROM t", "yields no column id"),
        ("SELECT id, w AS v FROM t", r"dim_t\.sql:1: column w is not in t"),
        ("SELECT\n    id,\n    w AS v\nFROM t", r"dim_t\.sql:3: column w is not in t"),
    ],
)
def test_columns_that_do_not_match_are_reported_with_the_file(
    raw: Bucket, processed: Bucket, tmp_path: Path, model: str, message: str
) -> None:
    models = write_models(tmp_path / "models", {"dim_t": model})
    batch = MadeUp(raw, {"t": ({"id": "integer", "v": "integer"}, ("id",))}).batch({"t": [{"id": 1, "v": 1}]})
    with pytest.raises(ModelError, match=message) as raised:
        transform(Work(models, {"dim_t": target(v="integer!")}, batch, None, raw, processed))
    assert str(tmp_path / "models" / "dim_t.sql") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_null_key_is_rejected(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    models = write_models(tmp_path / "models", {"dim_t": "SELECT nullif(id, 2) AS id, v FROM t"})
    batch = MadeUp(raw, {"t": ({"id": "integer", "v": "integer"}, ("id",))}).batch(
        {"t": [{"id": 1, "v": 10}, {"id": 2, "v": 20}]}
    )
    output = transform(Work(models, {"dim_t": target(v="integer")}, batch, None, raw, processed))
    assert parquet_rows(processed, output.files) == [{"id": 1, "v": 10}]
    assert parquet_rows(processed, output.rejected) == [
        {"key": '{"id":null}', "reason": "id is missing (NULL)", "row": '{"id":null,"v":"20"}'}
    ]


def test_a_rejected_row_has_all_its_reasons(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    models = write_models(tmp_path / "models", {"dim_t": "SELECT id, v, w FROM t"})
    columns = {"id": "integer", "v": "character varying", "w": "character varying"}
    batch = MadeUp(raw, {"t": (columns, ("id",))}).batch({"t": [{"id": 1, "v": "x", "w": None}]})
    output = transform(
        Work(models, {"dim_t": target(v="date", w="character varying!")}, batch, None, raw, processed)
    )
    (row,) = parquet_rows(processed, output.rejected)
    assert row["reason"] == "v does not fit date; w is missing (NULL)"


def test_columns_with_a_default_need_not_be_yielded(raw: Bucket, processed: Bucket, tmp_path: Path) -> None:
    models = write_models(tmp_path / "models", {"dim_t": "SELECT id FROM t"})
    batch = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))}).batch({"t": [{"id": 1}]})
    plain = target(v="integer!")
    filled = plain.model_copy(
        update={"columns": tuple(c.model_copy(update={"filled": c.name == "v"}) for c in plain.columns)}
    )
    output = transform(Work(models, {"dim_t": filled}, batch, None, raw, processed))
    assert parquet_rows(processed, output.files) == [{"id": 1}]
