"""The shipped models, case by case: ``models/<warehouse table>/<case>.yaml``.

A case says ``given`` rows by source table and the result: ``expected`` rows of
the warehouse table, or ``contains`` some of them and ``rows`` how many; ``rejected``
keys and reasons. ``before`` are rows of an earlier batch, after which only ``given``
has changed. Columns that a case leaves out are NULL.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency

from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.lake.buckets import Bucket
from pipeline.models import library
from pipeline.models.output import Loaded, Output
from pipeline.models.target import Target
from pipeline.warehouse import catalogue
from tests.house import transform_all
from tests.made_up import MadeUp
from tests.shipped import TRANSFORMS, as_arrow, as_text, source_columns
from tests.support import database, execute

CASES = sorted((PROJECT / "tests" / "models").glob("*/*.yaml"))
Contract = tuple[dict[str, Target], dict[str, Any]]


@pytest.fixture(scope="module")
def contract(postgres: Postgres) -> Iterator[Contract]:
    """The contracts of the warehouse's tables, and the columns of the source's."""
    all_models = library.load(TRANSFORMS)
    with database(postgres, "contract") as house, database(postgres, "totesys") as totesys:
        targets = catalogue.prepare(house, "public", all_models, TRANSFORMS)
        columns = source_columns(totesys, all_models)
        yield targets, columns


def run_case(path: Path, case: dict[str, Any], contract: Contract, raw: Bucket, processed: Bucket) -> Output:
    """Run all models over the case's batches; returns the output of the case's model."""
    targets, columns = contract
    all_models = library.load(TRANSFORMS)
    batches = MadeUp(raw, columns)
    loaded: dict[str, Loaded] = {}
    outputs: dict[str, Output] = {}
    for step in ("before", "given"):
        if step == "given" or step in case:
            rows = {name: as_arrow(rows, columns[name][0]) for name, rows in case[step].items()}
            outputs = transform_all(all_models, targets, batches.batch(rows), loaded, raw, processed)
            loaded = {
                name: Loaded(fingerprint=all_models[name].fingerprint, result=output.result)
                for name, output in outputs.items()
            }
    return outputs[path.parent.name]


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}/{path.stem}" for path in CASES])
def test_a_model(path: Path, contract: Contract, raw: Bucket, processed: Bucket) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(case) <= {"about", "before", "given", "expected", "contains", "rows", "rejected"}
    output = run_case(path, case, contract, raw, processed)
    rows = printed(output, processed)
    expected = [
        {name: None if v is None else as_text(v) for name, v in row.items()}
        for row in case.get("expected", [])
    ]
    if "rows" in case:
        assert len(rows) == len({row["date_id"] for row in rows}) == case["rows"]
        for row in case.get("contains", []):
            assert {name: as_text(v) for name, v in row.items()} in rows
    else:
        assert sorted(rows, key=str) == sorted(expected, key=str)
    rejected = processed.dataset(output.rejected).to_table().to_pylist() if output.rejected else []
    reasons = {json.dumps(json.loads(row["key"])): row["reason"] for row in rejected}
    assert reasons.keys() == {json.dumps(row["key"]) for row in case.get("rejected", [])}
    for row in case.get("rejected", []):
        assert all(reason in reasons[json.dumps(row["key"])] for reason in row["reasons"])


def printed(output: Output, processed: Bucket) -> list[dict[str, str | None]]:
    """The accepted rows, as text."""
    if not output.files:
        return []
    with duckdb.connect() as connection:
        connection.register("rows", processed.dataset(output.files))
        actual: list[dict[str, str | None]] = (
            connection.sql("SELECT COLUMNS(*)::VARCHAR FROM rows").to_arrow_table().to_pylist()
        )
        return actual


def test_every_model_has_a_case_and_every_case_a_model() -> None:
    assert {path.parent.name for path in CASES} == set(library.load(TRANSFORMS))


def test_the_warehouse_has_the_documented_columns(contract: Contract) -> None:
    targets, _ = contract
    for name, target in targets.items():
        required = {column.name for column in target.columns if not column.required}
        assert required == {
            "dim_location": {"address_line_2", "district"},
            "dim_counterparty": {"counterparty_legal_address_line_2", "counterparty_legal_district"},
            "dim_transaction": {"sales_order_id", "purchase_order_id"},
        }.get(name, set())
    references = {
        name: sorted((reference.columns[0], reference.to_table) for reference in target.references)
        for name, target in targets.items()
        if target.references
    }
    assert references.pop("dim_exchange_rate") == [("currency_id", "dim_currency")]
    assert {name: len(actual) for name, actual in references.items()} == {
        "fact_sales_order": 9,
        "fact_purchase_order": 8,
        "fact_payment": 7,
    }
    for actual in references.values():
        assert {
            ("created_date", "dim_date"),
            ("last_updated_date", "dim_date"),
            ("currency_id", "dim_currency"),
        } <= set(actual)


def test_the_schema_may_be_run_again(postgres: Postgres) -> None:
    text = (TRANSFORMS / "schema.sql").read_text(encoding="utf-8")
    with database(postgres, "twice") as url:
        execute(url, text)
        with psycopg.connect(url) as connection:
            connection.execute(text.encode())
