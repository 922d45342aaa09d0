"""What the warehouse has to show after each batch, computed from the committed rows alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline.lake.manifest import Manifest

MODELS = {
    "dim_shop": "SELECT shop_id, label, town.name AS town FROM shop LEFT JOIN town USING (town_id)",
    "fact_order": "-- key: order_id\nSELECT order_id, shop_id, amount, last_updated FROM orders",
    "fact_detail": (
        "-- key: order_id\nSELECT order_id, amount, label FROM orders LEFT JOIN shop USING (shop_id)"
    ),
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_shop (
            shop_id integer PRIMARY KEY, label varchar NOT NULL, town varchar
        );
        CREATE TABLE IF NOT EXISTS fact_order (
            order_id integer NOT NULL,
            shop_id integer NOT NULL REFERENCES dim_shop,
            amount varchar,
            last_updated integer NOT NULL
        );
        CREATE TABLE IF NOT EXISTS fact_detail (order_id integer NOT NULL, amount varchar, label varchar);
    """,
}
SOURCE = """
    DROP TABLE IF EXISTS town, shop, orders;
    CREATE TABLE town (town_id integer PRIMARY KEY, name varchar, last_updated integer NOT NULL);
    CREATE TABLE shop (
        shop_id integer PRIMARY KEY, town_id integer, label varchar, last_updated integer NOT NULL
    );
    CREATE TABLE orders (
        order_id integer PRIMARY KEY, shop_id integer, amount varchar, last_updated integer NOT NULL
    );
"""
COLUMNS = {"town": ("name",), "shop": ("town_id", "label"), "orders": ("shop_id", "amount")}
KEYS = {"town": "town_id", "shop": "shop_id", "orders": "order_id"}
FACTS = {"fact_order": "shop_id, amount, last_updated", "fact_detail": "amount, label"}
TICK = timedelta(microseconds=1)

Values = tuple[Any, ...]  # a row without its key; in the source last_updated comes last
Rows = dict[int, Values]
Place = tuple[str, int]


@dataclass(frozen=True)
class Moment:
    """What a batch saw: the committed rows at its snapshot."""

    manifest: Manifest
    rows: dict[str, Rows]


@dataclass
class Oracle:
    """What must be in the warehouse after the batches so far."""

    state: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in KEYS})
    versions: dict[str, dict[int, list[tuple[datetime, bool, Values]]]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    # Versions: since, until, whether the row was deleted then, values.
    shops: dict[int, list[tuple[datetime, datetime | None, bool, Values]]] = field(default_factory=dict)
    waiting: Rows = field(default_factory=dict)
    unfit_orders: set[int] = field(default_factory=set)
    unfit_shops: set[int] = field(default_factory=set)
    moments: list[tuple[datetime, dict[str, Rows]]] = field(default_factory=list)

    def load(self, moment: Moment) -> dict[str, tuple[int, int, int]]:
        """Take a batch in; returns how much of each warehouse table it added, changed and deleted."""
        at = moment.manifest.snapshot_at
        self.state = moment.rows
        did = {"dim_shop": self._dimension(at)}
        orders = self._orders()
        detail: Rows = {
            order: (amount, self.state["shop"].get(shop, (None, None))[1])
            for order, (shop, amount, _) in self.state["orders"].items()
        }
        did["fact_order"] = self._fact("fact_order", at, orders)
        did["fact_detail"] = self._fact("fact_detail", at, detail)
        self.moments.append((at, {name: self.current(name) for name in FACTS}))
        return did

    def _dimension(self, at: datetime) -> tuple[int, int, int]:
        towns = self.state["town"]
        added = changed = 0
        self.unfit_shops &= self.state["shop"].keys()
        for shop, (town, label, _) in self.state["shop"].items():
            if label is None:
                self.unfit_shops.add(shop)
                continue
            self.unfit_shops.discard(shop)
            values = (label, towns.get(town, (None,))[0])
            known = self.shops.setdefault(shop, [])
            if known and known[-1][1:] == (None, False, values):
                continue
            added, changed = (added, changed + 1) if known else (added + 1, changed)
            self._end_shop(shop, at, deleted=False)
            known.append((at, None, False, values))
        gone = [shop for shop in self.shops if shop not in self.state["shop"]]
        return added, changed, sum(self._end_shop(shop, at, deleted=True) for shop in gone)

    def _end_shop(self, shop: int, at: datetime, *, deleted: bool) -> bool:
        """End the present version of a shop, where it has one."""
        known = self.shops[shop]
        if not known or known[-1][1] is not None:
            return False
        since, _, _, values = known[-1]
        known[-1] = (since, at, deleted, values)
        return True

    def _orders(self) -> Rows:
        """Set aside the orders that wait or do not fit; returns the others."""
        orders = self.state["orders"]
        self.unfit_orders = {order for order, values in orders.items() if values[0] is None}
        self.waiting = {
            order: values
            for order, values in orders.items()
            if order not in self.unfit_orders and values[0] not in self.shops
        }
        aside = self.waiting.keys() | self.unfit_orders
        return {order: values for order, values in orders.items() if order not in aside}

    def _fact(self, name: str, at: datetime, rows: Rows) -> tuple[int, int, int]:
        added = changed = deleted = 0
        versions = self.versions[name]
        for key, values in rows.items():
            known = versions.setdefault(key, [])
            if not known or known[-1][1:] != (False, values):
                added, changed = (added, changed + 1) if known else (added + 1, changed)
                known.append((at, False, values))
        for key, known in versions.items():
            if key not in self.state["orders"] and not known[-1][1]:
                deleted += 1
                known.append((at, True, known[-1][2]))
        return added, changed, deleted

    def current(self, name: str) -> Rows:
        """The latest versions that are not deletions."""
        latest = {key: known[-1] for key, known in self.versions[name].items()}
        return {key: values for key, (_, deleted, values) in latest.items() if not deleted}

    def history(self, name: str) -> set[Values]:
        """What the history view shows."""
        return {
            (since, known[place + 1][0] if place + 1 < len(known) else None, deleted, key, *values)
            for key, known in self.versions[name].items()
            for place, (since, deleted, values) in enumerate(known)
        }

    @property
    def shop_history(self) -> set[Values]:
        """What the dimension's history view shows."""
        return {
            (since, until, deleted, shop, *values)
            for shop, known in self.shops.items()
            for since, until, deleted, values in known
        }

    @property
    def rejected(self) -> set[tuple[str, str]]:
        """What is set aside and not resolved."""
        orders = self.waiting.keys() | self.unfit_orders
        return {("fact_order", str(order)) for order in orders} | {
            ("dim_shop", str(shop)) for shop in self.unfit_shops
        }
