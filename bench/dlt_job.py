"""The same job with dlt. It runs with the Python of ``.venv-dlt``, which does not have this project.

Source tables are written to Parquet files in a folder, DuckDB runs the same models over them, and dlt loads
the results. The first run appends; later ones read rows whose ``last_updated`` has increased and merge them
by key. A warehouse made by dlt has no references, indexes or history; if references are added to it, dlt
has to upsert.

As documented, it reads with the ``pyarrow`` backend and loads by CSV and COPY, which dlt's documentation
recommends for speed. Tuned, it uses the fastest of the tested settings: ``connectorx``, more rows per file,
files loaded concurrently, and uncompressed CSV.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pycountry
from dlt.destinations import filesystem, postgres
from dlt.sources.sql_database import sql_database

ROWS = 100_000
QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
TUNED = {
    "DATA_WRITER__BUFFER_MAX_ITEMS": str(ROWS),
    "DATA_WRITER__FILE_MAX_ITEMS": str(ROWS),
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
}
# What the warehouse declares and the models leave to it.
CASTS = {
    "agreed_payment_date": "DATE",
    "agreed_delivery_date": "DATE",
    "payment_date": "DATE",
    "unit_price": "DECIMAL(10, 2)",
}
REFERENCE = "iso_4217"


class Models:
    """The SQL models, and which source tables they read."""

    def __init__(self, folder: Path) -> None:
        """Read them; DuckDB knows what they read."""
        paths = sorted(path for path in folder.glob("*.sql") if path.stem != "schema")
        seeds = {path.stem for path in folder.glob("seeds/*.csv")}
        texts = {path.stem: path.read_text() for path in paths}
        reads = {name: duckdb.connect().get_table_names(sql) for name, sql in texts.items()}
        # The shipped seed is empty, and so is the table that a model makes of it.
        self.reads = {name: tables for name, tables in reads.items() if not tables & seeds}
        self.sql = {name: texts[name] for name in self.reads}
        self.sources = set().union(*self.reads.values()) - self.sql.keys() - {REFERENCE}

    def touched(self, tables: Iterable[str]) -> list[str]:
        """Models that read one of these tables, and those that read such models."""
        known = set(tables)
        for _ in self.sql:
            known |= {name for name, reads in self.reads.items() if reads & known}
        return [name for name in self.sql if name in known]

    def by_change(self, name: str) -> bool:
        """Whether a model is to see new rows only: facts, and what is made of facts."""
        return name.startswith("fact_") or bool(self.reads[name] & self.sql.keys())


def main() -> None:
    """Run the job once."""
    parser = argparse.ArgumentParser(description="The databases are named by BENCH_*_URL.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--upsert", action="store_true", help="for tables that refer to each other")
    given = parser.parse_args()
    os.environ |= QUIET | (TUNED if given.tuned else {})
    models = Models(given.models)
    fresh = extract(os.environ["BENCH_SOURCE_URL"], given.folder, models.sources, tuned=given.tuned)
    merging = {"disposition": "merge", "strategy": "upsert"} if given.upsert else "merge"
    load(os.environ["BENCH_WAREHOUSE_URL"], given.folder, models, fresh, merging)


def extract(url: str, folder: Path, tables: set[str], *, tuned: bool) -> dict[str, list[str]]:
    """Bring what is new into Parquet files; returns the files of this run by table."""
    how: dict[str, Any] = {"backend": "pyarrow"}
    if tuned:
        streamed = {"conn": url, "return_type": "arrow_stream"}
        how = {"backend": "connectorx", "backend_kwargs": streamed, "chunk_size": ROWS}
    source = sql_database(
        url.replace("postgresql:", "postgresql+psycopg2:"),
        schema="public",
        table_names=sorted(tables),
        reflection_level="full",
        **how,
    )
    for resource in source.resources.values():
        resource.apply_hints(incremental=dlt.sources.incremental("last_updated"))
    raw = dlt.pipeline(
        "raw",
        destination=filesystem(str(folder / "files")),
        dataset_name="raw",
        pipelines_dir=str(folder / "pipelines"),
    )
    info = raw.run(source, loader_file_format="parquet", write_disposition="append")
    return {
        table: [str(path) for load_id in info.loads_ids for path in files(folder, table).glob(f"{load_id}.*")]
        for table in tables
    }


def files(folder: Path, table: str) -> Path:
    """The folder that dlt keeps a table's Parquet files in."""
    return folder / "files" / "raw" / table


def load(
    url: str, folder: Path, models: Models, fresh: dict[str, list[str]], merging: str | dict[str, str]
) -> None:
    """Run the models that have something new to read, and load what they yield."""
    new, present = (duckdb.connect() for _ in range(2))
    for table, found in fresh.items():
        everything = sorted(map(str, files(folder, table).glob("*.parquet")))
        bind_new(new, table, found, everything)
        bind_present(present, table, everything)
    for database in (new, present):
        bind_models(database, models)
    star = dlt.pipeline(
        "star", destination=postgres(url), dataset_name="star", pipelines_dir=str(folder / "pipelines")
    )
    disposition: Any = "append" if star.first_run else merging
    touched = models.touched(table for table, found in fresh.items() if found)
    resources = [rows(new if models.by_change(name) else present, name) for name in touched]
    if resources:
        star.run(resources, loader_file_format="csv", write_disposition=disposition)


def bind_new(
    database: duckdb.DuckDBPyConnection, table: str, found: list[str], everything: list[str]
) -> None:
    """Show a table's rows of this run."""
    which = "" if found else "WHERE false"
    database.execute(f'CREATE VIEW "{table}" AS FROM read_parquet({found or everything}) {which}')


def bind_present(database: duckdb.DuckDBPyConnection, table: str, everything: list[str]) -> None:
    """Show the newest row of each key."""
    newest = f"PARTITION BY {table}_id ORDER BY last_updated DESC"
    database.execute(
        f'CREATE VIEW "{table}" AS FROM read_parquet({everything}) QUALIFY row_number() OVER ({newest}) = 1'
    )


def bind_models(database: duckdb.DuckDBPyConnection, models: Models) -> None:
    """Make every model a view; those that read others come after them."""
    codes = pa.table(
        {
            "code": [currency.alpha_3 for currency in pycountry.currencies],
            "name": [currency.name for currency in pycountry.currencies],
        }
    )
    database.from_arrow(codes).create(REFERENCE)
    for name in sorted(models.sql, key=lambda name: bool(models.reads[name] & models.sql.keys())):
        columns = [row[0] for row in database.execute(f"DESCRIBE {models.sql[name]}").fetchall()]
        casts = [f"CAST({column} AS {CASTS[column]}) AS {column}" for column in columns if column in CASTS]
        replaced = f"REPLACE ({', '.join(casts)})" if casts else ""
        database.execute(f"CREATE VIEW {name} AS SELECT * {replaced} FROM ({models.sql[name]}\n)")  # noqa: S608


def rows(database: duckdb.DuckDBPyConnection, name: str) -> dlt.sources.DltResource:
    """What a model yields, with its first column as the key."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield from database.cursor().sql(f"FROM {name}").to_arrow_reader(ROWS)

    key = database.sql(f"FROM {name}").columns[0]
    return dlt.resource(batches, name=name, primary_key=key)


if __name__ == "__main__":
    main()
