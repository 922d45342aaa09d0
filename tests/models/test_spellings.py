"""Keys that Postgres compares as equal are one key, however they are spelled."""

from __future__ import annotations

import pytest

from pipeline.columns import has_spellings, identity
from pipeline.duck import literal, session
from tests.pair import Pair
from tests.support import query

VALUES = {
    "interval": [
        "1 mon", "30 days", "720:00:00", "1 year 2 mons -3 days +04:05:06.789", "-00:00:01", "0", "1 year",
        "-1 years -2 mons +3 days -04:05:06.7", "360 days", "178000000 years", "2562047788:00:54.775807",
    ],
    "jsonb": [
        '{"a": 1.0}', '{"a": 1.00}', '{"a": 1}', "[10, 1.50]", "[10.0, 1.5]", '"1.0"', '"1"', "100", "1e2",
        r'{"b": "x\" 1.0, 2", "a": [1.10]}', r'{"a": [1.1], "b": "x\" 1.0, 2"}', "-0.0", "0", "null",
    ],
    "numeric[]": ["{1,1.0}", "{1.00,1}", "{NULL,10}", "{{1.0},{2}}", "{{1},{2.0}}", "{}", "[0:0]={1.0}"],
    "interval[]": ['{"1 mon"}', '{"30 days"}', '{"1 day",NULL}', "{24:00,NULL}"],
    "double precision[]": ["{0,1}", "{-0,1}", "{NaN}"],
    "numrange": ["[1,2.0)", "[1.0,2)", "[1,2]", "(,3.10]", "(,3.1]", "empty"],
    "text[]": ["{1.0}", "{1}", '{"a, 1.0"}'],
    "numeric": ["1", "1.0", "10", "-0.0", "0"],
}  # fmt: skip


@pytest.mark.parametrize("type_", [*VALUES])
def test_an_identity_is_equal_exactly_for_equal_values(source_url: str, type_: str) -> None:
    values = ", ".join(f"({literal(text)})" for text in VALUES[type_])
    rows = query(source_url, f"SELECT v::{type_}::text FROM (VALUES {values}) AS given(v)")
    texts = ", ".join(f"({literal(text)})" for (text,) in rows)
    pairs = (
        "SELECT a.v AS one, b.v AS two, {same} FROM (VALUES {v}) AS a(v), (VALUES {v}) AS b(v) ORDER BY 1, 2"
    )
    in_postgres = query(
        source_url,
        f"SELECT * FROM ({pairs.format(same=f'a.v::{type_} = b.v::{type_}', v=texts)}) AS p"
        ' ORDER BY one COLLATE "C", two COLLATE "C"',
    )
    same = f"{identity('a.v', type_)} = {identity('b.v', type_)}"
    with session() as connection:
        assert connection.execute(pairs.format(same=same, v=texts)).fetchall() == in_postgres
    assert sum(is_same for *_, is_same in in_postgres) > len(rows) or not has_spellings(type_)


@pytest.mark.parametrize(
    ("type_", "one", "two"),
    [("interval", "1 mon", "30 days"), ("jsonb", '{"a": 1.0}', '{"a": 1.00}'), ("numeric[]", "{1}", "{1.0}")],
)
def test_rows_with_equal_keys_are_rejected_and_accepted_again(
    shared: Pair, type_: str, one: str, two: str
) -> None:
    """Whichever of them leaves: the row that arrived later must not replace the other, nor take it along."""
    shared.fresh(
        {
            "fact_t": "-- key: k\nSELECT k, id FROM t",
            "schema": f"CREATE TABLE fact_t (k {type_}, id integer)",
        },
        f"CREATE TABLE t (id integer PRIMARY KEY, k {type_})",
        f"INSERT INTO t VALUES (1, '{one}')",
    )
    shared.run()
    present = "SELECT k::text, id FROM fact_t_current"
    for change, expected, reasons in (
        (f"INSERT INTO t VALUES (2, '{two}')", (one, 1), ["more than one row has this key"]),
        ("DELETE FROM t WHERE id = 1", (two, 2), []),
        (f"INSERT INTO t VALUES (3, '{one}')", (two, 2), ["more than one row has this key"]),
        ("DELETE FROM t WHERE id = 3", (two, 2), []),
        (f"UPDATE t SET k = '{one}'", (one, 2), []),
    ):
        shared.do(change)
        shared.run(max_rejected_share=1)
        assert shared.house.query(present) == [expected], change
        assert sorted({reason for *_, reason in shared.house.rejected()}) == reasons, change
    shared.do("DELETE FROM t")
    shared.run(max_deleted_share=1)
    assert shared.house.query(present) == []
