"""The resources that Terraform creates on a simulated AWS."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.infra.conftest import NAME, REGION, Stack, listed

pytestmark = pytest.mark.campaign


ROLES = ["pipeline", "execution", "worker"]


# As AWS' service authorization reference has it, these know no narrower resource.
WITHOUT_RESOURCE = {
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
    "ecs:RegisterTaskDefinition",
}


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

    def test_keep_batches_and_let_cached_results_go(self, stack: Stack, bucket: str) -> None:
        rules = stack.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        days = {
            rule["ID"]: rule["Expiration"]["Days"] for rule in rules if "Days" in rule.get("Expiration", {})
        }
        moves = {rule["ID"]: rule["Transitions"] for rule in rules if rule.get("Transitions")}
        if "raw" in bucket:
            assert (days, moves) == ({}, {})
        else:
            assert days == {"results": 60}
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
        [("pipeline", {"source-url", "warehouse-url"}), ("execution", {"prefect-api"}), ("worker", set())],
    )
    def test_read_only_the_secrets_that_they_need(self, stack: Stack, role: str, secrets: set[str]) -> None:
        readable = {
            resource
            for statement in stack.policies(f"{NAME}-{role}")
            if "secretsmanager:GetSecretValue" in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }
        assert readable == {stack.outputs["secrets"][name] for name in secrets}


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


def test_the_worker_gets_the_events_of_its_tasks(stack: Stack) -> None:
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
