"""A source table with a model that passes all its columns on, and its rejected rows."""

from __future__ import annotations

from collections.abc import Mapping

from tests.house import Warehouse
from tests.made_up import MadeUp
from tests.support import Row, write_models

TYPES = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad')",
    "CREATE TYPE pair AS (number integer, word text)",
    "CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0)",
    "CREATE DOMAIN mail AS text CHECK (VALUE LIKE '%@%')",
)


def made_up(
    house: Warehouse, columns: Mapping[str, str], table: str, *, kind: str = "dim", schema: str = ""
) -> MadeUp:
    """A source table ``t`` of these columns, and a model that passes all of them on."""
    files = {
        f"{kind}_t": f"-- key: id\nSELECT {', '.join(columns)} FROM t",
        "schema": f"{schema}; CREATE TABLE IF NOT EXISTS {kind}_t ({table});",
    }
    write_models(house.folder, files)
    return MadeUp(house.raw, {"t": (columns, ("id",))})


def ids(house: Warehouse, table: str = "dim_t") -> list[int]:
    return [number for (number,) in house.query(f"SELECT id FROM {table} ORDER BY 1")]


def reasons(house: Warehouse) -> dict[int, str]:
    return {int(key["id"]): reason for _, key, reason in house.rejected()}


CODES = {"id": "integer", "code": "text", "days": "text", "a": "integer", "b": "integer", "long": "text"}


CODED = "id integer PRIMARY KEY, code text, days daterange, a integer, b integer, long text"


def coded(number: int, code: str, days: str, b: int | None = 1, long: str = "") -> Row:
    return {"id": number, "code": code, "days": days, "a": 1, "b": b, "long": long}
