"""What Terraform makes on a server that stands for AWS, seen as its users see it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from moto.core.authorization import enable_iam_authentication
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters

from pipeline.errors import ObjectMissing
from tasks import blocks
from tests.infra.conftest import REGION, Stack

pytestmark = pytest.mark.campaign

NAME = "totesys-dev"
ROLES = ["pipeline", "execution", "worker"]
# As AWS' service authorization reference has it, these know no narrower resource.
WITHOUT_RESOURCE = {
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
    "ecs:RegisterTaskDefinition",
}


def listed(value: str | list[str]) -> list[str]:
    """An element of a policy, which may be one or many."""
    return [value] if isinstance(value, str) else value


@pytest.fixture(params=["raw", "processed"])
def bucket(stack: Stack, request: pytest.FixtureRequest) -> str:
    """The name of one of the buckets."""
    uri = re.search(f"TOTESYS_{request.param.upper()}_URI=(.*)", stack.outputs["dotenv"])
    assert uri
    return urlsplit(uri[1]).netloc


def test_a_second_plan_changes_nothing(stack: Stack) -> None:
    assert "Apply complete!" in stack.first
    again = stack.terraform("plan", "-no-color", "-detailed-exitcode")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "No changes." in again.stdout


def test_names_tell_the_environment(stack: Stack) -> None:
    resources = json.loads(stack.terraform.done("show", "-json"))["values"]["root_module"]["resources"]
    named = [
        resource["values"]["name"]
        for resource in resources
        if resource["mode"] == "managed"
        and resource["type"] not in {"aws_iam_role_policy", "aws_ecs_service"}
        if resource["values"].get("name")
    ]
    assert len(named) > 10
    assert [name for name in named if not name.removeprefix("alias/").startswith(NAME)] == []


class TestBuckets:
    def test_are_closed_to_the_public(self, stack: Stack, bucket: str) -> None:
        s3 = stack.client("s3")
        access = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert list(access.values()) == [True] * 4
        (rule,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        assert rule == {"ObjectOwnership": "BucketOwnerEnforced"}

    def test_encrypt_by_a_key_that_rotates(self, stack: Stack, bucket: str) -> None:
        found = stack.client("s3").get_bucket_encryption(Bucket=bucket)
        (rule,) = found["ServerSideEncryptionConfiguration"]["Rules"]
        how = rule["ApplyServerSideEncryptionByDefault"]
        assert (how["SSEAlgorithm"], rule["BucketKeyEnabled"]) == ("aws:kms", True)
        assert stack.client("kms").get_key_rotation_status(KeyId=how["KMSMasterKeyID"])["KeyRotationEnabled"]

    def test_keep_versions(self, stack: Stack, bucket: str) -> None:
        assert stack.client("s3").get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"

    def test_refuse_plain_http(self, stack: Stack, bucket: str) -> None:
        policy = json.loads(stack.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])
        (only_tls,) = [statement for statement in policy["Statement"] if statement["Sid"] == "OnlyTLS"]
        assert (only_tls["Effect"], only_tls["Principal"], only_tls["Action"]) == ("Deny", "*", "s3:*")
        assert only_tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert set(only_tls["Resource"]) == {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"}

    def test_clean_up_after_killed_runs(self, stack: Stack, bucket: str) -> None:
        rules = stack.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        (everywhere,) = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
        assert everywhere["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
        assert everywhere["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
        assert everywhere["Status"] == "Enabled"
        assert not everywhere.get("Filter", {}).get("Prefix")

    def test_keep_raw_batches_and_let_processed_ones_go(self, stack: Stack, bucket: str) -> None:
        rules = stack.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        days = {
            rule["ID"]: rule["Expiration"]["Days"] for rule in rules if "Days" in rule.get("Expiration", {})
        }
        moves = {rule["ID"]: rule["Transitions"] for rule in rules if rule.get("Transitions")}
        if "raw" in bucket:
            assert (days, moves) == ({}, {})
        else:
            assert days["results"] < days["loaded"]
            assert moves == {"loaded": [{"Days": 30, "StorageClass": "STANDARD_IA"}]}


class TestRoles:
    @pytest.mark.parametrize("role", ROLES)
    def test_name_what_they_may_act_on(self, stack: Stack, role: str) -> None:
        for statement in stack.policies(f"{NAME}-{role}"):
            assert statement["Effect"] == "Allow"
            assert not [action for action in listed(statement["Action"]) if "*" in action]
            if "*" in listed(statement["Resource"]):
                assert set(listed(statement["Action"])) <= WITHOUT_RESOURCE

    @pytest.mark.parametrize("role", ROLES)
    def test_are_for_tasks_alone(self, stack: Stack, role: str) -> None:
        found = stack.client("iam").get_role(RoleName=f"{NAME}-{role}")["Role"]
        (trust,) = found["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}

    def test_the_worker_passes_on_two_roles(self, stack: Stack) -> None:
        passed = [s for s in stack.policies(f"{NAME}-worker") if "iam:PassRole" in listed(s["Action"])]
        (roles,) = [statement["Resource"] for statement in passed]
        deployment = stack.outputs["deployment"]
        assert set(roles) == {deployment["task_role_arn"], deployment["execution_role_arn"]}

    @pytest.mark.parametrize(
        ("role", "secrets"),
        [
            ("pipeline", {"source-url", "warehouse-url"}),
            ("execution", {"prefect-api"}),
            ("worker", set()),
        ],
    )
    def test_read_only_the_secrets_that_they_need(self, stack: Stack, role: str, secrets: set[str]) -> None:
        readable = {
            resource
            for statement in stack.policies(f"{NAME}-{role}")
            if "secretsmanager:GetSecretValue" in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }
        assert readable == {stack.outputs["secrets"][name] for name in secrets}


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
    """Its rights in action. The server cannot evaluate conditions, so they are left out."""

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
        file = place.write_rows("orders/batch=1", rows.schema, rows.to_batches(100))
        assert file
        assert place.dataset([file]).to_table().num_rows == 20_000
        place.write_text("_manifests/one.json", "{}")
        assert place.list("_manifests") == ["_manifests/one.json"]
        assert place.read_text("_manifests/one.json") == "{}"
        with pytest.raises(ObjectMissing):
            place.read_text("_manifests/two.json")
        block.write_path("_results/one", b"{}")
        assert block.read_path("_results/one") == b"{}"

    @pytest.mark.parametrize(
        "attempt",
        [
            lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="totesys/_manifests/one.json"),
            lambda s3, bucket: s3.put_object(Bucket=bucket, Key="elsewhere", Body=b""),
            lambda s3, bucket: s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
            ),
            lambda s3, bucket: s3.list_buckets(),
        ],
        ids=["delete", "other prefix", "versioning", "other buckets"],
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


def test_secrets_are_empty(stack: Stack) -> None:
    for arn in stack.outputs["secrets"].values():
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            stack.client("secretsmanager").get_secret_value(SecretId=arn)


def test_images_are_scanned_and_never_replaced(stack: Stack) -> None:
    (repository,) = stack.client("ecr").describe_repositories(repositoryNames=[NAME])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


def test_tasks_can_only_go_out(stack: Stack) -> None:
    (group,) = stack.outputs["deployment"]["network"]["securityGroups"]
    rules = stack.client("ec2").describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}]
    )["SecurityGroupRules"]
    assert {(rule["IsEgress"], rule["FromPort"], rule["ToPort"]) for rule in rules} == {
        (True, 443, 443),
        (True, 5432, 5432),
    }


def test_the_worker_knows_secrets_by_name_alone(stack: Stack) -> None:
    ecs = stack.client("ecs")
    (service,) = ecs.describe_services(cluster=NAME, services=["worker"])["services"]
    assert service["desiredCount"] == 1
    task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    blocks, worker = task["containerDefinitions"]
    settings = {variable["name"]: variable["value"] for variable in blocks["environment"]}
    assert settings["TOTESYS_ENVIRONMENT"] == "shop"
    assert settings["TOTESYS_SOURCE_URL"] == f"{NAME}/source-url"
    assert settings["TOTESYS_WAREHOUSE_URL"] == f"{NAME}/warehouse-url"
    key = {"name": "PREFECT_API_KEY", "valueFrom": stack.outputs["secrets"]["prefect-api"]}
    assert blocks["secrets"] == worker["secrets"] == [key]
    assert worker["dependsOn"] == [{"containerName": "blocks", "condition": "SUCCESS"}]


def test_silence_and_failures_raise_alarms(stack: Stack) -> None:
    topic = f"arn:aws:sns:{REGION}:123456789012:{NAME}-alarms"
    cloudwatch, logs, sns = (stack.client(service) for service in ("cloudwatch", "logs", "sns"))
    alarms = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms()["MetricAlarms"]}
    silent, failed = alarms[f"{NAME}-no-successful-run"], alarms[f"{NAME}-run-failed"]
    assert silent["TreatMissingData"] == "breaching"
    assert silent["Period"] * silent["EvaluationPeriods"] == 30 * 60
    assert failed["TreatMissingData"] == "notBreaching"
    filters = logs.describe_metric_filters(logGroupName=stack.outputs["deployment"]["log_group"])
    counted = {
        (made["metricNamespace"], made["metricName"])
        for found in filters["metricFilters"]
        for made in found["metricTransformations"]
    }
    assert counted == {(alarm["Namespace"], alarm["MetricName"]) for alarm in (silent, failed)}
    assert silent["AlarmActions"] == failed["AlarmActions"] == [topic]
    (subscription,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "data-team@example.org")


def test_the_worker_hears_what_becomes_of_tasks(stack: Stack) -> None:
    """Prefect's worker reads this queue; what it needs is an event of EventBridge as the body."""
    events = stack.client("events")
    rule = events.describe_rule(Name=f"{NAME}-tasks")
    assert rule["State"] == "ENABLED"
    assert json.loads(rule["EventPattern"]) == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {"clusterArn": [stack.outputs["deployment"]["cluster"]]},
    }
    (target,) = events.list_targets_by_rule(Rule=f"{NAME}-tasks")["Targets"]
    assert target["Arn"] == f"arn:aws:sqs:{REGION}:123456789012:{NAME}-tasks"
