"""How often a run connects to its databases, and how often it waits for their answer.

Each wait takes the time that a packet takes to the server and back: 0.1 ms on one machine, 2 ms to another
one, 20 ms to another region.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from demo.postgres import Postgres
from pipeline import pool
from pipeline.lock_waits import LockWaits, Pace
from pipeline.review.preview import preview_if_changed
from pipeline.warehouse import ledger
from tests.house import Warehouse
from tests.pair import Pair
from tests.round_trips import Relay, relay

MODELS = {
    "dim_shop": "SELECT shop_id, label FROM shop",
    "dim_town": "SELECT town_id, label FROM town",
    "fact_sale": "-- key: sale_id\nSELECT sale_id, shop_id, units FROM sale",
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (shop_id integer PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS dim_town (town_id integer PRIMARY KEY, label varchar);
        CREATE TABLE IF NOT EXISTS fact_sale (
            sale_id integer NOT NULL, shop_id integer NOT NULL REFERENCES dim_shop, units integer
        );
    """,
}
SOURCE = (
    "CREATE TABLE shop (shop_id int PRIMARY KEY, label text)",
    "CREATE TABLE town (town_id int PRIMARY KEY, label text)",
    "CREATE TABLE sale (sale_id int PRIMARY KEY, shop_id int, units int)",
    "INSERT INTO shop VALUES (1, 'York')",
    "INSERT INTO town VALUES (1, 'York')",
    "INSERT INTO sale VALUES (1, 1, 5), (2, 1, 6)",
)
CHANGES = ("UPDATE sale SET units = 7 WHERE sale_id = 1", "INSERT INTO shop VALUES (2, 'Bath')")
# The most connections and round trips of a run: to the source, and to the warehouse.
MOST = {"nothing has changed": ((1, 13), (2, 90)), "two tables have changed": ((2, 32), (2, 137))}


@pytest.fixture(scope="module")
def relays(postgres: Postgres) -> Iterator[tuple[Relay, Relay]]:
    with relay(postgres.url("postgres")) as to_source, relay(postgres.url("postgres")) as to_warehouse:
        yield to_source, to_warehouse


@pytest.fixture(scope="module")
def pair(shared: Pair, relays: tuple[Relay, Relay]) -> Pair:
    """A source and a warehouse behind the relays, after the first batch."""
    shared.fresh(MODELS, *SOURCE)
    house, (to_source, to_warehouse) = shared.house, relays
    behind = Warehouse(to_warehouse.through(house.url), house.folder, house.raw, house.processed)
    pair = Pair(to_source.through(shared.source_url), behind, shared.home)
    pair.run()
    return pair


def whole_run(pair: Pair) -> None:
    """A run as the flow makes it."""
    house = pair.house
    with pool.reused(), ledger.lock(house.url, "public"):
        assert preview_if_changed(house.url, "public", house.models, house.folder, house.raw) == []
        house.prepare()
        pair.run()


@pytest.mark.parametrize("case", MOST)
def test_a_run_connects_and_waits_no_more_often_than_before(
    pair: Pair, relays: tuple[Relay, Relay], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No second connection, however slow this machine is.
    monkeypatch.setattr("pipeline.postgres.LockWaits", partial(LockWaits, pace=Pace(check=3_600)))
    if case != "nothing has changed":
        pair.do(*CHANGES)
    for each in relays:
        each.traffic.clear()
    whole_run(pair)
    for name, each, most in zip(("source", "warehouse"), relays, MOST[case], strict=True):
        sent = each.traffic
        listed = "\n".join(" ".join(statement.split())[:150] for statement in sent.statements)
        grown = sent.connections > most[0] or sent.round_trips > most[1]
        assert not grown, (
            f"{case}: a run connects {sent.connections} times to the {name} and waits {sent.round_trips}"
            f" times for it, and {most} is the most. Do not ask twice, use one transaction, and ask by one"
            f" query or by `postgres.together` what is asked in a row. It sent:\n{listed}"
        )
