"""Settings of a role or a database change nothing of what is stored or compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.postgres import Postgres
from pipeline.postgres import transaction
from tests.pair import Pair
from tests.pair import pair as open_pair
from tests.support import execute, query

COLUMNS = {
    "moment": "timestamptz",
    "day": "date",
    "span": "interval",
    "ratio": "double precision",
    "part": "real",
    "price": "money",
    "bytes": "bytea",
    "words": "text[]",
    "days": "date[]",
    "during": "tstzrange",
    "told": "jsonb",
    "amount": "numeric",
}
VALUES = (
    "'2024-03-02 01:02:03.5+02', '2024-03-02', '-1 mon +2 days -03:04:05', 0.1::float8 + 0.2, 1e-7, 12.5,"
    " '\\x00ff5c', ARRAY['NULL', NULL, 'a,b'], ARRAY['2024-03-02'::date],"
    " tstzrange('2024-03-02 00:00+00', NULL), '{\"a\": [1, null]}'"
)
TYPED = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
LISTED = ", ".join(COLUMNS)
MODELS = {
    "dim_day": f"SELECT id, {LISTED} FROM event",
    "fact_event": f"-- key: id, moment, span, ratio\nSELECT id, {LISTED} FROM event",
    "schema": f"""
        CREATE TABLE IF NOT EXISTS dim_day (id integer PRIMARY KEY, {TYPED});
        CREATE TABLE IF NOT EXISTS fact_event (id integer NOT NULL, {TYPED}, CHECK (amount > 0));
    """,
}
SOURCE = (
    f"CREATE TABLE event (id int PRIMARY KEY, {TYPED})",
    f"INSERT INTO event VALUES (1, {VALUES}, 1), (2, {VALUES}, -1), (3, {VALUES}, 1)",
)
HOSTILE = {
    "array_nulls": "off",
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Kolkata",
    "timezone_abbreviations": "India",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmloption": "document",
    "xmlbinary": "hex",
    "lc_monetary": "POSIX",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
    "search_path": "nowhere",
    "default_transaction_isolation": "serializable",
}
STORED = {
    "rejected": "SELECT table_name, key, reason, row, waits, resolved FROM etl.rejected ORDER BY 1, 2",
    "models": "SELECT table_name, fingerprint, row_count FROM etl.model ORDER BY 1",
    "facts": f"SELECT id, recorded_at, deleted, {LISTED} FROM fact_event ORDER BY 1, 2",
    "dimension": f"SELECT id, {LISTED} FROM dim_day ORDER BY 1",
    "history": f"SELECT id, valid_from, valid_to, {LISTED} FROM dim_day_history ORDER BY 1, 2",
}


def set_all(url: str, owner: str, settings: dict[str, str] | None) -> None:
    """Set or reset settings for all sessions of a database or of its role."""
    ((role, name),) = query(url, "SELECT quote_ident(current_user), quote_ident(current_database())")
    alter = {"database": f"ALTER DATABASE {name}", "role": f"ALTER ROLE {role} IN DATABASE {name}"}[owner]
    if settings is None:
        execute(url, f"{alter} RESET ALL")
    else:
        execute(url, *(f"{alter} SET {each} TO {value(each, text)}" for each, text in settings.items()))


def value(name: str, text: str) -> str:
    return text if name in {"DateStyle", "search_path"} else f"'{text}'"


def stored(pair: Pair) -> dict[str, list[tuple[Any, ...]]]:
    """The contents of the warehouse, read without those settings."""
    return {name: pair.house.query(text) for name, text in STORED.items()}


@pytest.fixture(scope="module", params=[18, pytest.param(16, marks=pytest.mark.campaign)])
def both(servers: Callable[[int], Postgres], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A source and a warehouse of one Postgres version."""
    with open_pair(servers(request.param)) as pair:
        yield pair


# Each side and each owner once; the other pairs are in the campaign.
OFTEN = [("source", "database"), ("warehouse", "role"), ("both", "database")]
RARELY = [("source", "role"), ("warehouse", "database"), ("both", "role")]


@pytest.mark.parametrize(
    ("sides", "owner"), [*OFTEN, *(pytest.param(*pair, marks=pytest.mark.campaign) for pair in RARELY)]
)
def test_settings_of_the_reader_change_nothing(both: Pair, sides: str, owner: str) -> None:
    pair = both
    urls = {"source": [pair.source_url], "warehouse": [pair.house.url]}
    hostile = urls.get(sides, [pair.source_url, pair.house.url])
    pair.fresh(MODELS, *SOURCE)
    pair.run()
    before = stored(pair)
    assert [rows[1]["id"] for rows in before["rejected"]] == ["2"]
    try:
        for url in hostile:
            set_all(url, owner, HOSTILE)
        pair.house.prepare()
        assert pair.run() is None, "nothing is another value, type or model by them"
        execute(pair.source_url, "UPDATE public.event SET id = id")
        for mode in ({}, {"full": True}, {"reconcile": True}):
            pair.run(**mode)
        execute(pair.source_url, "UPDATE public.event SET amount = 2 WHERE id = 2")
        execute(pair.source_url, "DELETE FROM public.event WHERE id = 3")
    finally:
        for url in hostile:
            set_all(url, owner, None)
    assert stored(pair) == before
    try:
        for url in hostile:
            set_all(url, owner, HOSTILE)
        pair.run()
    finally:
        for url in hostile:
            set_all(url, owner, None)
    assert [row[-1] for row in pair.house.query(STORED["rejected"])] == [True]
    printed = ", ".join(f"{name}::text" for name in COLUMNS)
    assert pair.house.query(f"SELECT id, {printed} FROM fact_event_current ORDER BY 1") == pair.source(
        f"SELECT id, {printed} FROM event ORDER BY 1"
    )
    assert pair.run() is None


@pytest.mark.parametrize(("given", "used"), [("4MB", "64MB"), ("1GB", "1GB")])
def test_joins_of_what_is_written_use_more_memory_unless_they_have_as_much(
    warehouse_url: str, given: str, used: str
) -> None:
    execute(warehouse_url, f"ALTER DATABASE {warehouse_url.rpartition('/')[2]} SET work_mem = '{given}'")
    for reading, expected in ((False, used), (True, given)):
        with transaction(warehouse_url, "warehouse", reading=reading) as connection:
            assert connection.execute("SELECT current_setting('work_mem')").fetchone() == (expected,)
