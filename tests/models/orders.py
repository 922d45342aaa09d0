"""Orders and shops as source tables, and a model that runs over batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.columns import Column, schema_of
from pipeline.lake.buckets import Bucket, folder
from pipeline.lake.manifest import Manifest
from pipeline.models.library import Model
from pipeline.models.output import Loaded, Output
from pipeline.models.target import Target
from pipeline.models.transform import transform
from pipeline.models.work import Work
from tests.made_up import MadeUp, made_target
from tests.support import Row, parquet_rows, write_models

ORDERS = {"order_id": "integer", "shop_id": "integer", "amount": "integer"}


SHOPS = {"shop_id": "integer", "city": "character varying"}


TABLES = {"orders": (ORDERS, ("order_id",)), "shops": (SHOPS, ("shop_id",))}


JOINED: dict[str, tuple[str, Target]] = {
    "left join": (
        "SELECT order_id AS id, amount, city FROM orders LEFT JOIN shops USING (shop_id)",
        made_target("fact_m", ("id",), id="integer!", amount="integer", city="character varying"),
    ),
    "filtered join": (
        "SELECT order_id AS id, city FROM orders JOIN shops USING (shop_id) WHERE amount > 2",
        made_target("fact_m", ("id",), id="integer!", city="character varying"),
    ),
    "aggregate": (
        """
        SELECT shop_id AS id, count(*) AS n, sum(amount) AS amount FROM orders
        WHERE shop_id IS NOT NULL GROUP BY shop_id
        """,
        made_target("fact_m", ("id",), id="integer!", n="bigint", amount="bigint"),
    ),
    "aggregate over a join": (
        """
        SELECT city AS id, list(order_id ORDER BY order_id)::varchar AS orders
        FROM orders JOIN shops USING (shop_id) GROUP BY city
        """,
        made_target("fact_m", ("id",), id="character varying!", orders="character varying"),
    ),
    "window": (
        """
        SELECT order_id AS id, rank() OVER (PARTITION BY shop_id ORDER BY amount, order_id) AS place
        FROM orders
        """,
        made_target("fact_m", ("id",), id="integer!", place="bigint"),
    ),
    "self-join": (
        """
        SELECT a.order_id AS id, b.amount AS before
        FROM orders AS a LEFT JOIN orders AS b ON b.order_id = a.order_id - 1
        """,
        made_target("fact_m", ("id",), id="integer!", before="integer"),
    ),
    "union": (
        """
        SELECT 'o' || order_id AS id, amount FROM orders
        UNION ALL SELECT 's' || shop_id, length(city) FROM shops
        """,
        made_target("fact_m", ("id",), id="character varying!", amount="bigint"),
    ),
    "subquery": (
        "SELECT order_id AS id, amount - (SELECT max(amount) FROM orders) AS gap FROM orders",
        made_target("fact_m", ("id",), id="integer!", gap="integer"),
    ),
    "row by row": (
        "SELECT order_id AS id, amount * 2 AS double FROM orders",
        made_target("fact_m", ("id",), id="integer!", double="integer"),
    ),
}


def work(
    model: Model, target: Target, manifest: Manifest, loaded: Loaded | None, raw: Bucket, processed: Bucket
) -> Work:
    """A run of a model that reads no other model on one batch."""
    return Work({model.name: model}, {model.name: target}, manifest, loaded, raw, processed)


@dataclass
class Running:
    """A model that runs batch after batch, and the rows that its table then has."""

    home: Path
    sql: str
    target: Target
    present: dict[str, dict[int, Row]] = field(default_factory=lambda: {"orders": {}, "shops": {}})
    held: dict[Any, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.raw, self.processed = folder(str(self.home / "raw")), folder(str(self.home / "processed"))
        self.model = write_models(self.home / "models", {self.target.name: self.sql})[self.target.name]
        self.source = MadeUp(self.raw, TABLES)
        self.loaded: Loaded | None = None

    def batch(
        self,
        rows: Mapping[str, list[Row]],
        *,
        deleted: Mapping[str, Sequence[int]] | None = None,
        reconcile: bool = False,
    ) -> Output:
        """Run a batch of changed rows and deleted keys, or with ``reconcile`` of all rows of both tables."""
        keys = {name: key for name, (_, (key,)) in TABLES.items()}
        lost = {
            name: [key for key in (deleted or {}).get(name, ()) if key in self.present[name]]
            for name in TABLES
        }
        for name in TABLES:
            for key in lost[name]:
                del self.present[name][key]
            self.present[name] |= {row[keys[name]]: row for row in rows.get(name, ())}
        manifest = self._manifest(rows, {name: lost[name] for name in lost}, reconcile=reconcile)
        output = transform(work(self.model, self.target, manifest, self.loaded, self.raw, self.processed))
        self.loaded = Loaded(fingerprint=self.model.fingerprint, result=output.result)
        if output.replaces:
            self.held.clear()
        for row in parquet_rows(self.processed, output.deleted):
            self.held.pop(row["id"], None)
        self.held |= {row["id"]: row for row in parquet_rows(self.processed, output.files)}
        assert not output.rejected
        return output

    def _manifest(
        self, rows: Mapping[str, list[Row]], lost: Mapping[str, Sequence[int]], *, reconcile: bool
    ) -> Manifest:
        if reconcile or self.loaded is None:
            given = {name: list(table.values()) for name, table in self.present.items()}
            return self.source.batch(given, full=True, reconcile=reconcile)
        keys = {name: key for name, (_, (key,)) in TABLES.items()}
        again = {name: {row[keys[name]] for row in changed} for name, changed in rows.items()}
        deleted = {
            name: [{keys[name]: key} for key in lost[name] if key not in again.get(name, ())]
            for name in TABLES
        }
        return self.source.batch(rows, deleted=deleted)

    def expected(self) -> dict[Any, Row]:
        """The rows of plain SQL on the present state."""
        with duckdb.connect() as connection:
            for name, (types, _) in TABLES.items():
                schema = schema_of([Column(name=column, type=type_) for column, type_ in types.items()])
                connection.register(name, pa.Table.from_pylist(list(self.present[name].values()), schema))
            return {row["id"]: row for row in connection.sql(self.sql).to_arrow_table().to_pylist()}


def order_row(order_id: int, shop_id: int | None, amount: int) -> Row:
    return {"order_id": order_id, "shop_id": shop_id, "amount": amount}


def shop_row(shop_id: int, city: str | None) -> Row:
    return {"shop_id": shop_id, "city": city}
