"""Cursors that cannot work: each is refused in a line that names the file."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError
from tests.house import plan_batch
from tests.pair import Pair
from tests.source.cursors import SCHEMA, model

REFUSED = {
    "a misspelt column": (
        {"fact_v": model("v.chnaged")},
        r"fact_v\.sql:2: cursor v\.chnaged: v has no such column, or the role may not read it",
    ),
    "a misspelt table": (
        {"fact_v": model("w.c")},
        r"fact_v\.sql:2: it declares a cursor for w, a table that it does not read",
    ),
    "a table without its schema": (
        {"fact_v": model("v.c", "crm.v")},
        r"fact_v\.sql:2: it declares a cursor for v, a table that it does not read; write crm\.v\.c$",
    ),
    "an ordinary table": (
        {"fact_v": model("t.c", "t")},
        r"fact_v\.sql:2: cursor t\.c: t needs no cursor, its changes are found by xmin; remove it",
    ),
    "two cursors on one table": (
        {"fact_v": model("v.c 1"), "fact_w": model("v.c 2")},
        r"fact_w\.sql:2: its cursor for v is c 2, but .*fact_v\.sql declares c 1; a table has one cursor",
    ),
    "two columns of one table": (
        {"fact_v": model("v.c"), "fact_w": model("v.id")},
        r"fact_w\.sql:2: its cursor for v is id, but .*fact_v\.sql declares c; a table has one cursor",
    ),
    "an overlap of another unit": (
        {"fact_v": model("v.c 1 hour")},
        r'fact_v\.sql:2: cursor v\.c: invalid input syntax for type bigint: "1 hour"',
    ),
    "an overlap of text": (
        {"fact_v": model("v.note 1")},
        r"fact_v\.sql:2: cursor v\.note: type text takes no overlap; remove '1'",
    ),
    "an overlap below zero": (
        {"fact_v": model("v.c -1")},
        r"fact_v\.sql:2: cursor v\.c: a negative overlap would skip rows",
    ),
    "a type without an order": (
        {"fact_v": model("v.j")},
        r"fact_v\.sql:2: cursor v\.j: operator does not exist: json >= json",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cursor_that_cannot_work_is_refused_before_anything_is_read(old_and_new: Pair, case: str) -> None:
    files, words = REFUSED[case]
    old_and_new.fresh(
        files | {"schema": SCHEMA},
        "CREATE TABLE t (id int, note text, c int, j json)",
        "CREATE VIEW v AS SELECT * FROM t",
        "DROP SCHEMA IF EXISTS crm CASCADE",
        "CREATE SCHEMA crm",
        "CREATE VIEW crm.v AS SELECT * FROM t",
    )
    with pytest.raises(ModelError, match=words) as caught:
        plan_batch(old_and_new.source_url, old_and_new.house)
    assert "\n" not in str(caught.value)
    assert old_and_new.house.raw.usage().objects == 0
