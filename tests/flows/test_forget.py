"""The command that erases a row, and runs that repeat the erasure after a restore."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import forget
from tests.flows.support import World, query

ITEMS = "-- personal: label\nSELECT item_id, label, price FROM item"


def lake(world: World) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for uri in (world.raw_uri, world.processed_uri)
        for path in Path(uri).rglob("*.*")
        if "_results" not in str(path)
    }


Command = Callable[..., str]


@pytest.fixture
def command(kiosk: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command with arguments, checks its status, and returns what it prints."""

    def run(*arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["forget", *arguments])
        capsys.readouterr()
        with kiosk.entered():
            assert forget.main() == status
        shown = capsys.readouterr()
        return shown.out + shown.err

    return run


def test_the_command_lists_what_it_would_erase_and_runs_repeat_an_erasure(
    kiosk: World, command: Command
) -> None:
    (kiosk.transforms / "dim_item.sql").write_text(ITEMS, encoding="utf-8")
    kiosk.run()
    ((item, label),) = query(kiosk.warehouse_url, "SELECT item_id, label FROM dim_item ORDER BY 1 LIMIT 1")
    look = f"SELECT label FROM dim_item WHERE item_id = {item}"
    lists(kiosk, command, item, label)
    done = command("--yes", "item", str(item))
    assert "found: 0" in done
    assert str(label) not in done
    ((hidden,),) = query(kiosk.warehouse_url, look)
    assert hidden.startswith("erased ")

    query(kiosk.warehouse_url, f"UPDATE dim_item SET label = 'back' WHERE item_id = {item}")
    assert "found: 0" in command("--yes"), "without a table, all rows of the ledger are erased again"
    assert query(kiosk.warehouse_url, look) == [(hidden,)]

    query(kiosk.warehouse_url, f"UPDATE dim_item SET label = 'back' WHERE item_id = {item}")
    query(kiosk.warehouse_url, "DELETE FROM etl.forgotten")
    query(kiosk.source_url, f"UPDATE item SET price = price + 1 WHERE item_id = {item}")
    assert kiosk.run().state.is_completed()
    assert query(kiosk.warehouse_url, look) == [(hidden,)]
    assert query(kiosk.warehouse_url, "SELECT certificate -> 'hits' FROM etl.forgotten") == [([],)]
    assert not [path for path, held in lake(kiosk).items() if str(label).encode() in held]
    assert "error: TABLE: no batch has a table nobody" in command("nobody", "1", status=1)

    for path in lake(kiosk):
        if "_forgotten" not in path:
            Path(path).unlink()
    query(kiosk.warehouse_url, "DROP SCHEMA etl, as_of, reporting CASCADE")
    query(kiosk.warehouse_url, "DROP TABLE fact_sale, dim_item, dim_item_version CASCADE")
    assert kiosk.run().state.is_completed()
    assert query(kiosk.warehouse_url, look) == [(hidden,)], (
        "the first batch after a loss does not bring it back"
    )
    names_hits(kiosk, command, item)


def lists(kiosk: World, command: Command, item: object, label: object) -> None:
    """The command without consent changes nothing, also where schema.sql has changed."""
    schema, before = kiosk.transforms / "schema.sql", lake(kiosk)
    look = f"SELECT label FROM dim_item WHERE item_id = {item}"
    text = schema.read_text(encoding="utf-8")
    schema.write_text(text.replace("label text NOT NULL", "label text"), encoding="utf-8")
    would = command("item", str(item))
    assert (
        "columns label of item in raw objects: 1, in processed objects: 1, in tables: dim_item (label)"
        in would
    )
    assert "nothing was changed; ARGS=--yes erases it" in would
    assert lake(kiosk) == before
    assert query(kiosk.warehouse_url, look) == [(label,)]
    required = (
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'dim_item'::regclass AND attname = 'label'"
    )
    assert query(kiosk.warehouse_url, required) == [(True,)], "changes of models wait for a run, too"
    schema.write_text(text, encoding="utf-8")


def names_hits(kiosk: World, command: Command, item: object) -> None:
    """The command fails where a table of others has the values of another item."""
    ((other, text),) = query(
        kiosk.warehouse_url, f"SELECT item_id, label FROM dim_item WHERE item_id <> {item} LIMIT 1"
    )
    query(kiosk.warehouse_url, "CREATE TABLE notes (note text)")
    query(kiosk.warehouse_url, "INSERT INTO notes VALUES (%s)", text)
    hit = command("--yes", "item", str(other), status=1)
    assert query(
        kiosk.warehouse_url, "SELECT count(*) FROM etl.forgotten WHERE certificate->'hits' <> '[]'"
    ) == [(1,)]
    assert re.search(
        "^error: found in .*notes.*; check whether it is about another person", hit, re.MULTILINE
    )


def test_the_command_says_what_it_does_not_find(kiosk: World, command: Command) -> None:
    (kiosk.transforms / "dim_item.sql").write_text(ITEMS, encoding="utf-8")
    kiosk.run()
    for given, status, words in (
        (["--yes"], 1, "error: TABLE: no row was erased yet; name one: make forget TABLE=name KEY=value"),
        (["item", "999"], 0, "nothing of this row is found: its key may be another\n"),
        (["--yes", "item", "1"], 0, "found: 0"),
        (["item", "1"], 0, "this row of item is erased already, since 20"),
    ):
        shown = command(*given, status=status)
        assert words in shown
        assert ("dim_item" in shown) == (given == ["--yes", "item", "1"])


def test_a_row_of_a_table_without_personal_columns_is_left_with_one_warning(
    kiosk: World, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """As by another warehouse on the raw bucket."""
    model = kiosk.transforms / "dim_item.sql"
    model.write_text(ITEMS, encoding="utf-8")
    kiosk.run()
    command("--yes", "item", "1")
    model.write_text(ITEMS.partition("\n")[2], encoding="utf-8")
    query(kiosk.warehouse_url, "DELETE FROM etl.forgotten")
    for _ in range(2):
        assert kiosk.run().state.is_completed()
    command("--yes", "item", "1", status=1)
    command("--yes")
    line = "A row of item was erased, and no model declares a column of this table personal"
    assert len([message for message in caplog.messages if message.startswith(line)]) == 1


def test_a_table_without_a_model_that_keeps_values_is_an_error(kiosk: World, command: Command) -> None:
    (kiosk.transforms / "dim_item.sql").write_text(ITEMS, encoding="utf-8")
    labels = kiosk.transforms / "dim_label.sql"
    labels.write_text(
        "-- key: n\nSELECT 1 AS n, string_agg(label, ', ' ORDER BY item_id) AS labels FROM item"
    )
    with (kiosk.transforms / "schema.sql").open("a", encoding="utf-8") as schema:
        schema.write("CREATE TABLE IF NOT EXISTS dim_label (n integer PRIMARY KEY, labels text);")
    kiosk.run()
    labels.unlink()
    line = (
        "error: dim_label has no model any more, and its values of the row are not erased: its rows cannot be"
        ' erased one by one; put its model back, run and forget again, or run with ALLOW="drop dim_label"\n'
    )
    for given in (["item", "1"], ["--yes", "item", "1"]):
        assert command(*given, status=1).endswith(line)
