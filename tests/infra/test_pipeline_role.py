"""The rights of the pipeline's role, used over S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from moto.core.authorization import enable_iam_authentication
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters

from pipeline.errors import ObjectMissing
from tasks import blocks
from tests.infra.conftest import NAME, REGION, Stack


@pytest.fixture(scope="module")
def role(stack: Stack) -> str:
    """A role with these rights."""
    statements = [statement.copy() for statement in stack.policies(f"{NAME}-pipeline")]
    for statement in statements:
        statement.pop("Condition", None)
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam = stack.client("iam")
    made = iam.create_role(RoleName="unconditional", AssumeRolePolicyDocument="{}")["Role"]
    iam.put_role_policy(RoleName="unconditional", PolicyName="same", PolicyDocument=policy)
    return str(made["Arn"])


@pytest.fixture
def credentials(stack: Stack, bucket: str, role: str) -> Iterator[dict[str, str]]:
    """Those of a task with the role, on a server that asks who may do what."""
    found = stack.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    with unconditional(stack, bucket), enable_iam_authentication():
        yield {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }


class TestPipelineRole:
    """Its rights, used over S3. The server cannot evaluate conditions, so they are left out."""

    def test_is_enough_for_the_engine_and_for_results(
        self, stack: Stack, bucket: str, credentials: dict[str, str]
    ) -> None:
        block = S3Bucket(
            bucket_name=bucket,
            bucket_folder="totesys",
            credentials=AwsCredentials(
                **credentials,
                region_name=REGION,
                aws_client_parameters=AwsClientParameters(endpoint_url=stack.endpoint),
            ),
        )
        place = blocks.s3(block)
        rows = pa.table({"payload": [bytes(1000)] * 20_000})
        (file,) = place.write_rows("orders/batch=1", rows.schema, rows.to_batches(100))
        assert place.dataset([file]).to_table().num_rows == 20_000
        place.write_text("_manifests/one.json", "{}")
        assert place.list("_manifests") == ["_manifests/one.json"]
        assert place.read_text("_manifests/one.json") == "{}"
        with pytest.raises(ObjectMissing):
            place.read_text("_manifests/two.json")
        block.write_path("_results/one", b"{}")
        assert block.read_path("_results/one") == b"{}"
        place.remove("_manifests/one.json")
        assert place.list("_manifests") == []

    @pytest.mark.parametrize(
        "attempt",
        [
            lambda s3, bucket: s3.delete_object(
                Bucket=bucket, Key="totesys/_manifests/one.json", VersionId="null"
            ),
            lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="elsewhere"),
            lambda s3, bucket: s3.put_object(Bucket=bucket, Key="elsewhere", Body=b""),
            lambda s3, bucket: s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
            ),
            lambda s3, bucket: s3.list_buckets(),
        ],
        ids=["delete a version", "delete elsewhere", "other prefix", "versioning", "other buckets"],
    )
    def test_is_not_enough_for_more(
        self, stack: Stack, bucket: str, credentials: dict[str, str], attempt: Callable[[Any, str], Any]
    ) -> None:
        with pytest.raises(ClientError, match="AccessDenied"):
            attempt(stack.client("s3", **credentials), bucket)


@contextmanager
def unconditional(stack: Stack, bucket: str) -> Iterator[None]:
    """Take the bucket's own policy away for a while: all that it says has a condition."""
    s3 = stack.client("s3")
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.delete_bucket_policy(Bucket=bucket)
    try:
        yield
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)
