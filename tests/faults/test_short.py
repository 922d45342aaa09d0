"""The campaign's short form: some failures with a new seed, on the engine without Prefect.

A failure names its seed; ``FAULTS_SEED=… pytest tests/faults/test_short.py`` repeats it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.faults.campaign import Campaign, Deck, Draw
from tests.faults.kinds import KINDS
from tests.faults.servers import Servers
from tests.servers import new_home

SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
SECONDS = 18
AT_LEAST = 3


@pytest.fixture
def servers() -> Iterator[Servers]:
    with new_home("faults") as home, Servers(home).running() as running:
        yield running


def test_nothing_is_lost_or_duplicated(servers: Servers) -> None:
    rng = random.Random(SEED)
    lines: list[str] = []
    campaign = Campaign(servers.home, servers, None, SEED, lambda line, _: lines.append(line))
    kind, s3 = rng.choice(["totesys", "habits"]), rng.random() < 0.5
    campaign.shop(f"{kind} {SEED}", for_some_seconds(campaign, rng), s3=s3, kind=kind)
    words = "\n".join([f"FAULTS_SEED={SEED}", *lines])
    assert not campaign.result.broken, words
    assert campaign.result.tally.rows > 0


def for_some_seconds(campaign: Campaign, rng: random.Random) -> Iterator[Draw]:
    """Failures of all kinds until the time is over and some have happened."""
    end, deck = time.monotonic() + SECONDS, Deck(KINDS, rng)
    while time.monotonic() < end or campaign.result.tried < AT_LEAST:
        yield deck
