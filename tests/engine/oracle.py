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
    """A batch and the committed rows at its snapshot."""

    manifest: Manifest
    rows: dict[str, Rows]


@dataclass
class Oracle:
    """The expected contents of the warehouse after the batches so far."""

    state: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in KEYS})
    versions: dict[str, dict[int, list[tuple[datetime, bool, Values]]]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    # Versions: since, until, whether the row was deleted then, values.
    shops: dict[int, list[tuple[datetime, datetime | None, bool, Values]]] = field(default_factory=dict)
    pending_orders: Rows = field(default_factory=dict)
    invalid_orders: set[int] = field(default_factory=set)
    invalid_shops: set[int] = field(default_factory=set)
    moments: list[tuple[datetime, dict[str, Rows]]] = field(default_factory=list)

    def load(self, moment: Moment) -> dict[str, tuple[int, int, int]]:
        """Apply a batch; returns the rows added, changed and deleted by warehouse table."""
        at = moment.manifest.snapshot_at
        self.state = moment.rows
        counts = {"dim_shop": self._dimension(at)}
        orders = self._orders()
        detail: Rows = {
            order: (amount, self.state["shop"].get(shop, (None, None))[1])
            for order, (shop, amount, _) in self.state["orders"].items()
        }
        counts["fact_order"] = self._fact("fact_order", at, orders)
        counts["fact_detail"] = self._fact("fact_detail", at, detail)
        self.moments.append((at, {name: self.current(name) for name in FACTS}))
        return counts

    def _dimension(self, at: datetime) -> tuple[int, int, int]:
        towns = self.state["town"]
        added = changed = 0
        self.invalid_shops &= self.state["shop"].keys()
        for shop, (town, label, _) in self.state["shop"].items():
            if label is None:
                self.invalid_shops.add(shop)
                continue
            self.invalid_shops.discard(shop)
            values = (label, towns.get(town, (None,))[0])
            key_versions = self.shops.setdefault(shop, [])
            if key_versions and key_versions[-1][1:] == (None, False, values):
                continue
            added, changed = (added, changed + 1) if key_versions else (added + 1, changed)
            self._end_shop(shop, at, deleted=False)
            key_versions.append((at, None, False, values))
        deleted_shops = [shop for shop in self.shops if shop not in self.state["shop"]]
        return added, changed, sum(self._end_shop(shop, at, deleted=True) for shop in deleted_shops)

    def _end_shop(self, shop: int, at: datetime, *, deleted: bool) -> bool:
        """End the present version of a shop, if it has one."""
        key_versions = self.shops[shop]
        if not key_versions or key_versions[-1][1] is not None:
            return False
        since, _, _, values = key_versions[-1]
        key_versions[-1] = (since, at, deleted, values)
        return True

    def _orders(self) -> Rows:
        """Reject invalid orders and those with a pending reference; returns the others."""
        orders = self.state["orders"]
        self.invalid_orders = {order for order, values in orders.items() if values[0] is None}
        self.pending_orders = {
            order: values
            for order, values in orders.items()
            if order not in self.invalid_orders and values[0] not in self.shops
        }
        rejected_orders = self.pending_orders.keys() | self.invalid_orders
        return {order: values for order, values in orders.items() if order not in rejected_orders}

    def _fact(self, name: str, at: datetime, rows: Rows) -> tuple[int, int, int]:
        added = changed = deleted = 0
        versions = self.versions[name]
        for key, values in rows.items():
            key_versions = versions.setdefault(key, [])
            if not key_versions or key_versions[-1][1:] != (False, values):
                added, changed = (added, changed + 1) if key_versions else (added + 1, changed)
                key_versions.append((at, False, values))
        for key, key_versions in versions.items():
            if key not in self.state["orders"] and not key_versions[-1][1]:
                deleted += 1
                key_versions.append((at, True, key_versions[-1][2]))
        return added, changed, deleted

    def current(self, name: str) -> Rows:
        """The latest versions, without deletions."""
        latest = {key: key_versions[-1] for key, key_versions in self.versions[name].items()}
        return {key: values for key, (_, deleted, values) in latest.items() if not deleted}

    def history(self, name: str) -> set[Values]:
        """The expected rows of the history view."""
        return {
            (
                since,
                key_versions[place + 1][0] if place + 1 < len(key_versions) else None,
                deleted,
                key,
                *values,
            )
            for key, key_versions in self.versions[name].items()
            for place, (since, deleted, values) in enumerate(key_versions)
        }

    @property
    def shop_history(self) -> set[Values]:
        """The expected rows of the dimension's history view."""
        return {
            (since, until, deleted, shop, *values)
            for shop, key_versions in self.shops.items()
            for since, until, deleted, values in key_versions
        }

    @property
    def rejected(self) -> set[tuple[str, str]]:
        """The expected unresolved rows of etl.rejected."""
        orders = self.pending_orders.keys() | self.invalid_orders
        return {("fact_order", str(order)) for order in orders} | {
            ("dim_shop", str(shop)) for shop in self.invalid_shops
        }
