"""Errors of S3 and their messages, for data and for Prefect's results, retried or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore import exceptions as boto
from prefect.states import Failed
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pyarrow import dataset as ds
from werkzeug.wrappers import Response

from demo.home import PROJECT
from pipeline import duck, s3_errors
from pipeline.errors import BucketError, SettingsError
from pipeline.lake.buckets import Bucket, File
from tasks import blocks
from tasks.failures import RETRY_IF_TRANSIENT, in_one_line
from tests.lake.test_buckets import SCHEMA, rows
from tests.s3_server import Server, refusal
from tests.support import reopened, s3_client

PAGE = PROJECT / "docs" / "s3.md"
# The HTTP status of each code; a code of digits is the status of a response without a body.
STATUS = dict.fromkeys(s3_errors.ANSWERS, 400) | {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
    "InvalidObjectState": 403,
    "AccountProblem": 403,
    "AllAccessDisabled": 403,
    "NotSignedUp": 403,
    "InvalidClientTokenId": 403,
    "RequestTimeTooSkewed": 403,
    "NoSuchBucket": 404,
    "PermanentRedirect": 301,
    "TemporaryRedirect": 307,
    "NotImplemented": 501,
    "XMinioStorageFull": 507,
}
PASSING = {
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "RequestTimeout": 400,
    "IncompleteBody": 400,
    "BadDigest": 400,
    "OperationAborted": 409,
    "ConditionalRequestConflict": 409,
    "TooManyRequests": 429,
    "ThrottlingException": 400,
    "KMS.ThrottlingException": 400,
    "KMS.InternalException": 500,
    "NoSuchUpload": 404,
}


@pytest.fixture(autouse=True)
def no_certificates_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA certificates of this machine."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)


@pytest.fixture(scope="module")
def server(recording_s3: Server) -> Server:
    return recording_s3.renewed()


@pytest.fixture
def block(server: Server) -> S3Bucket:
    """A block whose client does not retry."""
    client = {"retries": {"mode": "standard", "total_max_attempts": 1}}
    credentials = AwsCredentials(
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="eu-west-2",
        aws_client_parameters=AwsClientParameters(endpoint_url=server.url, config=client),
    )
    return S3Bucket(bucket_name="the-bucket", bucket_folder="pre/fix", credentials=credentials)


@pytest.fixture
def bucket(server: Server, block: S3Bucket) -> Bucket:
    return blocks.s3(block)


def refuse(server: Server, code: str, status: int) -> None:
    """Answer every request with this code; a code of digits has no body."""
    region = {"x-amz-bucket-region": "us-west-2"}

    def answer(_: object) -> Response:
        if code.isdigit():
            return Response(b"", int(code), region)
        return refusal(code, status, **region)

    server.refuse = answer


def actions(bucket: Bucket) -> dict[str, Callable[[], object]]:
    """Every operation on a bucket, by the name of the right that it needs."""
    file = File(path="t/part-1.parquet", rows=1, bytes=1)
    return {
        "write t/part": lambda: bucket.write_rows("t", SCHEMA, [rows(1)]),
        "write a manifest": lambda: bucket.write_text("a manifest", "text"),
        "read a manifest": lambda: bucket.read_text("a manifest"),
        "list a folder": lambda: bucket.list("a folder"),
        "list all objects": bucket.usage,
        "read t/part-1.parquet": lambda: bucket.dataset([file]),
        "delete t/part-1.parquet": lambda: bucket.remove(file.path),
    }


RIGHTS = {
    "write": "s3:PutObject",
    "read": "s3:GetObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
}


@pytest.mark.parametrize("code", s3_errors.ANSWERS)
def test_a_refusal_is_one_line_with_place_and_remedy(server: Server, bucket: Bucket, code: str) -> None:
    refuse(server, code, STATUS[code])
    for action, act in actions(bucket).items():
        with pytest.raises(BucketError) as caught:
            act()
        right = RIGHTS[action.partition(" ")[0]]
        line = str(caught.value)
        assert line.startswith(f"s3://the-bucket/pre/fix: cannot {action}"), line
        assert s3_errors.ANSWERS[code].format(right=right) in line
        assert f"answers {code}: " in line
        assert "\n" not in line
        assert not worth_another_try(caught.value)


@pytest.mark.parametrize("code", s3_errors.ANSWERS)
def test_a_refusal_of_prefects_results_reads_the_same(server: Server, block: S3Bucket, code: str) -> None:
    refuse(server, code, STATUS[code])
    with pytest.raises(boto.ClientError) as caught:
        block.write_path("result", b"{}")
    line = in_one_line(caught.value)
    assert line is not None
    assert line.startswith("S3 refuses Prefect's results: ")
    assert s3_errors.ANSWERS[code].format(right="s3:PutObject") in line
    assert not worth_another_try(caught.value)
    with pytest.raises(boto.ClientError) as caught:
        block.read_path("result")  # begins with HEAD, whose answer has no body: the code is its status
    if STATUS[code] != 404:
        assert (in_one_line(caught.value) or "").startswith(("S3 refuses Prefect's", "storage failed"))


@pytest.mark.parametrize("code", PASSING)
def test_a_transient_failure_is_retried(server: Server, bucket: Bucket, block: S3Bucket, code: str) -> None:
    refuse(server, code, PASSING[code])
    for act in actions(bucket).values():
        with pytest.raises(OSError, match=code) as caught:
            act()
        assert worth_another_try(caught.value)
        assert (in_one_line(caught.value) or "").endswith("run again, no batch is partially loaded")
    with pytest.raises(boto.ClientError) as of_results:
        block.write_path("result", b"{}")
    assert worth_another_try(of_results.value)


def test_a_redirect_that_names_no_region_is_one_line(server: Server, bucket: Bucket, block: S3Bucket) -> None:
    """Like a web server that redirects http to https; boto3 then recurses until Python stops it."""
    server.refuse = lambda _: Response(b"", 301, {"Location": "https://elsewhere/"})
    with pytest.raises(BucketError, match="the bucket is in another region or at another endpoint"):
        bucket.read_text("t")
    with pytest.raises((RecursionError, boto.HTTPClientError)) as caught:
        block.write_path("result", b"{}")
    assert "another endpoint" in (in_one_line(caught.value) or "")
    assert not worth_another_try(caught.value)


def test_an_unknown_refusal_has_the_message_of_s3(server: Server, bucket: Bucket) -> None:
    refuse(server, "SomethingNew", 400)
    with pytest.raises(BucketError, match=r"S3 refuses this \(GetObject answers SomethingNew: made up\)"):
        bucket.read_text("t")


def test_a_refusal_while_duckdb_reads_is_a_bucket_error(server: Server, bucket: Bucket) -> None:
    """DuckDB and Arrow pass our errors on as text."""
    server.refuse = lambda _: None
    s3_client(server.url).create_bucket(Bucket="the-bucket")
    files = [file for number in range(3) for file in bucket.write_rows("t", SCHEMA, [rows(number)])]
    for read in (read_at_once, read_as_a_stream):
        refuse(server, "ExpiredToken", 400)
        dataset = reopened(bucket).dataset(files, SCHEMA)
        with pytest.raises(BucketError, match=r"cannot read t/part-.*the credentials have expired") as caught:
            read(dataset)
        assert "\n" not in str(caught.value)
        server.refuse = lambda _: None


def read_at_once(dataset: ds.Dataset) -> None:
    with duck.session() as connection:
        connection.register("t", dataset)
        connection.execute("CREATE TEMP TABLE copied AS SELECT * FROM t")


def read_as_a_stream(dataset: ds.Dataset) -> None:
    with duck.session() as connection:
        connection.register("t", dataset)
        connection.sql("SELECT * FROM t").to_arrow_reader(10).read_all()


def worth_another_try(fault: BaseException) -> bool:
    return bool(RETRY_IF_TRANSIENT["retry_condition_fn"](None, None, Failed(data=fault)))


UNANSWERED: dict[str, boto.BotoCoreError] = {
    "NoCredentialsError": boto.NoCredentialsError(),
    "PartialCredentialsError": boto.PartialCredentialsError(provider="env", cred_var="x"),
    "ProfileNotFound": boto.ProfileNotFound(profile="x"),
    "ConfigNotFound": boto.ConfigNotFound(path="x"),
    "ConfigParseError": boto.ConfigParseError(path="x"),
    "InvalidConfigError": boto.InvalidConfigError(error_msg="x"),
    "CredentialRetrievalError": boto.CredentialRetrievalError(provider="custom-process", error_msg="x"),
    "UnauthorizedSSOTokenError": boto.UnauthorizedSSOTokenError(),
    "SSOTokenLoadError": boto.SSOTokenLoadError(error_msg="x"),
    "TokenRetrievalError": boto.TokenRetrievalError(provider="sso", error_msg="x"),
    "SSLError": boto.SSLError(endpoint_url="x", error="x"),
    "NoRegionError": boto.NoRegionError(),
    "ParamValidationError": boto.ParamValidationError(report="x"),
}
UNANSWERED_PASSING: list[boto.BotoCoreError] = [
    boto.EndpointConnectionError(endpoint_url="x"),
    boto.ConnectTimeoutError(endpoint_url="x"),
    boto.ReadTimeoutError(endpoint_url="x"),
    boto.ConnectionClosedError(endpoint_url="x"),
    boto.ProxyConnectionError(proxy_url="x"),
    boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    boto.FlexibleChecksumError(error_msg="x"),
    boto.MetadataRetrievalError(error_msg="x"),
    boto.CredentialRetrievalError(provider="iam-role", error_msg="x"),
]


@pytest.mark.parametrize("name", s3_errors.UNANSWERED)
def test_a_request_that_the_client_refuses_is_not_retried(name: str) -> None:
    fault = UNANSWERED[name]
    assert (in_one_line(fault) or "").startswith(
        f"S3 refuses Prefect's results: {s3_errors.UNANSWERED[name]} ({name}: "
    )
    assert not worth_another_try(fault)


@pytest.mark.parametrize("fault", UNANSWERED_PASSING, ids=repr)
def test_a_request_that_could_not_be_sent_is_retried(fault: boto.BotoCoreError) -> None:
    assert (in_one_line(fault) or "").startswith("storage failed: ")
    assert worth_another_try(fault)


def test_a_role_that_cannot_be_assumed_is_no_right_on_the_bucket() -> None:
    for code in ("AccessDenied", "InvalidIdentityToken", "ValidationError"):
        answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        hint = s3_errors.hint(boto.ClientError(answer, "AssumeRoleWithWebIdentity"))
        assert hint == (
            "the role cannot be assumed; check its ARN and its trust policy"
            f" (AssumeRoleWithWebIdentity answers {code}: no)"
        )


@pytest.mark.parametrize("name", ["PROFILE", "REGION", "ENDPOINT"])
def test_a_client_that_cannot_be_made_is_one_line(block: S3Bucket, name: str) -> None:
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "PROFILE": ({"profile_name": "no-such"}, "the AWS profile is not in the AWS configuration files"),
        "REGION": ({"region_name": "no region"}, "no region"),
        "ENDPOINT": (
            {"aws_client_parameters": AwsClientParameters(endpoint_url="host:9000")},
            "Invalid endpoint: host:9000",
        ),
    }
    change, message = changes[name]
    changed = block.model_copy(update={"credentials": block.credentials.model_copy(update=change)})
    with pytest.raises(SettingsError, match=f"s3://the-bucket.*: .*{message}") as caught:
        blocks.s3(changed)
    assert "\n" not in str(caught.value)


def test_the_page_has_both_tables_as_the_code_does() -> None:
    written = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for table in (s3_errors.ANSWERS, s3_errors.UNANSWERED):
        for code, line in table.items():
            assert written.get(code) == line.replace("{right}", "s3:…").replace("|", r"\|")


def test_the_ca_bundle_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the environment is named rather than one of .env, which it overrides."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ca.pem")
    hint = s3_errors.hint(boto.SSLError(endpoint_url="https://s3", error="no"))
    assert hint is not None
    assert hint.startswith(f"{s3_errors.UNANSWERED['SSLError']}; it is /etc/ca.pem here (")
