"""Access to S3 in the tests of flows: settings, buckets, and requests that a server received."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_aws import S3Bucket

from pipeline.lake.buckets import Bucket
from tests.s3_server import Server
from tests.support import reopened

SALES = "SELECT count(*) FROM fact_sale"


ROLE = "arn:aws:iam::123456789012:role/pipeline"


NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "none",
    "AWS_SHARED_CREDENTIALS_FILE": "none",
}


@dataclass
class Access:
    """The raw bucket under some settings, for data and for results."""

    block: S3Bucket
    bucket: Bucket

    def use(self) -> None:
        """Write and read back data and a result."""
        self.bucket.write_text("data", "of data")
        assert reopened(self.bucket).read_text("data") == "of data"
        self.block.write_path("result", b"of results")
        assert self.block.read_path("result") == b"of results"


def keys_of(server: Server, prefix: str = "") -> list[str]:
    return [seen.key for seen in server.seen if prefix in seen.path]
