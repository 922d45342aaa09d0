"""What a campaign's site trades in: Totesys' own shop, or one of other people's habits.

A shop fills its source, lets things happen in it, and says by plain SQL what its warehouse has to hold.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg

from demo import shop
from tests import habits

ROOT = Path(__file__).parents[2]
_CANCEL = ROOT / "demo" / "sql" / "cancel.sql"
_SHARE_DELETED = 0.15


@dataclass(frozen=True)
class Query:
    """What a warehouse table has to hold, and the columns of its key, the first one where none are named.

    ``keeps``: rows that leave the result stay, because the model has the header ``reads: changes``.
    """

    text: str
    key: Sequence[str] = ()
    keeps: bool = False


class Shop(ABC):
    """One kind of source, with models over it; ``settings`` are what its runs need beside the usual."""

    queries: ClassVar[Mapping[str, Query]]
    settings: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def transforms(self, home: Path) -> Path:
        """The folder with its models, written into ``home`` where it is not there."""

    @abstractmethod
    def open(self, source_url: str, rng: random.Random) -> None:
        """Make and fill the source."""

    @abstractmethod
    def prepare(self, warehouse_url: str) -> None:
        """Make what its warehouse needs beside tables."""

    @abstractmethod
    def trade(self, source_url: str, times: int, rng: random.Random) -> None:
        """Let some things happen, deletions among them."""

    @abstractmethod
    def trade_beside(self, source_url: str, rng: random.Random) -> None:
        """Let one thing happen that a run need not wait for."""

    @abstractmethod
    def late_commit(self, source_url: str, seed: int) -> AbstractContextManager[None]:
        """Hold a change open that is committed only at the block's end."""


def _keeps_rows(name: str) -> bool:
    return "-- reads: changes\n" in (ROOT / "transforms" / f"{name}.sql").read_text(encoding="utf-8")


class Totesys(Shop):
    """The shop that the demo makes up, most of whose changes leave no trace in last_updated."""

    queries: ClassVar[Mapping[str, Query]] = {
        path.stem: Query(path.read_text(encoding="utf-8"), keeps=_keeps_rows(path.stem))
        for path in sorted((ROOT / "tests" / "flows" / "oracle").glob("*.sql"))
    }

    def transforms(self, home: Path) -> Path:
        return ROOT / "transforms"

    def open(self, source_url: str, rng: random.Random) -> None:
        with psycopg.connect(source_url) as connection:
            shop.create(connection)
            shop.fill(connection, 300, seed=rng.randrange(1_000_000))

    def prepare(self, warehouse_url: str) -> None:
        """It needs nothing."""

    def trade(self, source_url: str, times: int, rng: random.Random) -> None:
        with psycopg.connect(source_url, autocommit=True) as connection:
            for _ in range(times):
                self._happen(connection, rng)
            if rng.random() < 0.3:
                connection.execute(
                    "UPDATE department SET location = %s WHERE department_id = %s",
                    [f"Place {rng.randrange(1000)}", rng.randint(1, 8)],
                )

    def trade_beside(self, source_url: str, rng: random.Random) -> None:
        with psycopg.connect(source_url) as connection:
            self._happen(connection, rng)

    def _happen(self, connection: psycopg.Connection, rng: random.Random) -> None:
        """Let one thing happen; now and then an order is deleted, with all that refers to it."""
        if rng.random() >= _SHARE_DELETED:
            shop.activity(connection, rng)
            return
        keys = connection.execute("SELECT sales_order_id FROM sales_order").fetchall()
        connection.execute(_CANCEL.read_bytes(), {"sales_order_id": rng.choice(keys)[0]})

    @contextmanager
    def late_commit(self, source_url: str, seed: int) -> Iterator[None]:
        with shop.late_commit(source_url, seed):
            yield


class Habits(Shop):
    """Domains, enums, inheritance, partitions that come and go, and whatever else other people have."""

    queries: ClassVar[Mapping[str, Query]] = {
        name: Query(text, habits.key_of(name)) for name, text in habits.QUERIES.items()
    }
    # Its tables are so small that deleting a few rows deletes most of them.
    settings: ClassVar[Mapping[str, str]] = {
        "TOTESYS_MAX_REJECTED_SHARE": "1",
        "TOTESYS_MAX_DELETED_SHARE": "1",
    }

    def transforms(self, home: Path) -> Path:
        folder = home / "models"
        folder.mkdir(exist_ok=True)
        for name, text in habits.models().items():
            (folder / f"{name}.sql").write_text(text, encoding="utf-8")
        return folder

    def open(self, source_url: str, rng: random.Random) -> None:
        with psycopg.connect(source_url, autocommit=True) as connection:
            connection.execute(habits.SOURCE.encode())
        self.trade(source_url, 30, rng)

    def prepare(self, warehouse_url: str) -> None:
        with psycopg.connect(warehouse_url, autocommit=True) as connection:
            connection.execute(habits.TYPES.encode())

    def trade(self, source_url: str, times: int, rng: random.Random) -> None:
        habits.edit(source_url, rng, times)

    def trade_beside(self, source_url: str, rng: random.Random) -> None:
        habits.edit(source_url, rng, 1, [*habits.COMMON, *habits.DELETIONS])

    @contextmanager
    def late_commit(self, source_url: str, seed: int) -> Iterator[None]:
        with psycopg.connect(source_url) as connection:
            connection.execute(f"INSERT INTO note VALUES ('late {seed % 9}')".encode())
            yield
            connection.commit()


SHOPS: Mapping[str, Shop] = {"totesys": Totesys(), "habits": Habits()}
