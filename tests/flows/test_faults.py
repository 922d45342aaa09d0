"""A short form of the failure campaign; ``python -m tests.faults`` is the long one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import psycopg
import pytest
from prefect.settings import PREFECT_API_URL

from tests.faults.campaign import Campaign, these
from tests.faults.kinds import Kind, databases, full, processes, storage
from tests.faults.kinds.fault import Maker
from tests.faults.oracle import Broken
from tests.faults.servers import Servers
from tests.faults.site import Site
from tests.flows.support import blocks_were_changed, query
from tests.servers import new_home

SEED = 3


@pytest.fixture(scope="module")
def campaign(prefect_server: None) -> Iterator[Campaign]:
    with new_home("faults") as home, pytest.MonkeyPatch.context() as patch:
        # Runs are forked from a process that starts with this environment.
        patch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with Servers(home).running() as servers:
            yield Campaign(home, servers, os.environ["PREFECT_API_URL"], SEED, lambda *_: None)
    blocks_were_changed()


def tried(campaign: Campaign, makers: list[Maker], *, s3: bool, kind: str = "totesys") -> int:
    """Run the campaign for some failures; returns how many happened, and requires that nothing broke."""
    before = campaign.result.tried
    draws = [these(Kind("one of these", make)) for make in makers]
    campaign.shop(f"{kind} {'s3' if s3 else 'folders'} {before}", draws, s3=s3, kind=kind)
    assert campaign.result.broken == []
    assert (campaign.result.tally.lost, campaign.result.tally.duplicated) == (0, 0)
    return campaign.result.tried - before


@pytest.mark.campaign
def test_nothing_is_lost_or_duplicated_by_a_process_killed_in_a_run(campaign: Campaign) -> None:
    points = ("after seal", "before commit", "after commit")
    makers = [processes.killed_at(point) for point in points]
    assert tried(campaign, makers, s3=False) >= len(makers)  # and the rebuild at the end
    assert campaign.result.tally.versions > 1_000


@pytest.mark.campaign
def test_nothing_is_lost_or_duplicated_by_s3_that_refuses_or_is_cut(campaign: Campaign) -> None:
    assert tried(campaign, [storage.answers(500), storage.cut], s3=True) >= 1


@pytest.mark.campaign
def test_nothing_is_lost_or_duplicated_by_other_faults(campaign: Campaign) -> None:
    assert tried(campaign, [databases.killed("warehouse"), full.no_space, processes.paused], s3=False) >= 1


@pytest.mark.campaign
def test_nothing_is_lost_or_duplicated_of_other_peoples_habits(campaign: Campaign) -> None:
    makers = [
        processes.killed_at("after seal"),
        databases.sessions_ended("warehouse"),
        processes.killed_at("before commit"),
    ]
    assert tried(campaign, makers, s3=False, kind="habits") >= 2
    assert tried(campaign, [storage.answers(500), storage.cut], s3=True, kind="habits") >= 1


@pytest.mark.campaign
@pytest.mark.parametrize(
    "harm",
    [
        'DELETE FROM fact_line WHERE "order" = (SELECT max("order") FROM fact_line)',
        "UPDATE dim_member SET moods = '{sad}'",
        "UPDATE fact_wide SET c7 = -1",
        "UPDATE fact_event SET superseded_at = NULL, deleted = NOT deleted",
    ],
)
def test_the_oracle_of_other_peoples_habits_sees_harm(campaign: Campaign, harm: str) -> None:
    home = campaign.home / f"habits {len(harm)}"
    site = Site(campaign.servers, home, campaign.api, s3=False, rng=random.Random(1), kind="habits")
    assert site.run().status == 0
    site.oracle.check(site.warehouse_url)
    query(site.warehouse_url, harm)
    with pytest.raises(Broken):
        site.oracle.check(site.warehouse_url)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM fact_payment WHERE payment_id = 7",
        "INSERT INTO fact_payment SELECT * FROM fact_payment",
        "UPDATE dim_design SET file_name = 'other' WHERE design_id = 3",
        "UPDATE fact_sales_order SET recorded_at = recorded_at - INTERVAL '1 s' WHERE sales_order_id = 2",
        "UPDATE etl.watermark SET snapshot_at = snapshot_at - INTERVAL '1 second'",
    ],
)
def test_the_oracle_sees_harm(campaign: Campaign, sound: Site, harm: str) -> None:
    name = f"{sound.name}_harmed"
    query(campaign.servers.warehouse.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {sound.name}")
    url = campaign.servers.warehouse.url(name)
    sound.oracle.check(url)
    if harm.startswith("INSERT"):
        query(url, "ALTER TABLE fact_payment DROP CONSTRAINT fact_payment_pkey")
        query(url, "DROP INDEX fact_payment_version")
    query(url, harm)
    with pytest.raises(Broken):
        sound.oracle.check(url)
    query(campaign.servers.warehouse.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def sound(campaign: Campaign) -> Site:
    """A shop whose warehouse is as it should be."""
    site = Site(campaign.servers, campaign.home / "sound", campaign.api, s3=False, rng=random.Random(SEED))
    first = site.run()
    assert first.status == 0, first.words[-3000:]
    with psycopg.connect(site.warehouse_url) as connection:
        assert connection.execute("SELECT count(*) FROM etl.batch").fetchone() == (1,)
    return site
