"""A changed model and what schema.sql adds reach the warehouse by a run, without a version in its history."""

from __future__ import annotations

import json
import sys

import pytest

from tasks import plan
from tests.flows.support import World, query


def test_a_changed_model_and_a_new_column_make_no_version(
    kiosk: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["plan", *arguments])
        with kiosk.entered():
            return plan.main(), capsys.readouterr().out

    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.source_url, "UPDATE item SET label = 'parasol' WHERE item_id = 3")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    model, schema = kiosk.transforms / "dim_item.sql", kiosk.transforms / "schema.sql"
    columns = "    upper(label) AS label,\n    price > 5 AS dear,"
    model.write_text(model.read_text().replace("    label,", columns))
    schema.write_text(schema.read_text().replace("text NOT NULL,", "text NOT NULL,\n    dear boolean,"))
    status, text = planned()
    assert (status, text.splitlines()) == (
        2,
        [
            f"dim_item (3 rows): {plan.EFFECTS['restated'].format(batches='2 batches')}",
            '  the run executes: ALTER TABLE "public"."dim_item" ADD COLUMN "dear" boolean',
        ],
    )
    assert json.loads(planned("--json")[1])[0]["effect"] == "restated"
    assert kiosk.run().reports == []
    assert planned()[0] == 0
    history = "SELECT label, dear FROM dim_item_history WHERE item_id = 3 ORDER BY valid_from"
    assert query(kiosk.warehouse_url, history) == [("UMBRELLA", True), ("PARASOL", True)]
    assert query(kiosk.warehouse_url, "SELECT count(*) FROM dim_item_history") == [(4,)]
