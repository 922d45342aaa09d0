"""A shop with persons whose values are erased."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from demo.postgres import Postgres
from tests.erasure.people import MODELS, SOURCE
from tests.pair import Pair, copied, pair

DAYS: Sequence[Sequence[str]] = (
    ("UPDATE person SET last_name = 'Marriedname' WHERE person_id = 7",),
    ("UPDATE person SET team_id = 2 WHERE person_id IN (7, 9)", "DELETE FROM sale WHERE sale_id = 6"),
    ("UPDATE person SET mail = 'ann2@x.org', first_name = 'Anna' WHERE person_id IN (7)",),
    (
        "UPDATE sale SET amount = 1000 WHERE sale_id = 16",
        "UPDATE team SET team = 'deep south' WHERE team_id = 2",
    ),
)


@pytest.fixture(scope="module")
def life(servers: Callable[[int], Postgres]) -> Iterator[Pair]:
    """A shop of some days, which tests copy."""
    with pair(servers(16)) as made:
        made.live(MODELS, SOURCE, DAYS)
        yield made


@pytest.fixture
def shop(life: Pair, servers: Callable[[int], Postgres], tmp_path: Path) -> Iterator[Pair]:
    """A copy of that shop's warehouse and lake."""
    with copied(life, servers(16), tmp_path / "home") as copy:
        yield copy
