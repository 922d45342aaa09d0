"""A model, a schema or a column that is wrong ends a run in one line that names it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import flows.command
from pipeline.errors import ModelError
from pipeline.messages import message
from tasks.failures import print_error
from tests.flows.attempts import Try, nothing_changes
from tests.flows.support import World, query

ITEM = "-- One row an item.\nSELECT\n    item_id,\n    label,\n    price\nFROM item\n"


# Files of the models folder as the user wrote them (None: removed), and what the line says of it.
MODELS: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "syntax": (
        {"dim_item.sql": ITEM.replace("FROM item", "FORM item")},
        [r"dim_item\.sql:6: ", "syntax error"],
    ),
    "column": (
        {"dim_item.sql": ITEM.replace("label", "lable")},
        [r"dim_item\.sql:4: ", "column lable is not in item; write label$"],
    ),
    "table": (
        {"dim_item.sql": ITEM.replace("FROM item", "FROM itm")},
        [r"dim_item\.sql", "table itm", "public", "write item$"],
    ),
    "type": (
        {"dim_item.sql": ITEM.replace("price", "DATE '2026-01-01' AS price")},
        [r"dim_item\.sql", "price", "DATE", r"numeric\(8,2\)", "cast"],
    ),
    "column that the warehouse lacks": (
        {"dim_item.sql": ITEM.replace("price", "price,\n    price AS cost")},
        [r"dim_item\.sql", "column cost", "warehouse table dim_item"],
    ),
    "no key": (
        {"fact_sale.sql": "SELECT sale_id, item_id, sold_at, pieces FROM sale"},
        [r"fact_sale\.sql", "-- key:"],
    ),
    "no kind": ({"things.sql": "SELECT item_id FROM item"}, [r"things\.sql", "-- kind: fact"]),
    "two statements": ({"dim_item.sql": f"{ITEM};\nSELECT 1"}, [r"dim_item\.sql", "2 statements"]),
    "none": ({"dim_item.sql": None, "fact_sale.sql": None}, ["models: no models", "TOTESYS_TRANSFORMS"]),
    "no schema.sql for a new table": (
        {"schema.sql": None, "dim_b.sql": "SELECT item_id FROM item"},
        [r"models/schema\.sql", "missing"],
    ),
    "a table that schema.sql does not make": (
        {"dim_b.sql": "SELECT item_id FROM item"},
        [r"public\.dim_b is missing", r"schema\.sql"],
    ),
    "a schema.sql that Postgres refuses": (
        {"schema.sql": "CREATE TABEL dim_b ()", "dim_b.sql": "SELECT item_id FROM item"},
        [r"schema\.sql:1: ", "TABEL"],
    ),
}


@pytest.mark.parametrize("mistake", MODELS)
def test_a_model_that_is_wrong_is_named_with_the_reason(loaded: World, attempt: Try, mistake: str) -> None:
    files, words = MODELS[mistake]
    loaded.save_blocks()
    for name, text in files.items():
        if text is None:
            (loaded.transforms / name).unlink()
        else:
            (loaded.transforms / name).write_text(text)
    with nothing_changes(loaded):
        attempt(loaded, flows.command.main).fails_with(*words)


def test_each_mistake_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(message(ModelError("a.sql:1: one\nb.sql:2: two")))
    assert capsys.readouterr().err == "error: a.sql:1: one\nerror: b.sql:2: two\n"


def test_a_folder_of_models_that_is_not_there_is_named(loaded: World, attempt: Try) -> None:
    loaded.save_blocks()
    world = replace(loaded, transforms=loaded.home / "modles")
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with("modles", "TOTESYS_TRANSFORMS")


@pytest.mark.parametrize("which", ["SOURCE", "WAREHOUSE"])
def test_a_schema_that_is_not_there_is_named(loaded: World, attempt: Try, which: str) -> None:
    loaded.save_blocks()
    world = replace(loaded, more={f"TOTESYS_{which}_SCHEMA": "nowhere"})
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with("nowhere")


def test_a_column_that_was_dropped_in_the_source_is_named(kiosk: World, attempt: Try) -> None:
    kiosk.run().reports  # noqa: B018
    query(kiosk.source_url, "ALTER TABLE item RENAME COLUMN label TO name")
    kiosk.save_blocks()
    with nothing_changes(kiosk):
        attempt(kiosk, flows.command.main).fails_with(r"dim_item\.sql:\d+: ", "label")
