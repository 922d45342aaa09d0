"""How many requests a run sends to S3 and to Prefect's API: far away, each of them takes a round trip."""

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
from tests.flows.requests_sent import Sent
from tests.flows.shop_runs import TRANSFORMS, ShopRuns
from tests.flows.support import World, query

WRITING = {"PUT", "POST", "LIST"}
# Sent by background threads of Prefect; the run does not wait for the answers.
IN_BACKGROUND = re.compile(r"/logs/$|/flows/[0-9a-f-]{36}$")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
START = ["POST flows/", "POST flow_runs/", "POST flow_runs/ID/set_state", "GET flow_runs/ID"]
BLOCKS = ["POST block_documents/filter"]
SUBFLOW = ["POST task_runs/", "POST flow_runs/filter", *START, "PATCH flow_runs/ID"]
END = ["POST flow_runs/ID/set_state"]
REPORT = ["POST artifacts/"]


@pytest.fixture(scope="module")
def runs(shop_runs: Callable[[str], ShopRuns]) -> ShopRuns:
    return shop_runs("s3")


@pytest.mark.parametrize("run", ["first", "second", "quiet"])
def test_an_object_is_written_and_read_with_one_request_each(runs: ShopRuns, run: str) -> None:
    to_s3 = Counter((each.method, each.path) for each in getattr(runs, run).sent if each.service == "S3")
    assert to_s3
    assert {key: number for key, number in to_s3.items() if number > 1 and key[0] != "LIST"} == {}
    assert {method for method, _ in to_s3} <= {"PUT", "GET", "LIST"}


# Whoever lets a run send more than this makes it slower for all whose S3 is far away.
@pytest.mark.parametrize(
    ("run", "allowed"),
    {
        "first": {"PUT": 47, "LIST": 3, "GET": 0},
        "second": {"PUT": 36, "LIST": 2, "GET": 11},
        "quiet": {"LIST": 2, "GET": 1},
    }.items(),
)
def test_a_run_sends_no_more_requests_to_s3_than_allowed(
    runs: ShopRuns, run: str, allowed: dict[str, int]
) -> None:
    assert Counter(each.method for each in getattr(runs, run).sent if each.service == "S3") <= Counter(
        allowed
    )


@pytest.mark.parametrize(
    ("run", "allowed"),
    {
        "first": START + BLOCKS + SUBFLOW + END + REPORT + REPORT + END,
        "second": START + BLOCKS + SUBFLOW + END + REPORT + REPORT + END,
        "quiet": START + BLOCKS + REPORT + END,
    }.items(),
)
def test_a_run_waits_for_no_more_calls_of_prefects_api_than_allowed(
    runs: ShopRuns, run: str, allowed: list[str]
) -> None:
    """Nothing is asked twice, and nothing for each table."""
    assert Counter(calls(getattr(runs, run).sent)) <= Counter(allowed)


def calls(sent: list[Sent]) -> list[str]:
    """The calls of Prefect's API in a run, without what its clients ask for when they start."""
    return [
        f"{each.method} {ID.sub('ID', each.path.removeprefix('/api/'))}"
        for each in sent
        if each.service == "Prefect"
        and not IN_BACKGROUND.search(each.path)
        and each.path not in {"/api/csrf-token", "/api/admin/version"}
    ]


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
