"""The present state of a table is read from its deltas without holding its rows in memory."""

from __future__ import annotations

from pipeline.duck import session
from pipeline.lake.buckets import Bucket
from pipeline.lake.state import bind_state
from tests.made_up import MadeUp
from tests.models.orders import TABLES, order_row


def test_duckdb_holds_the_keys_of_later_deltas_and_not_the_rows_of_earlier_ones(raw: Bucket) -> None:
    batches = MadeUp(raw, {"orders": TABLES["orders"]})
    for rows in ([order_row(number, 1, 1) for number in range(100)], [order_row(5, 2, 2)]):
        table = batches.batch({"orders": rows}).tables["orders"]
    table = batches.batch({"orders": []}, deleted={"orders": [{"order_id": 7}]}).tables["orders"]
    state = table.state or ()
    assert len(state) > 1
    with session() as connection:
        bind_state(connection, table, state, raw, "state")
        assert len(connection.sql("FROM state").fetchall()) == 99
        plan = "\n".join(map(str, connection.execute("EXPLAIN SELECT count(*) FROM state").fetchall()))
    assert "ANTI" in plan
    assert "RIGHT_ANTI" not in plan, "the right side is the one in memory"
