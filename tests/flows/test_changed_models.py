"""A changed model and what schema.sql adds reach the warehouse by a run, without a version in its history."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.schemas.filters import ArtifactFilter

import flows.command
from pipeline.errors import SettingsError
from tasks import import_history, plan, status, verify
from tasks.changes import EFFECTS, consents
from tests.flows.attempts import Try
from tests.flows.support import World, client, query, words_of

Planned = Callable[..., tuple[int, str]]
COLUMNS = "    upper(label) AS label,\n    price > 5 AS dear,"
DECLARED = "text NOT NULL,\n    dear boolean NOT NULL,"
VERSIONS = "SELECT count(*) FROM dim_item_history"


@pytest.fixture
def planned(kiosk: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Planned:
    """Runs `make plan` with arguments; returns its status and what it prints."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["plan", *arguments])
        with kiosk.entered():
            return plan.main(), capsys.readouterr().out

    return run


def test_a_changed_model_and_a_new_column_make_no_version(kiosk: World, planned: Planned) -> None:
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.source_url, "UPDATE item SET label = 'parasol' WHERE item_id = 3")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    model, schema = kiosk.transforms / "dim_item.sql", kiosk.transforms / "schema.sql"
    model.write_text(model.read_text().replace("    label,", COLUMNS))
    schema.write_text(schema.read_text().replace("text NOT NULL,", DECLARED))
    status, text = planned()
    head, cost, *others = text.splitlines()
    assert (status, head) == (
        2,
        f"dim_item (3 rows, 4 versions): {EFFECTS['restated'].format(batches='2 batches')}",
    )
    assert re.fullmatch(r"  computes 4 rows, about \d+ s", cost)
    assert others[:2] == [
        "  column dear (boolean) is added, and becomes NOT NULL once its rows have values",
        '    the run executes: ALTER TABLE "public"."dim_item" ADD COLUMN "dear" boolean',
    ]
    assert {"    -    label,", "    +    upper(label) AS label,", "    +dear boolean NOT NULL"} <= set(others)
    assert json.loads(planned("--json")[1])[0]["effect"] == "restated"
    query(kiosk.source_url, "ALTER TABLE item ADD COLUMN shelf text")
    (report,) = kiosk.run().reports
    assert report.remarks == ["item.shelf is new, and no model reads it."]
    (artifact,) = changes()
    assert others[0] in artifact
    assert planned()[0] == 0
    required = (
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'dim_item'::regclass AND attname = 'dear'"
    )
    assert query(kiosk.warehouse_url, required) == [(True,)]
    history = "SELECT label, dear FROM dim_item_history WHERE item_id = 3 ORDER BY valid_from"
    assert query(kiosk.warehouse_url, history) == [("UMBRELLA", True), ("PARASOL", True)]
    assert query(kiosk.warehouse_url, VERSIONS) == [(4,)]
    needs_consent(kiosk, planned)


def needs_consent(kiosk: World, planned: Planned) -> None:
    """To drop the column again is refused until somebody allows it."""
    model, schema = kiosk.transforms / "dim_item.sql", kiosk.transforms / "schema.sql"
    model.write_text(model.read_text().replace(COLUMNS, "    upper(label) AS label,"))
    schema.write_text(schema.read_text().replace(DECLARED, "text NOT NULL,"))
    refused = words_of(kiosk.run().error)
    assert 'allow it by ALLOW="drop dim_item.dear"' in refused
    assert "names no change; write one of" in words_of(kiosk.run(allow=["dropp dim_item.dear"]).error)
    assert len(changes()) == 1
    *_, last = planned()[1].splitlines()
    assert last == 'the run fails without consent: make run ALLOW="drop dim_item.dear"'
    assert "the run executes" in planned("--allow", "drop dim_item.dear")[1]
    assert (
        "allow: 'drop dim_item.deer' is no change of models or schema.sql; did you mean drop dim_item.dear?"
        in planned("--allow", "drop dim_item.deer")[1].splitlines()
    )
    kiosk.run(allow=["drop dim_item.dear"]).reports  # noqa: B018  raises what the run failed with
    assert query(kiosk.warehouse_url, VERSIONS) == [(4,)]
    assert (planned()[0], len(changes())) == (0, 2)


def test_a_model_that_is_new_or_back_gets_the_history_of_the_lake(kiosk: World, attempt: Try) -> None:
    kiosk.save_blocks()
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.source_url, "UPDATE item SET label = 'parasol' WHERE item_id = 3")
    query(kiosk.source_url, "CREATE TABLE shelf (item_id int PRIMARY KEY, place text)")
    query(kiosk.source_url, "INSERT INTO shelf VALUES (3, 'top')")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    label, place = (kiosk.transforms / f"dim_{name}.sql" for name in ("label", "place"))
    schema = kiosk.transforms / "schema.sql"
    tables = "CREATE TABLE IF NOT EXISTS dim_{0} (item_id int PRIMARY KEY, {0} text);"
    schema.write_text(schema.read_text() + tables.format("label") + tables.format("place"))
    label.write_text("SELECT item_id, label FROM item")
    place.write_text(
        "SELECT item_id, concat(label, ', ', place) AS place FROM item LEFT JOIN shelf USING (item_id)"
    )
    shown = attempt(kiosk, plan.main).out
    assert "dim_label (0 rows): is created and filled from 2 batches, with its history" in shown
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    history = "SELECT {0} FROM dim_{0}_history WHERE item_id = 3 ORDER BY valid_from"
    labels, places = [("umbrella",), ("parasol",)], [("umbrella, ",), ("parasol, ",), ("parasol, top",)]
    assert query(kiosk.warehouse_url, history.format("label")) == labels
    assert query(kiosk.warehouse_url, history.format("place")) == places
    kept = place.read_text()
    place.unlink()
    query(kiosk.source_url, "UPDATE item SET label = 'tent' WHERE item_id = 3")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    place.write_text(kept)
    query(kiosk.source_url, "UPDATE shelf SET place = 'door' WHERE item_id = 3")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    places += [("tent, top",), ("tent, door",)]
    assert query(kiosk.warehouse_url, history.format("place")) == places
    assert attempt(kiosk, verify.main).status == 0
    ((warehouse,),) = query(kiosk.warehouse_url, "SELECT warehouse_id::text FROM etl.warehouse")
    left = Path(kiosk.processed_uri, "_restating", warehouse, "public", "batch=1", "left.json")
    left.parent.mkdir(parents=True)
    left.touch()
    kiosk.run(reconcile=True).reports  # noqa: B018  raises what the run failed with
    assert not left.exists(), "a checkpoint of a restate that is no longer needed"


def test_the_next_run_restates_what_a_killed_one_has_not(
    kiosk: World, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    kiosk.save_blocks()
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.source_url, "UPDATE item SET label = 'parasol' WHERE item_id = 3")
    query(kiosk.source_url, "CREATE TABLE shelf (item_id int PRIMARY KEY)")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    model = kiosk.transforms / "dim_item.sql"
    model.write_text(
        model.read_text().replace("label,", "upper(label) AS label,") + " LEFT JOIN shelf USING (item_id)"
    )
    with monkeypatch.context() as patch:
        patch.setattr("flows.etl.restate_left", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            kiosk.run()
    history = "SELECT label FROM dim_item_history WHERE item_id = 3 ORDER BY valid_from"
    assert query(kiosk.warehouse_url, history) == [("umbrella",), ("parasol",), ("PARASOL",)]
    shown = "dim_item lacks the history of its model, as a run was killed; the next run restates it"
    assert shown in attempt(kiosk, status.main).out
    assert "dim_item (3 rows, 7 versions): is computed again over 3 batches" in attempt(kiosk, plan.main).out
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    assert query(kiosk.warehouse_url, history) == [("UMBRELLA",), ("PARASOL",)]
    assert shown not in attempt(kiosk, status.main).out
    assert attempt(kiosk, plan.main).status == 0
    assert attempt(kiosk, verify.main).status == 0


def test_a_rebuild_takes_the_same_consent(kiosk: World, attempt: Try) -> None:
    kiosk.save_blocks()
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    schema = kiosk.transforms / "schema.sql"
    text = schema.read_text(encoding="utf-8")
    column = "label text NOT NULL"
    schema.write_text(text.replace(column, f'{column},\n    "shelf, row" text'), encoding="utf-8")
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    schema.write_text(text, encoding="utf-8")
    consent = "drop dim_item.shelf, row"
    attempt(kiosk, flows.command.main, "--rebuild").fails_with(f'allow it by ALLOW="{consent}"')
    assert attempt(kiosk, flows.command.main, "--rebuild", "--allow", consent).status == 0
    shelves = "SELECT FROM information_schema.columns WHERE column_name = 'shelf, row'"
    assert query(kiosk.warehouse_url, shelves) == []


def test_changes_are_separated_by_commas_that_are_no_part_of_a_name() -> None:
    text = "drop t.a,narrow t.b,  c , drop x.net, gross, drop fact_old,"
    assert consents([text]) == ["drop t.a", "narrow t.b, c", "drop x.net, gross", "drop fact_old"]
    with pytest.raises(SettingsError, match=r"'dropp t\.b' names no change"):
        consents(["drop t.a, dropp t.b"])


def changes() -> list[str]:
    """The artifacts about changes of models."""
    with client() as prefect:
        key = ArtifactFilter(key={"any_": ["totesys-changes"]})
        return [str(artifact.data) for artifact in prefect.read_artifacts(artifact_filter=key)]


def test_a_model_is_restated_on_demand_and_gets_versions_from_before_the_first_batch(
    kiosk: World, attempt: Try
) -> None:
    kiosk.save_blocks()
    kiosk.run().reports  # noqa: B018  raises what the run failed with
    query(kiosk.warehouse_url, "UPDATE dim_item SET label = 'wrong' WHERE item_id = 3")
    history = "SELECT label FROM dim_item_history WHERE item_id = 3 ORDER BY valid_from"
    (last,) = query(kiosk.warehouse_url, history)
    attempt(kiosk, flows.command.main, "--restate", "dim_items").fails_with("did you mean dim_item")
    assert attempt(kiosk, flows.command.main, "--restate", "dim_item").status == 0
    assert query(kiosk.warehouse_url, "SELECT label FROM dim_item WHERE item_id = 3") == [last]
    path = kiosk.home / "old.csv"
    path.write_text("item_id,label,price,valid_from\n3,brolly,4,2001-01-01\n", encoding="utf-8")
    arguments = (import_history.main, "--model", "dim_item", "--file", str(path))
    schema = kiosk.transforms / "schema.sql"
    text = schema.read_text(encoding="utf-8")
    schema.write_text(text.replace("label text NOT NULL", "label text"), encoding="utf-8")
    shown = attempt(kiosk, *arguments)
    assert (shown.status, shown.out.splitlines()[-1]) == (0, "nothing was changed; ARGS=--yes imports them")
    assert query(kiosk.warehouse_url, history) == [last]
    required = (
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'dim_item'::regclass AND attname = 'label'"
    )
    assert query(kiosk.warehouse_url, required) == [(True,)], "changes of models wait for a run, too"
    schema.write_text(text, encoding="utf-8")
    assert attempt(kiosk, *arguments, "--yes").status == 0
    assert query(kiosk.warehouse_url, history) == [("brolly",), last]
    path.write_text("item_id,label,valid_from\n3,brolly,soon\n", encoding="utf-8")
    attempt(kiosk, *arguments).fails_with(r"old\.csv:2: invalid input syntax.*nothing was imported")
