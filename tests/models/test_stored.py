"""Arrays are lists in models, as in Postgres."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.lake.buckets import folder
from pipeline.models.transform import transform
from pipeline.models.work import Work
from tests.made_up import MadeUp, made_target
from tests.models.both import Both
from tests.support import parquet_rows, write_models

# Over the table box, with the type of the column.
LISTS = {
    "sizes[1]": "integer", "tags[2] || 'x'": "text", "prices[1] * 2 = 3.00": "boolean",
    "cardinality(tags)": "integer",
    "array_length(NULLIF(sizes, ARRAY[]::integer[]), 1)": "integer",
    "tags && ARRAY['a', 'b']": "boolean", "array_position(sizes, 1)": "integer", "tags[2:3]": "text[]",
    "sizes = ARRAY[-7]": "boolean", "sizes > ARRAY[1]": "boolean", "array_to_string(tags, ',')": "text",
    "(SELECT sum(x) FROM unnest(sizes) AS u (x))": "bigint", "array_append(sizes, 4)": "integer[]",
    "days[1] < '2024-01-01'": "boolean", "CAST(tags AS text)": "text", "tags": "text[]",
    "sizes IS NULL": "boolean",
    "(SELECT max(x) FROM unnest(prices) AS u (x))": "numeric", "COALESCE(tags, ARRAY['-'])": "text[]",
}  # fmt: skip


def test_lists_equal_postgres(both: Both) -> None:
    wrong = []
    for expression, type_ in LISTS.items():
        expected = both.expected(f"SELECT id, ({expression})::text FROM box")
        actual = both.yields(f"SELECT id, {expression} AS v FROM box", type_)
        with both.postgres.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(f'%s::text::{type_}::text' for _ in actual)}".encode(),
                           [None if value is None else str(value) for _, value in actual])  # fmt: skip
            read = list(cursor.fetchone() or ())
        if [*zip((key for key, _ in actual), read, strict=True)] != expected:
            wrong.append(f"{expression}: {read} instead of {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("value", ["{{1,2},{3,4}}", "[0:1]={1,2}"])
def test_an_array_that_is_no_list_stops_only_models_that_use_it(tmp_path: Path, value: str) -> None:
    raw, processed = folder(str(tmp_path / "raw")), folder(str(tmp_path / "processed"))
    types = {"id": "integer", "sizes": "integer[]"}
    batch = MadeUp(raw, {"box": (types, ("id",))}).batch(
        {"box": [{"id": 1, "sizes": value}, {"id": 2, "sizes": value}]}
    )
    target = {"dim_m": made_target("dim_m", ("id",), id="integer", v="integer[]")}
    all_models = write_models(tmp_path / "models", {"dim_m": "SELECT id, sizes AS v FROM box"})
    output = transform(Work(all_models, target, batch, None, raw, processed))
    assert [row["v"] for row in parquet_rows(processed, output.files)] == [value] * 2
    all_models = write_models(tmp_path / "models", {"dim_m": "SELECT id,\n  sizes[1:2] AS v FROM box"})
    message = (
        r"dim_m\.sql:2: column box\.sizes has an array of several dimensions, or with other bounds in a row"
    )
    with pytest.raises(ModelError, match=message) as raised:
        transform(Work(all_models, target, batch, None, raw, processed))
    assert "\n" not in str(raised.value)
