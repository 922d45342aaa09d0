"""The same rows in Postgres and as a batch for models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from pipeline.lake.buckets import folder
from pipeline.models.transform import transform
from pipeline.models.work import Work
from tests.made_up import MadeUp, made_target
from tests.support import parquet_rows, write_models

TABLES: dict[str, tuple[dict[str, str], list[tuple[Any, ...]]]] = {
    "sale": (
        {"id": "integer", "units": "integer", "price": "numeric", "rate": "numeric(45,3)", "note": "text"},
        [
            (1, 3, "1.50", "2.000", "a"),
            (2, -7, "1.5", "0.333", "b"),
            (3, 10, "-0.005", "1.000", "a"),
            (4, None, None, None, None),
            (5, 0, "123456789.0123456789", "-4.500", "c"),
            (6, 2, "2.675", "0.001", "c"),
        ],
    ),
    "box": (
        {"id": "integer", "tags": "text[]", "sizes": "integer[]", "prices": "numeric[]", "days": "date[]"},
        [
            (1, '{a,"b c",NULL,"NULL","\\"","\\\\"}', "{3,NULL,1}", "{1.50,2}", "{2024-02-29,infinity}"),
            (2, "{}", "{}", "{}", "{}"),
            (3, None, None, None, None),
            (4, "{b}", "{-7}", "{NULL}", '{"0044-03-15 BC"}'),
        ],
    ),
    "offer": (
        {"id": "integer", "cost": "numeric", "price": "text"},
        [(1, "1.500", "x"), (2, "10", "y"), (3, "-0.0050000", None), (4, None, "z")],
    ),
}


class Both:
    """The same rows in Postgres and as a batch for models."""

    def __init__(self, url: str, home: Path) -> None:
        self.home, self.raw = home, folder(str(home / "raw"))
        self.postgres = psycopg.connect(url, autocommit=True)
        for name, (types, rows) in TABLES.items():
            columns = ", ".join(f"{column} {type_}" for column, type_ in types.items())
            self.postgres.execute(f"CREATE TABLE {name} ({columns})".encode())
            insert = f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(types))})"
            self.postgres.cursor().executemany(insert.encode(), rows)
        self.manifest = MadeUp(
            self.raw, {name: (types, ("id",)) for name, (types, _) in TABLES.items()}
        ).batch(
            {
                name: [dict(zip(types, row, strict=True)) for row in rows]
                for name, (types, rows) in TABLES.items()
            }
        )

    def yields(self, sql: str, type_: str = "numeric") -> list[tuple[Any, ...]]:
        """The rows of a model with the columns id and v; raises ModelError if it is refused."""
        all_models = write_models(self.home / "models", {"dim_m": f"-- unstable: allowed\n{sql}"})
        targets = {"dim_m": made_target("dim_m", ("id",), id="bigint", v=type_)}
        processed = folder(str(self.home / "processed"))
        output = transform(Work(all_models, targets, self.manifest, None, self.raw, processed))
        return sorted((row["id"], row["v"]) for row in parquet_rows(processed, output.files))

    def expected(self, sql: str) -> list[tuple[Any, ...]]:
        return sorted(self.postgres.execute(sql.encode()).fetchall())
