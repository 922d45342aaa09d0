"""How many requests a run sends to S3: the runbook's table is what it costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from demo import shop
from demo.home import PROJECT
from tests import s3_server
from tests.flows.conftest import s3_buckets
from tests.flows.shop_runs import TRANSFORMS
from tests.flows.support import World, query

WRITING = {"PUT", "POST", "LIST"}


def requests_of(server: s3_server.Server) -> tuple[int, int]:
    """The requests since the last call: those that S3 bills as PUT, POST and LIST, and the others."""
    methods = Counter(
        "LIST" if seen.method == "GET" and "list-type=2" in seen.path else seen.method for seen in server.seen
    )
    server.seen.clear()
    writing = sum(number for method, number in methods.items() if method in WRITING)
    return writing, methods.total() - writing


@pytest.mark.campaign
def test_a_run_sends_as_many_requests_to_s3_as_the_runbook_says(make_world: Callable[..., World]) -> None:
    with s3_server.running() as server:
        world = make_world("requests", TRANSFORMS, **s3_buckets(server.url))
        with psycopg.connect(world.source_url) as connection:
            shop.create(connection)
            shop.fill(connection, 100)
        world.save_blocks()
        sent = {}
        server.seen.clear()
        for run, changes in {
            "first, 11 tables": (),
            "two tables changed": (
                "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 3",
                "UPDATE payment SET paid = NOT paid WHERE payment_id = 3",
            ),
            "nothing changed": (),
        }.items():
            for change in changes:
                query(world.source_url, change)
            assert world.flow().state.is_completed()
            sent[run] = requests_of(server)
    text = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z].*?) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert sent == {run: (int(writing), int(reading)) for run, writing, reading in rows}
