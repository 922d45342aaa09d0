"""A source that is restored from a copy of its disk, and transaction ids that wrap around."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psycopg
import pytest

from demo.postgres import Postgres
from tests.house import plan_batch
from tests.pair import Pair
from tests.source.disks import copy_of_disk, copy_of_running_disk, move_to, put_back, use_up
from tests.source.server import CHANGED, MODELS, SOURCE, equal, position, read
from tests.support import execute, query, value

PUT_BACK = {"the source was restored to an earlier state"}
UNSURE = {"its server was restarted, and the rows read last no longer exist"}
UNPROVEN = "its server was restarted, and rows that were deleted before may be back"
NO_CURSOR = "its server was restarted, and a cursor does not find changes that were undone"
WRAPPED = {"the watermark's transaction ids have wrapped around"}


def reason_after(pair: Pair, primary: Postgres, copy: Path, *then: str) -> set[str]:
    """Restore the source, change it, let ids and WAL catch up, and read it; asserts that nothing is lost."""
    before = position(pair.source_url)
    put_back(primary, copy)
    pair.do(*then)
    use_up(pair.source_url, before)
    reasons = read(pair)[0]
    equal(pair)
    return reasons


# Changes before the source is restored, and different changes after it.
UNDONE = (
    "UPDATE sale SET amount = 10 WHERE sale_id = 1",
    "UPDATE sale SET amount = 20 WHERE sale_id = 2",
    "INSERT INTO sale VALUES (6, 1, 6)",
    "DELETE FROM sale WHERE sale_id = 5",
    "UPDATE town SET name = 'Hull' WHERE town_id = 1",
    "UPDATE shop SET town_id = 1 WHERE shop_id = 2",
)
INSTEAD = {
    "nothing": (),
    "the like in the same order": (
        "UPDATE sale SET amount = 11 WHERE sale_id = 1",
        "UPDATE sale SET amount = 22 WHERE sale_id = 3",
        "INSERT INTO sale VALUES (7, 2, 7)",
        "DELETE FROM sale WHERE sale_id = 4",
        "UPDATE town SET name = 'Ayr' WHERE town_id = 1",
        "UPDATE shop SET town_id = 1 WHERE shop_id = 1",
    ),
}


@pytest.mark.parametrize("caught_up", [False, True], ids=["behind", "caught up"])
@pytest.mark.parametrize("instead", INSTEAD)
@pytest.mark.rarely("nothing-caught", "order-behind")
def test_a_source_restored_from_a_copy_of_its_disk_is_read_in_full(
    pair: Pair, primary: Postgres, instead: str, caught_up: bool
) -> None:
    """Identifier, timeline and oids are the same, and transaction ids catch up."""
    copy = copy_of_disk(primary)
    pair.do(*UNDONE)
    assert read(pair) == (CHANGED, 4), "two changed, one new, one deleted"
    before = position(pair.source_url)
    put_back(primary, copy)
    pair.do(*INSTEAD[instead])
    if caught_up:
        use_up(pair.source_url, before)
        pair.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    reason = read(pair)[0]
    assert reason == UNSURE if caught_up else reason in (PUT_BACK, UNSURE)
    equal(pair)
    assert read(pair) == (CHANGED, 0)


def test_a_restored_source_whose_witness_is_newer_than_an_undone_transaction_is_read_in_full(
    pair: Pair, primary: Postgres
) -> None:
    """A transaction can commit after a later one; the source is restored to a moment between both."""
    with psycopg.connect(pair.source_url) as earlier:
        earlier.execute("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        copy = copy_of_running_disk(primary)
    assert read(pair) == (CHANGED, 2)
    assert reason_after(pair, primary, copy) == UNSURE


def test_a_restored_source_whose_witness_was_read_before_an_undone_transaction_is_read_in_full(
    pair: Pair, primary: Postgres
) -> None:
    """The transaction of the witness is read by two batches, as an earlier one commits between them."""
    with psycopg.connect(pair.source_url) as earlier:
        earlier.execute("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        assert read(pair) == (CHANGED, 1)
        copy = copy_of_running_disk(primary)
    assert read(pair) == (CHANGED, 1)
    assert reason_after(pair, primary, copy) == UNSURE


def test_a_restored_source_whose_undone_transaction_is_replaced_by_a_prepared_one_is_read_in_full(
    pair: Pair, primary: Postgres
) -> None:
    """As many transactions are committed as before, but others; the prepared one has a savepoint."""
    pair.do(
        "BEGIN; SAVEPOINT s; UPDATE shop SET town_id = 1 WHERE shop_id = 2; RELEASE s;"
        " PREPARE TRANSACTION 'later'"
    )
    with psycopg.connect(pair.source_url) as earlier:
        earlier.execute("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        copy = copy_of_running_disk(primary)
    assert read(pair) == (CHANGED, 2)
    assert reason_after(pair, primary, copy, "COMMIT PREPARED 'later'") == UNSURE


REUSED = {
    "by another change": ((), ("UPDATE sale SET amount = 33 WHERE sale_id = 3",)),
    "by another deletion": (
        ("INSERT INTO sale VALUES (6, 1, 6)", "UPDATE sale SET amount = 20 WHERE sale_id = 2"),
        ("DELETE FROM sale WHERE sale_id = 1",),
    ),
}


@pytest.mark.parametrize("how", REUSED)
@pytest.mark.rarely("by another change")
def test_a_restored_source_that_uses_ids_again_is_read_from_before_the_copy(
    pair: Pair, primary: Postgres, how: str
) -> None:
    """Ids between the witness and the batch are used again; a row that no batch has read is back."""
    first, then = REUSED[how]
    pair.do(*first, "UPDATE town SET name = 'Hull' WHERE town_id = 1")
    copy = copy_of_running_disk(primary)
    pair.do("DELETE FROM sale WHERE sale_id = 6")
    for _ in range(10):
        execute(pair.source_url, "SELECT pg_current_xact_id()")
    read(pair)
    assert reason_after(pair, primary, copy, *then) == CHANGED


def test_a_repeated_last_transaction_is_no_witness_where_commit_times_are_kept(
    pair: Pair, primary: Postgres
) -> None:
    """It has the same id, place and values, but was committed later."""
    pair.do("ALTER SYSTEM SET track_commit_timestamp = on")
    primary.restart()
    last = "UPDATE town SET name = 'Hull' WHERE town_id = 1"
    try:
        pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        read(pair)
        copy = copy_of_running_disk(primary)
        pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1", last)
        assert read(pair) == (CHANGED, 1)
        redone = "UPDATE sale SET amount = 30 WHERE sale_id = 3"
        assert reason_after(pair, primary, copy, redone, last) == UNSURE
    finally:
        pair.do("ALTER SYSTEM RESET track_commit_timestamp")
        primary.restart()


@pytest.mark.parametrize("more", [(), ("UPDATE town SET name = 'Hull' WHERE town_id = 1",)])
@pytest.mark.rarely("more0")
def test_a_restored_source_that_has_deleted_other_rows_is_compared(
    pair: Pair, primary: Postgres, more: Sequence[str]
) -> None:
    """A deletion leaves no row that could be a witness of it, and as many rows are deleted again."""
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2", *more)
    copy = copy_of_running_disk(primary)
    pair.do("DELETE FROM sale WHERE sale_id = 5")
    assert read(pair) == (CHANGED, 2)
    assert reason_after(pair, primary, copy, "DELETE FROM sale WHERE sale_id = 4") == {*CHANGED, UNPROVEN}


def test_a_restored_source_is_read_in_full_where_a_cursor_would_miss_what_was_undone(
    pair: Pair, primary: Postgres
) -> None:
    """The witness is of another table, as rows of a view have none."""
    note = "-- key: note_id\n-- cursor: note.seq\nSELECT note_id, text FROM note"
    table = "CREATE TABLE IF NOT EXISTS fact_note (note_id integer NOT NULL, text varchar);"
    pair.fresh(
        {**MODELS, "fact_note": note, "schema": MODELS["schema"] + table},
        *SOURCE,
        "CREATE TABLE written (note_id int, text text, seq int)",
        "INSERT INTO written VALUES (1, 'a', 1), (2, 'b', 2)",
        "CREATE VIEW note AS SELECT * FROM written",
    )
    pair.run()
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    copy = copy_of_running_disk(primary)
    pair.do("UPDATE written SET text = 'c', seq = 3 WHERE note_id = 1")
    assert read(pair) == (CHANGED, 1)
    assert reason_after(pair, primary, copy) == {*CHANGED, NO_CURSOR}
    texts = "SELECT note_id, text FROM {} ORDER BY 1"
    assert pair.house.query(texts.format("fact_note_current")) == query(pair.source_url, texts.format("note"))


def test_a_source_restored_to_the_state_of_the_last_batch_is_read_for_changes(
    pair: Pair, primary: Postgres
) -> None:
    """The copy has every row that was read, and runs without changes have moved the watermark since."""
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    assert read(pair) == (CHANGED, 1)
    copy = copy_of_disk(primary)
    for _ in range(20):
        execute(pair.source_url, "SELECT pg_current_xact_id()")
    assert read(pair) == (CHANGED, 0)
    before = position(pair.source_url)
    put_back(primary, copy)
    pair.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    use_up(pair.source_url, before)
    assert read(pair) == (CHANGED, 1), "a witness still exists, so changes suffice"
    equal(pair)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.rarely("fast")
def test_a_source_that_is_only_restarted_is_read_for_changes(
    pair: Pair, primary: Postgres, mode: Literal["fast", "immediate"]
) -> None:
    pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
    assert read(pair) == (CHANGED, 1)
    primary.stop(mode)
    primary.start()
    planned, _ = plan_batch(pair.source_url, pair.house)
    again = "rows of the last batch are read again, as the source's server was restarted"
    assert planned.summary == f"1 row of sale; {again}; nothing new in 2 other tables"
    assert read(pair) == (CHANGED, 0)
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2", "VACUUM sale")
    assert read(pair) == (CHANGED, 1)
    primary.restart()
    pair.do("UPDATE sale SET amount = 25 WHERE sale_id = 2")
    assert read(pair) == (UNSURE, 1), "the only row read last was written again: nothing shows what happened"
    equal(pair)


def test_a_source_that_stops_keeping_commit_times_is_read_in_full(pair: Pair, primary: Postgres) -> None:
    pair.do("ALTER SYSTEM SET track_commit_timestamp = on")
    primary.restart()
    try:
        pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
        read(pair)
        pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
        assert read(pair) == (CHANGED, 1)
    finally:
        pair.do("ALTER SYSTEM RESET track_commit_timestamp")
        primary.restart()
    assert read(pair) == (UNSURE, 0)
    equal(pair)


def test_transaction_ids_that_wrap_around(pair: Pair, primary: Postgres) -> None:
    """A watermark older than 2^31 ids is unusable; a recent one works beyond 2^32."""
    database = pair.source_url.rsplit("/", 1)[1]
    move_to(primary, 2**31 + 2**21, database)
    pair.do("UPDATE sale SET amount = 10 WHERE sale_id = 1")
    assert read(pair) == (WRAPPED, 1)
    equal(pair)
    pair.do("UPDATE sale SET amount = 20 WHERE sale_id = 2")
    assert read(pair) == (CHANGED, 1)

    move_to(primary, 2**32 - 2**21, database)
    pair.do("UPDATE sale SET amount = 30 WHERE sale_id = 3")
    assert read(pair) == (UNSURE, 1), "nobody knows any more which transactions were committed"
    equal(pair)
    pair.do("UPDATE sale SET amount = 35 WHERE sale_id = 3")
    assert read(pair) == (CHANGED, 1)
    pair.do(
        "UPDATE town SET name = 'Hull' WHERE town_id = 1", "UPDATE sale SET amount = 40 WHERE sale_id = 4"
    )
    move_to(primary, 2**32 + 2**19)
    assert value(pair.source_url, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > 2^32")
    pair.do("UPDATE sale SET amount = 50 WHERE sale_id = 5", "INSERT INTO sale VALUES (6, 1, 6)")
    assert read(pair) == (CHANGED, 3), "from both sides of the wraparound"
    equal(pair)
    assert read(pair) == (CHANGED, 0)

    move_to(primary, 2**32 + 2**31 + 2**22, database)
    pair.do("UPDATE sale SET amount = 60 WHERE sale_id = 6")
    assert read(pair) == (WRAPPED, 1)
    equal(pair)
