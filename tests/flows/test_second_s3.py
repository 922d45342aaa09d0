"""The main flow over an S3 server that checks signatures: OpenStack Swift's s3api."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests import swift
from tests.flows.conftest import open_kiosk
from tests.flows.shop_runs import FACTS, TRANSFORMS, run_and_read, run_the_shop, s3_access
from tests.flows.support import EQUAL, World, query, words_of
from tests.servers import new_home
from tests.support import s3_client

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(not swift.found(), reason="swift is not installed; it runs on Linux only"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[swift.Swift]:
    with new_home("swift") as home, swift.running(home) as running:
        yield running


@pytest.fixture
def buckets(server: swift.Swift, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings for two fresh buckets, which READER may read, too."""
    s3 = s3_client(server.endpoint, swift.OWNER)
    uris = {}
    for purpose in ("raw", "processed"):
        name = f"{purpose}-{abs(hash(request.node.name))}"
        s3.create_bucket(Bucket=name, ACL="public-read")
        uris[f"{purpose}_uri"] = f"s3://{name}/some/prefix"
    return uris | {"more": s3_access(server.endpoint, swift.OWNER)}


@pytest.fixture
def kiosk(make_world: Callable[..., World], buckets: dict[str, Any]) -> World:
    return replace(open_kiosk(make_world), **buckets)


def test_the_main_job(make_world: Callable[..., World], buckets: dict[str, Any]) -> None:
    """Four runs: everything, a working day, nothing, and one that reads everything again."""
    runs = run_the_shop(make_world("shop_swift", TRANSFORMS, **buckets))
    assert all(found == EQUAL for found in runs.first.differences.values())
    last = run_and_read(runs.world, reconcile=True)
    for done in (runs.second, runs.quiet, last):
        assert all(not found.missing for found in done.differences.values())
    assert all(last.differences[name] == EQUAL for name in FACTS), "a dimension keeps what the source deletes"
    assert runs.second.versions["fact_sales_order"] > runs.first.versions["fact_sales_order"]
    assert runs.quiet.versions == runs.second.versions
    assert runs.first.objects.items() <= runs.second.objects.items(), "nothing is written over"


@pytest.mark.parametrize(
    ("key", "bucket", "words"),
    [
        ((swift.OWNER[0], "another secret"), None, "the secret key is wrong; check the aws-creden"),
        (swift.READER, None, "access denied; the role needs s3:PutObject here"),
        (swift.OWNER, "s3://no-such-bucket/raw", "s3://no-such-bucket/raw: .*the bucket does not exist"),
    ],
    ids=["wrong secret", "read-only key", "no such bucket"],
)
def test_an_error_is_one_line(
    kiosk: World, server: swift.Swift, key: tuple[str, str], bucket: str | None, words: str
) -> None:
    world = replace(kiosk, raw_uri=bucket or kiosk.raw_uri, more=s3_access(server.endpoint, key))
    run = world.run()
    assert not run.state.is_completed()
    said = words_of(run.error)
    assert "\n" not in said
    assert re.search(words, said), said
    assert query(world.warehouse_url, "SELECT count(*) FROM etl.batch") == [(0,)]
