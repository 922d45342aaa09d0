"""The changes of a working day, and which of them a watermark and the warehouse capture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from demo import shop
from demo.queries import Rows, statement, value
from demo.shop import Day, Ids
from pipeline.words import counted

Watermarks = dict[str, datetime]

_RELATIONS = {
    "sales_order": "fact_sales_order",
    "purchase_order": "fact_purchase_order",
    "payment": "fact_payment",
    "transaction": "dim_transaction",
    "design": "dim_design",
    "staff": "dim_staff",
}


@dataclass(frozen=True)
class Change:
    """Rows with the same kind of change: their keys by source table."""

    label: str
    kind: Literal["new", "changed", "deleted"]
    keys: dict[str, list[int]]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(map(len, self.keys.values()))


def of_day(day: Day, late: Ids) -> list[Change]:
    """The changes of a day, with the sale that committed late.

    The transaction of the deleted order is left out: a dimension keeps rows that facts refer to.
    """
    paid = [payment for payment in day.paid if payment != day.deleted.payment_id]
    move = day.move
    edits: dict[str, list[int]] = defaultdict(list)
    for table, key in sorted({(edit.table, edit.id) for edit in day.edits}):
        edits[table].append(key)
    deleted = {"sales_order": [day.deleted.order_id], "payment": [day.deleted.payment_id]}
    return [
        Change(
            f"{counted(len(day.sales), 'sale')}, each with transaction and payment",
            "new",
            _orders("sales_order", day.sales),
        ),
        Change(
            f"{counted(len(day.purchases), 'purchase')}, likewise",
            "new",
            _orders("purchase_order", day.purchases),
        ),
        Change("a new design", "new", {"design": [day.design_id]}),
        Change(
            f"{counted(len(paid), 'payment')} become{'s' if len(paid) == 1 else ''} paid, all at 07:55",
            "changed",
            {"payment": paid},
        ),
        Change(
            f"{counted(len(day.edits), 'silent edit')}: last_updated stays as it was", "changed", dict(edits)
        ),
        Change(
            f"department {move.id} moves, with {len(day.moved_staff)} staff in dim_staff",
            "changed",
            {"staff": list(day.moved_staff)},
        ),
        Change("a sale from before the first run commits late", "new", _orders("sales_order", [late])),
        Change("an order and its payment are deleted", "deleted", deleted),
    ]


def watermarks(source: Rows) -> Watermarks:
    """The newest last_updated of each table."""
    return {table: value(source, statement("newest_change.sql", table=table)) for table in shop.COLUMNS}


def seen_by(watermarks: Watermarks, source: Rows, change: Change) -> int:
    """The number of these rows that ``last_updated > watermark`` finds."""
    return sum(
        value(
            source,
            statement("seen_by_watermark.sql", table=table, key=f"{table}_id"),
            {"ids": keys, "watermark": watermarks[table]},
        )
        for table, keys in change.keys.items()
    )


def recorded(warehouse: Rows, change: Change, at: datetime) -> int:
    """The number of these rows that the batch of a time loaded."""
    return sum(_recorded(warehouse, change, table, at) for table in change.keys)


def _recorded(warehouse: Rows, change: Change, table: str, at: datetime) -> int:
    relation, key = _RELATIONS[table], f"{table}_id"
    bound = {
        "ids": change.keys[table],
        "at": at,
        "deleted": change.kind == "deleted",
        "new": change.kind == "new",
    }
    if relation.startswith("fact_"):
        return int(value(warehouse, statement("recorded_facts.sql", table=relation, key=key), bound))
    history = f"{relation}_history"
    return int(value(warehouse, statement("recorded_dimension.sql", history=history, key=key), bound))


def _orders(table: str, orders: Iterable[Ids]) -> dict[str, list[int]]:
    keys: dict[str, list[int]] = {table: [], "transaction": [], "payment": []}
    for ids in orders:
        for table_keys, key in zip(keys.values(), ids, strict=True):
            table_keys.append(key)
    return keys
