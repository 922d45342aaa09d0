"""A batch can be transformed in splits, unless the model needs all rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.lake.buckets import folder
from pipeline.lake.manifest import Manifest
from pipeline.models.output import Output, combined
from pipeline.models.transform import transform
from pipeline.models.work import Work, splits
from tests.made_up import MadeUp, made_target
from tests.models.orders import TABLES, work
from tests.support import Row, parquet_rows, write_models

PIECES = st.lists(
    st.lists(st.tuples(st.none() | st.integers(1, 6), st.none() | st.sampled_from("abc")), max_size=4),
    min_size=2,
    max_size=4,
)


@pytest.mark.parametrize("key", ["n", "v"], ids=["the source's key", "another key"])
@example(files=[[(1, "a"), (2, "b")], [(1, "b"), (3, None)]])  # a key in two splits
@given(files=PIECES)
def test_splits_of_a_batch_yield_the_same_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, key: str, files: list[list[tuple[int | None, str | None]]]
) -> None:
    home = tmp_path_factory.mktemp("splits")
    raw, processed = folder(str(home / "raw")), folder(str(home / "processed"))
    model = write_models(home / "models", {"dim_t": f"SELECT {key} AS id, w FROM t"})["dim_t"]
    target = made_target("dim_t", ("id",), id="integer!", w="character varying!")
    batches = MadeUp(raw, {"t": ({"n": "integer", "v": "integer", "w": "character varying"}, ("n",))})
    landed = [
        batches.batch(
            {"t": [{"n": 10 * number + place, "v": v, "w": w} for place, (v, w) in enumerate(rows)]},
            full=True,
        )
        for number, rows in enumerate(files)
    ]
    table = landed[0].tables["t"]
    together = tuple(file for one in landed for file in one.tables["t"].files)
    batch = landed[0].model_copy(update={"tables": {"t": table.model_copy(update={"files": together})}})

    def over(manifest: Manifest) -> Work:
        return work(model, target, manifest, None, raw, processed)

    def shown(output: Output) -> tuple[list[Row], list[Row]]:
        accepted, bad = parquet_rows(processed, output.files), parquet_rows(processed, output.rejected)
        return sorted(accepted, key=lambda row: row["id"]), sorted(bad, key=lambda row: row["key"])

    whole = transform(over(batch))
    cut = splits(over(batch))
    assert len(cut) == (max(1, len(together)) if key == "n" else 1), "other keys are looked at all together"
    assert shown(combined([transform(over(piece)) for piece in cut])) == shown(whole)


def test_models_that_need_all_rows_have_one_split(tmp_path: Path) -> None:
    raw = folder(str(tmp_path))
    batches = MadeUp(raw, TABLES)
    one, two = (
        batches.batch({"orders": [{"order_id": n}], "shops": [{"shop_id": n}]}, full=True) for n in (1, 2)
    )
    both = {
        name: table.model_copy(update={"files": table.files + one.tables[name].files})
        for name, table in two.tables.items()
    }
    batch = two.model_copy(update={"tables": both})
    target = made_target("dim_t", ("order_id",), order_id="integer")
    for sql, number in (
        ("SELECT order_id FROM orders", 2),
        ("SELECT order_id FROM orders WHERE amount > 1", 2),
        ("SELECT max(order_id) AS order_id FROM orders", 1),
        ("SELECT order_id FROM orders JOIN shops USING (shop_id)", 1),
        ("SELECT amount AS order_id FROM orders", 1),
    ):
        model = write_models(tmp_path / "models", {"dim_t": sql})["dim_t"]
        assert len(splits(work(model, target, batch, None, raw, raw))) == number
