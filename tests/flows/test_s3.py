"""Over the wire: what only an S3 server can show. The main job's own tests run over S3, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, S3Bucket

from pipeline.lake.formats import unsealed
from pipeline.lake.manifest import Manifest
from tests.flows.story import DIMENSIONS, FACTS, Story, s3_client
from tests.flows.support import World, blocks_were_changed, query


@pytest.fixture
def story(stories: Callable[[str], Story]) -> Story:
    return stories("s3")


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
def test_each_object_has_one_version_for_ever(story: Story, s3: Any, uri: str) -> None:
    versions = list(listing(s3, getattr(story.world, uri), "Versions"))
    keys = [version["Key"] for version in versions]
    assert len(keys) > 20
    assert len(keys) == len(set(keys)), "an object was written twice"
    assert list(listing(s3, getattr(story.world, uri), "DeleteMarkers")) == []


@pytest.mark.parametrize("uri", ["raw_uri", "processed_uri"])
def test_everything_lies_below_the_prefix(story: Story, s3: Any, uri: str) -> None:
    _, prefix = bucket_and_prefix(getattr(story.world, uri))
    keys = [version["Key"] for version in listing(s3, getattr(story.world, uri), "Versions")]
    assert [key for key in keys if not key.startswith(f"{prefix}/")] == []


@pytest.mark.parametrize("uri", ["raw_uri", "processed_uri"])
def test_no_upload_is_left_half_done(story: Story, s3: Any, uri: str) -> None:
    bucket, _ = bucket_and_prefix(getattr(story.world, uri))
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_all_that_a_manifest_lists_is_there(story: Story, s3: Any) -> None:
    bucket, prefix = bucket_and_prefix(story.world.raw_uri)
    keys = {version["Key"] for version in listing(s3, story.world.raw_uri, "Versions")}
    paths = query(story.world.warehouse_url, "SELECT manifest, batch_id FROM etl.batch ORDER BY batch_id")
    # Other modules' tests may have added batches to the shared world before this one looks.
    told = {chapter.run.reports[0].batch_id for chapter in (story.first, story.second)}
    assert told <= {batch_id for _, batch_id in paths}
    for path, batch_id in paths:
        body = s3.get_object(Bucket=bucket, Key=f"{prefix}/{path}")["Body"].read()
        manifest = Manifest.model_validate(unsealed(body.decode(), path))
        assert manifest.batch_id == batch_id
        listed = {f"{prefix}/{file.path}" for table in manifest.tables.values() for file in table.files}
        assert listed
        assert listed <= keys


def test_processed_rows_lie_by_table_and_batch(story: Story, s3: Any) -> None:
    _, prefix = bucket_and_prefix(story.world.processed_uri)
    keys = [version["Key"] for version in listing(s3, story.world.processed_uri, "Versions")]
    first = story.first.run.reports[0].batch_id
    for table in [*FACTS, *DIMENSIONS]:
        folder = f"{prefix}/{table}/batch={first}/"
        found = [key for key in keys if key.startswith(folder)]
        assert [key for key in found if key.endswith(".parquet")] == found != []


def test_blocks_are_those_of_prefect_aws(story: Story) -> None:
    world: World = story.world
    blocks_were_changed()
    world.save_blocks()
    credentials: Any = AwsCredentials.load("totesys")
    assert credentials.aws_client_parameters.endpoint_url == world.more["AWS_ENDPOINT_URL_S3"]
    for name, uri in [("totesys-raw", world.raw_uri), ("totesys-processed", world.processed_uri)]:
        block: Any = S3Bucket.load(name)
        assert (block.bucket_name, block.bucket_folder.strip("/")) == bucket_and_prefix(uri)
        with pytest.raises(ValueError, match="Unable to find block"):
            LocalFileSystem.load(name)
