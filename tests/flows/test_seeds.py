"""A CSV file beside the models is a table for them, in all flows."""

from __future__ import annotations

import pytest

from flows.rebuild import rebuild
from tests.flows.support import World, query, words_of


@pytest.mark.campaign
def test_a_seed_is_read_changed_and_rebuilt(kiosk: World) -> None:
    assert kiosk.run().state.is_completed()
    model = "SELECT g.name AS label, g.item_id, i.price FROM groups AS g JOIN item AS i USING (item_id)"
    (kiosk.transforms / "dim_item.sql").write_text(model, encoding="utf-8")
    (kiosk.transforms / "seeds").mkdir()
    seed = kiosk.transforms / "seeds" / "groups.csv"
    shown = "SELECT item_id, label FROM dim_item ORDER BY item_id"

    seed.write_text("item_id,name\n1,paper\n2\n", encoding="utf-8")
    assert "groups.csv:3: has 1 of the 2 fields" in words_of(kiosk.run().error)
    seed.write_text("item_id,name\n1,paper\n2,sweets\n3,rain\n", encoding="utf-8")
    assert kiosk.run().state.is_completed()
    assert kiosk.run().reports == []
    seed.write_text("item_id,name\n1,paper\n2,gum\n3,rain\n", encoding="utf-8")
    assert kiosk.run().state.is_completed()
    assert query(kiosk.warehouse_url, shown) == [(1, "paper"), (2, "gum"), (3, "rain")]

    seed.write_text("item_id,name\n1,other\n", encoding="utf-8")
    query(kiosk.warehouse_url, "DROP SCHEMA public, etl CASCADE; CREATE SCHEMA public")
    with kiosk.entered():
        assert len(rebuild()) == 3, "the first batch had no seed yet"
    assert query(kiosk.warehouse_url, shown) == [(1, "paper"), (2, "gum"), (3, "rain")]
