"""A key that several rows of a result have is rejected, and the other rows are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.lake.buckets import folder
from pipeline.models.output import Loaded
from pipeline.models.transform import transform
from tests.made_up import MadeUp, made_target
from tests.models.orders import work
from tests.support import Row, parquet_rows, write_models


def key_run(
    home: Path, batches: list[list[Row]], sql: str = "SELECT v AS id, w FROM t"
) -> tuple[list[Row], list[tuple[Any, str]]]:
    """The last batch's accepted rows, and the keys and reasons of the rejected ones."""
    output = None
    raw, processed = folder(str(home / "raw")), folder(str(home / "processed"))
    all_models = write_models(home / "models", {"dim_t": sql})
    target = made_target("dim_t", ("id",), id="integer!", w="character varying!")
    source_batches = MadeUp(
        raw,
        {
            "t": ({"n": "integer", "v": "integer", "w": "character varying"}, ("n",)),
            "u": ({"k": "integer"}, ("k",)),
        },
    )
    loaded = None
    for rows in batches:
        manifest = source_batches.batch({"t": rows, "u": [{"k": 1}]})
        output = transform(work(all_models["dim_t"], target, manifest, loaded, raw, processed))
        loaded = Loaded(fingerprint=all_models["dim_t"].fingerprint, result=output.result)
    assert output is not None
    rejected = parquet_rows(processed, output.rejected)
    valid = sorted(parquet_rows(processed, output.files), key=lambda row: row["id"])
    return valid, sorted((json.loads(row["key"])["id"], row["reason"]) for row in rejected)


def test_a_key_of_two_rows_is_rejected_once(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"n": 1, "v": 10, "w": "a"},
        {"n": 2, "v": 20, "w": "b"},
        {"n": 3, "v": 10, "w": "c"},
        {"n": 4, "v": 30, "w": None},
    ]
    valid, invalid = key_run(tmp_path, [rows])
    assert valid == [{"id": 20, "w": "b"}]
    assert invalid == [("10", "more than one row has this key"), ("30", "w is missing (NULL)")]


def test_equal_rows_of_one_key_are_rejected_too(tmp_path: Path) -> None:
    valid, invalid = key_run(tmp_path, [[{"n": n, "v": 10, "w": "a"} for n in (1, 2)]])
    assert (valid, invalid) == ([], [("10", "more than one row has this key")])


JOIN_T = "SELECT t.v AS id, t.w FROM t CROSS JOIN u"


def test_a_key_that_gets_a_second_row_later_is_rejected(tmp_path: Path) -> None:
    batches = [[{"n": 1, "v": 10, "w": "a"}], [{"n": 2, "v": 10, "w": "b"}]]
    assert key_run(tmp_path, batches, JOIN_T) == ([], [("10", "more than one row has this key")])


def test_a_key_that_loses_its_second_row_is_accepted(tmp_path: Path) -> None:
    batches = [[{"n": 1, "v": 10, "w": "a"}, {"n": 2, "v": 10, "w": "b"}], [{"n": 2, "v": 11, "w": "b"}]]
    assert key_run(tmp_path, batches, JOIN_T) == ([{"id": 10, "w": "a"}, {"id": 11, "w": "b"}], [])
