"""Calls of roles are judged: what policies allow and deny, conditions that count, and what is said of a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.policies import Need, PolicyNotUnderstoodError, Principal, Said, said_by

ACCOUNT = "123456789012"
QUEUE = f"arn:aws:sqs:eu-central-1:{ACCOUNT}:raw"
RULE = f"arn:aws:events:eu-central-1:{ACCOUNT}:rule/new"
EVENTS = Principal(service="events.amazonaws.com")


def policy(*statements: dict[str, Any]) -> str:
    """Return a document of statements, which allow every action where they do not say otherwise."""
    whole = [{"Effect": "Allow", "Action": "*", "Resource": "*", **each} for each in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": whole})


def need(action: str, resource: str, **context: str) -> Need:
    """Return a need; `aws__SourceArn` is the condition key `aws:SourceArn`."""
    return Need(action, resource, frozenset((name.replace("__", ":"), value) for name, value in context.items()))


@pytest.mark.parametrize(
    ("document", "asked", "said"),
    [
        (policy({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/runs/*"}), "lake/runs/a", Said.ALLOW),
        (policy({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/runs/*"}), "lake/commits/a", Said.NOTHING),
        (policy({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake"}), "lake/runs/a", Said.NOTHING),
        (policy({"Action": "s3:PutObject"}), "lake/runs/a", Said.NOTHING),
        (policy({}, {"Effect": "Deny", "Action": "s3:Get*"}), "lake/runs/a", Said.DENY),
        (policy({"Condition": {"Bool": {"aws:SecureTransport": "false"}}}), "lake/runs/a", Said.NOTHING),
        (policy({"Condition": {"StringEquals": {"s3:prefix": "runs/"}}}), "lake/runs/a", Said.NOTHING),
        (
            policy({}, {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}),
            "lake/runs/a",
            Said.ALLOW,
        ),
    ],
)
def test_a_policy_says_what_iam_would_say(document: str, asked: str, said: Said) -> None:
    assert said_by(document, need("s3:GetObject", f"arn:aws:s3:::{asked}", aws__SecureTransport="true")) is said


def test_the_principal_of_a_resource_policy_counts_and_so_does_its_condition() -> None:
    allowed = {"Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    document = policy({**allowed, "Condition": {"ArnEquals": {"aws:SourceArn": RULE}}})
    asked = need("sqs:SendMessage", QUEUE, aws__SourceArn=RULE)
    assert said_by(document, asked, EVENTS) is Said.ALLOW
    assert said_by(document, asked, Principal(service="sns.amazonaws.com")) is Said.NOTHING
    assert said_by(document, asked, Principal((f"arn:aws:iam::{ACCOUNT}:role/a",))) is Said.NOTHING
    assert said_by(document, need("sqs:SendMessage", QUEUE, aws__SourceArn=f"{RULE}er"), EVENTS) is Said.NOTHING


def test_naming_the_account_trusts_its_identities_and_allows_them_nothing() -> None:
    document = policy({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}})
    role = (f"arn:aws:iam::{ACCOUNT}:role/a",)
    assert said_by(document, need("sts:AssumeRole", "*"), Principal(role, trusted=True)) is Said.ALLOW
    assert said_by(document, need("s3:GetObject", "*"), Principal(role)) is Said.NOTHING


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}}, "operator DateLessThan is not judged"),
        ({"Condition": {"StringEqualsIfExists": {"s3:prefix": "a"}}}, "operator StringEqualsIfExists is not judged"),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, "key aws:PrincipalOrgID is not judged"),
        ({"Resource": "arn:aws:s3:::lake/${aws:username}/*"}, "are not judged"),
        ({"NotPrincipal": "*"}, "NotPrincipal not judged"),
    ],
)
def test_what_cannot_be_judged_is_an_error_and_never_passed_over(statement: dict[str, Any], message: str) -> None:
    document = policy({"Action": "s3:GetObject"}, {"Action": "sns:Publish", **statement})
    with pytest.raises(PolicyNotUnderstoodError, match=message):
        said_by(document, need("s3:GetObject", "arn:aws:s3:::lake/a"))


@pytest.fixture
def aws() -> Iterator[EmulatedAws]:
    """An account with a bucket and roles that each test makes."""
    with EmulatedAws() as account:
        account.client("s3").create_bucket(
            Bucket="lake", CreateBucketConfiguration={"LocationConstraint": account.region}
        )
        account.client("s3").put_object(Bucket="lake", Key="runs/a", Body=b"a")
        yield account


def take(aws: EmulatedAws, *statements: dict[str, Any], trusts: object = f"arn:aws:iam::{ACCOUNT}:root") -> Any:
    """Make a role with these statements, take it, and return its client of S3."""
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": trusts}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    iam.put_role_policy(RoleName="reader", PolicyName="p", PolicyDocument=policy(*statements))
    session = aws.environment_of(arn)
    return boto3.client(
        "s3",
        region_name=aws.region,
        endpoint_url=aws.endpoint,
        aws_access_key_id=session["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=session["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=session["AWS_SESSION_TOKEN"],
    )


READ = {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/runs/*"}


def test_a_refused_call_does_nothing_and_names_role_action_and_resource(aws: EmulatedAws) -> None:
    s3 = take(aws, READ, {"Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::lake/runs/*"})
    assert s3.get_object(Bucket="lake", Key="runs/a")["Body"].read() == b"a"
    with pytest.raises(ClientError, match="AccessDenied") as refused:
        s3.put_object(Bucket="lake", Key="runs/b", Body=b"b")
    user = f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/test"
    assert refused.value.response["Error"]["Message"] == (
        f"User: {user} is not authorized to perform: s3:PutObject on resource: "
        "arn:aws:s3:::lake/runs/b because no identity-based policy allows the s3:PutObject action"
    )
    keys = [{"Key": "commits/a"}, {"Key": "commits/b"}]
    errors = s3.delete_objects(Bucket="lake", Delete={"Objects": keys})["Errors"]
    assert {each["Key"]: each["Code"] for each in errors} == dict.fromkeys(("commits/a", "commits/b"), "AccessDenied")
    s3.delete_objects(Bucket="lake", Delete={"Objects": [{"Key": "runs/a"}]})
    assert aws.client("s3").list_objects_v2(Bucket="lake")["KeyCount"] == 0


def test_who_may_not_list_a_bucket_is_not_told_what_is_missing(aws: EmulatedAws) -> None:
    with pytest.raises(ClientError, match="not authorized to perform: s3:ListBucket"):
        take(aws, READ).get_object(Bucket="lake", Key="runs/missing")


def test_a_replacing_put_reads_what_it_replaces(aws: EmulatedAws) -> None:
    s3 = take(aws, {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::lake/runs/*"})
    s3.put_object(Bucket="lake", Key="runs/new", Body=b"b", IfNoneMatch="*")
    with pytest.raises(ClientError, match="not authorized to perform: s3:GetObject"):
        s3.put_object(Bucket="lake", Key="runs/a", Body=b"b", IfMatch='"0cc175b9c0f1b6a831c399e269772661"')


def test_a_bucket_that_denies_wins_over_a_role_that_allows(aws: EmulatedAws) -> None:
    s3 = take(aws, READ)
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/runs/*"}
    aws.client("s3").put_bucket_policy(Bucket="lake", Policy=policy(denial))
    with pytest.raises(ClientError, match="with an explicit deny"):
        s3.get_object(Bucket="lake", Key="runs/a")


def test_a_role_is_taken_only_by_whom_it_trusts(aws: EmulatedAws) -> None:
    with pytest.raises(ClientError, match="not authorized to perform: sts:AssumeRole .*trust policy"):
        take(aws, READ, trusts=f"arn:aws:iam::{ACCOUNT}:role/somebody-else")


def test_an_access_key_without_its_session_token_is_refused(aws: EmulatedAws) -> None:
    taken = take(aws, READ)._request_signer._credentials
    s3 = boto3.Session(taken.access_key, taken.secret_key, region_name=aws.region).client(
        "s3", endpoint_url=aws.endpoint
    )
    with pytest.raises(ClientError, match="InvalidToken"):
        s3.get_object(Bucket="lake", Key="runs/a")


def test_iam_answers_what_the_judge_would_say(aws: EmulatedAws) -> None:
    take(aws, READ)
    answer = aws.client("iam").simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/reader",
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=["arn:aws:s3:::lake/runs/a"],
    )
    said = {each["EvalActionName"]: each["EvalDecision"] for each in answer["EvaluationResults"]}
    assert said == {"s3:GetObject": "allowed", "s3:PutObject": "implicitDeny"}


def test_a_policy_that_cannot_be_judged_fails_what_ran_in_the_account() -> None:
    def read() -> None:
        with EmulatedAws() as account:
            s3 = take(account, {**READ, "Condition": {"NumericLessThan": {"s3:max-keys": "10"}}})
            with pytest.raises(ClientError, match="EmulatorError"):
                s3.get_object(Bucket="lake", Key="runs/a")

    with pytest.raises(PolicyNotUnderstoodError, match="NumericLessThan"):
        read()


def test_a_call_whose_permission_nobody_wrote_down_is_an_error(aws: EmulatedAws) -> None:
    with pytest.raises(ClientError, match="does not say which permission"):
        take(aws, READ).get_bucket_website(Bucket="lake")
