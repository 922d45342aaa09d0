"""NULL is last in an order, and first with DESC, as in Postgres."""

from __future__ import annotations

from tests.pair import Pair

SOURCE = (
    "CREATE TABLE visit (id integer PRIMARY KEY, guest integer, day date, score integer)",
    """
    INSERT INTO visit
    SELECT k, k % 7, CASE WHEN k % 5 > 0 THEN date '2024-01-01' + k END, nullif(k % 4, 2)
    FROM generate_series(1, 60) AS k
    """,
)
PLACES = """
    SELECT id, row_number() OVER (PARTITION BY guest ORDER BY day DESC, id) AS latest,
        rank() OVER (ORDER BY score DESC) AS place, rank() OVER (ORDER BY score) AS from_below,
        first_value(id) OVER (PARTITION BY score ORDER BY day DESC, id) AS first_id
    FROM visit
"""
GUESTS = """
    SELECT guest, string_agg(id::text, ' ' ORDER BY day DESC, id) AS visits,
        (SELECT v.id FROM visit AS v WHERE v.guest = g.guest ORDER BY v.score DESC, v.id LIMIT 1) AS best
    FROM visit AS g GROUP BY guest
"""
LAST = "SELECT DISTINCT ON (guest) guest, id FROM visit ORDER BY guest, day DESC, id"
MODELS = {
    "schema": """
        CREATE TABLE fact_place (id integer, latest bigint, place bigint, from_below bigint,
            first_id integer);
        CREATE TABLE fact_guest (guest integer, visits text, best integer);
        CREATE TABLE fact_last (guest integer, id integer);
    """,
    "fact_place": f"-- key: id\n{PLACES}",
    "fact_guest": f"-- key: guest\n{GUESTS}",
    "fact_last": f"-- key: guest\n{LAST}",
}


def test_an_order_puts_null_where_postgres_does(shared: Pair) -> None:
    days = ["UPDATE visit SET day = NULL WHERE id % 11 = 0", "UPDATE visit SET score = NULL WHERE id = 9"]
    shared.live(MODELS, SOURCE, [days])
    for table, columns, sql in (
        ("fact_place", "id, latest, place, from_below, first_id", PLACES),
        ("fact_guest", "guest, visits, best", GUESTS),
        ("fact_last", "guest, id", LAST),
    ):
        loaded = shared.house.query(f"SELECT {columns} FROM {table}_current ORDER BY 1")
        assert loaded == sorted(shared.source(sql)), table
