"""The table of a removed model stays as it is, with a mark, or is dropped by consent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline import status
from pipeline.errors import ModelError, WarehouseError
from pipeline.settings import Settings
from pipeline.warehouse import catalogue
from tasks.status import Verdict, judge, show
from tests.pair import Pair
from tests.support import execute
from tests.warehouse.test_renames import MODELS, SCHEMA, SOURCE, write

KEPT = {name: text for name, text in MODELS.items() if name not in {"fact_sale", "dim_total"}}
WITHOUT_FACT = SCHEMA[: SCHEMA.index("CREATE TABLE IF NOT EXISTS fact_sale")]


@pytest.fixture
def loaded(shared: Pair) -> Pair:
    """A warehouse after a batch, with a rejected row of fact_sale."""
    shared.fresh(MODELS, *SOURCE)
    shared.run()
    return shared


def test_the_table_of_a_removed_model_is_frozen_and_no_warning_remains(
    loaded: Pair, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    house = loaded.house
    rows = house.query("SELECT * FROM fact_sale ORDER BY 1")
    assert house.rejected()
    write(loaded, KEPT)
    assert loaded.run() == {}, "a batch without the model's source table"
    assert loaded.run() is None
    line = "fact_sale has no model any more"
    assert caplog.text.count(line) == 1
    loaded.do("UPDATE shop SET city = 'Bath' WHERE shop_id = 2")
    house.prepared = None
    loaded.run()
    assert caplog.text.count(line) == 1
    assert house.query("SELECT * FROM fact_sale ORDER BY 1") == rows
    assert house.rejected() == []
    seen = status.inspect(
        loaded.source_url, house.url, house.raw, house.processed, Settings(transforms=house.folder),
        counting="small",
    )  # fmt: skip
    assert judge(seen, timedelta(hours=1)) is Verdict.OK
    rebuilt = house.rehearse()
    assert rebuilt.differences == []
    show(seen, Verdict.OK)
    assert "Frozen since" in capsys.readouterr().out
    assert seen.frozen.keys() == {"dim_total", "fact_sale"}
    write(loaded, MODELS)
    loaded.do("UPDATE sale SET amount = 70 WHERE sale_id = 3")
    house.targets()
    loaded.run()
    assert house.query("SELECT count(*) FROM etl.model WHERE frozen_at IS NOT NULL") == [(0,)]
    assert house.query("SELECT amount FROM fact_sale_current WHERE sale_id = 3") == [(70,)]
    assert [table for table, _, _ in house.rejected()] == ["fact_sale"]


def test_a_model_that_reads_a_removed_one_is_refused(loaded: Pair) -> None:
    write(loaded, {name: text for name, text in MODELS.items() if name != "fact_sale"})
    with pytest.raises(
        ModelError, match=r"dim_total\.sql: reads fact_sale, whose model was removed; bring back"
    ):
        loaded.house.targets()


def drop(pair: Pair) -> None:
    house = pair.house
    catalogue.prepare(house.url, "public", house.models, house.folder, ["drop fact_sale"])


def test_a_table_without_a_model_is_dropped_by_consent(loaded: Pair) -> None:
    house = loaded.house
    write(loaded, KEPT)
    with pytest.raises(WarehouseError, match=r"schema\.sql still declares fact_sale"):
        drop(loaded)
    write(loaded, {**KEPT, "schema": WITHOUT_FACT})
    execute(house.url, "CREATE VIEW mine AS SELECT amount FROM fact_sale_history")
    with pytest.raises(WarehouseError, match=r"while others depend on it: view public\.mine; drop what"):
        drop(loaded)
    execute(house.url, "DROP VIEW mine")
    drop(loaded)
    objects = "SELECT relname::text FROM pg_class WHERE relname LIKE 'fact\\_sale%'"
    assert house.query(objects) == []
    assert house.query("SELECT table_name FROM etl.model ORDER BY 1") == [("dim_shop",), ("dim_total",)]
    assert house.rejected() == []
    drop(loaded)
    assert loaded.run() == {}, "a batch without the model's source table"
    assert loaded.run() is None
