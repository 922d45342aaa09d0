"""Three runs over the made-up shop, made once per kind of bucket for many tests.

A sale is not yet committed while the first run reads. Then it commits, a working day changes the source, and
two more runs follow: one with changes, and one without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from demo import shop
from tests.flows.requests_sent import Sent, recorded
from tests.flows.support import HERE, ROOT, Difference, Run, World, difference, query
from tests.support import KEY, s3_client

ORDERS = 300
ORACLES = {path.stem: path for path in sorted((HERE / "oracle").glob("*.sql"))}
FACTS = [name for name in ORACLES if name.startswith("fact_")]
DIMENSIONS = [name for name in ORACLES if name.startswith("dim_")]
TRANSFORMS = ROOT / "transforms"


@dataclass(frozen=True)
class RunOutcome:
    """A run, the requests that it sent, and the contents of the warehouse and the buckets after it."""

    run: Run
    sent: list[Sent]
    differences: dict[str, Difference]
    versions: dict[str, int]
    up_to_date_at: Any
    objects: dict[str, object]


@dataclass(frozen=True)
class ShopRuns:
    """Three runs of one pipeline over the shop, and the changes between them."""

    world: World
    late: shop.Ids
    day: shop.Day
    first: RunOutcome
    second: RunOutcome
    quiet: RunOutcome


def run_the_shop(world: World) -> ShopRuns:
    """Fill the shop, and make the three runs."""
    with psycopg.connect(world.source_url) as connection:
        shop.create(connection)
        shop.fill(connection, ORDERS)
    with shop.late_commit(world.source_url) as late:
        first = run_and_read(world)
    day = shop.working_day(world.source_url)
    return ShopRuns(
        world=world, late=late, day=day, first=first, second=run_and_read(world), quiet=run_and_read(world)
    )


def run_and_read(world: World, **parameters: Any) -> RunOutcome:
    """Run the flow, and read everything that it left."""
    world.save_blocks()
    with recorded() as sent:
        run = world.run(**parameters)
    run.reports  # noqa: B018  raises what the run failed with
    return RunOutcome(
        run=run,
        sent=sent,
        differences={
            name: difference(world, "public", path, f"{name}_current" if name in FACTS else name)
            for name, path in ORACLES.items()
        },
        versions={name: query(world.warehouse_url, f"SELECT count(*) FROM {name}")[0][0] for name in ORACLES},
        up_to_date_at=query(world.warehouse_url, "SELECT up_to_date_at FROM etl.watermark")[0][0],
        objects=objects(world),
    )


def objects(world: World) -> dict[str, object]:
    """Every object of both buckets, with what changes when it is overwritten."""
    uris = [world.raw_uri, world.processed_uri]
    if "AWS_ENDPOINT_URL_S3" not in world.more:
        files = [path for uri in uris for path in Path(uri).rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    access = (world.more["AWS_ACCESS_KEY_ID"], world.more["AWS_SECRET_ACCESS_KEY"])
    pages = s3_client(world.more["AWS_ENDPOINT_URL_S3"], access).get_paginator("list_object_versions")
    return {
        f"{uri}: {version['Key']} {version['VersionId']}": version["ETag"]
        for uri in uris
        for page in pages.paginate(Bucket=uri.split("/")[2])
        for version in page.get("Versions", [])
    }


def s3_access(endpoint: str, access: tuple[str, str] = (KEY, KEY)) -> dict[str, str]:
    """The settings for the S3 server."""
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": access[0],
        "AWS_SECRET_ACCESS_KEY": access[1],
        "AWS_REGION": "us-east-1",
    }
