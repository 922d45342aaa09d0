"""Properties of objects that only an S3 server can show; test_etl.py also runs over S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, S3Bucket

from pipeline.lake.formats import parse
from pipeline.lake.manifest import Manifest
from tests.flows.shop_runs import DIMENSIONS, FACTS, ShopRuns
from tests.flows.support import World, blocks_were_changed, query
from tests.support import s3_client


@pytest.fixture
def runs(shop_runs: Callable[[str], ShopRuns]) -> ShopRuns:
    return shop_runs("s3")


@pytest.fixture
def s3(s3_endpoint: str) -> Any:
    return s3_client(s3_endpoint)


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix


def listing(s3: Any, uri: str, what: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket_and_prefix(uri)[0]):
        yield from page.get(what, [])


@pytest.mark.parametrize("uri", ["raw_uri", "processed_uri"])
def test_each_object_has_one_version_for_ever(runs: ShopRuns, s3: Any, uri: str) -> None:
    versions = list(listing(s3, getattr(runs.world, uri), "Versions"))
    keys = [version["Key"] for version in versions]
    assert len(keys) > 20
    assert len(keys) == len(set(keys)), "an object was written twice"
    assert list(listing(s3, getattr(runs.world, uri), "DeleteMarkers")) == []


@pytest.mark.parametrize("uri", ["raw_uri", "processed_uri"])
def test_everything_lies_below_the_prefix(runs: ShopRuns, s3: Any, uri: str) -> None:
    _, prefix = bucket_and_prefix(getattr(runs.world, uri))
    keys = [version["Key"] for version in listing(s3, getattr(runs.world, uri), "Versions")]
    assert [key for key in keys if not key.startswith(f"{prefix}/")] == []


@pytest.mark.parametrize("uri", ["raw_uri", "processed_uri"])
def test_no_upload_is_left_half_done(runs: ShopRuns, s3: Any, uri: str) -> None:
    bucket, _ = bucket_and_prefix(getattr(runs.world, uri))
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_every_file_of_a_manifest_exists(runs: ShopRuns, s3: Any) -> None:
    bucket, prefix = bucket_and_prefix(runs.world.raw_uri)
    keys = {version["Key"] for version in listing(s3, runs.world.raw_uri, "Versions")}
    paths = query(runs.world.warehouse_url, "SELECT manifest, batch_id FROM etl.batch ORDER BY batch_id")
    # Other modules' tests may have added batches to the shared world before this one looks.
    batch_ids = {outcome.run.reports[0].batch_id for outcome in (runs.first, runs.second)}
    assert batch_ids <= {batch_id for _, batch_id in paths}
    for path, batch_id in paths:
        body = s3.get_object(Bucket=bucket, Key=f"{prefix}/{path}")["Body"].read()
        manifest = Manifest.model_validate(parse(body.decode(), path))
        assert manifest.batch_id == batch_id
        listed = {f"{prefix}/{file.path}" for table in manifest.tables.values() for file in table.files}
        assert listed
        assert listed <= keys


def test_processed_rows_lie_by_table_and_batch(runs: ShopRuns, s3: Any) -> None:
    _, prefix = bucket_and_prefix(runs.world.processed_uri)
    keys = [version["Key"] for version in listing(s3, runs.world.processed_uri, "Versions")]
    first = runs.first.run.reports[0].batch_id
    for table in {*FACTS, *DIMENSIONS} - {"dim_exchange_rate"}:  # its seed is empty
        folder = f"{prefix}/{table}/batch={first}/"
        found = [key for key in keys if key.startswith(folder)]
        assert [key for key in found if key.endswith(".parquet")] == found != []


def test_blocks_are_those_of_prefect_aws(runs: ShopRuns) -> None:
    world: World = runs.world
    blocks_were_changed()
    world.save_blocks()
    credentials: Any = AwsCredentials.load("totesys")
    assert credentials.aws_client_parameters.endpoint_url == world.more["AWS_ENDPOINT_URL_S3"]
    for name, uri in [("totesys-raw", world.raw_uri), ("totesys-processed", world.processed_uri)]:
        block: Any = S3Bucket.load(name)
        assert (block.bucket_name, block.bucket_folder.strip("/")) == bucket_and_prefix(uri)
        with pytest.raises(ValueError, match="Unable to find block"):
            LocalFileSystem.load(name)
