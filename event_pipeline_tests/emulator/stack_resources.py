"""What CloudFormation does for each type of resource, by calls to the same account that everybody else calls.

A property that is not known here, or that botocore's model does not have, fails the resource.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from botocore.exceptions import ClientError

from event_pipeline_tests.emulator.stack_template import Made

Properties = dict[str, Any]
_GONE = {
    "404", "NoSuchBucket", "NoSuchEntity", "NoSuchEntityException", "EntityNotFoundException", "NotFound",
    "ResourceNotFoundException", "ParameterNotFound", "QueueDoesNotExist", "NoSuchBucketPolicy",
    "AWS.SimpleQueueService.NonExistentQueue",
}  # fmt: skip


class ResourceFailedError(Exception):
    """A resource could not be made, changed or deleted; the message is the reason in its event."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and for what a resource is handled."""

    client: Callable[[str], Any]
    account: str
    region: str
    stack_id: str
    stack_name: str
    resource: str
    """Its name in the template."""
    token: str
    """Tells one making of it from the others."""

    @property
    def name(self) -> str:
        """A name for a resource that is given none."""
        return f"{self.stack_name}-{self.resource}-{self.token}"[:64]

    @property
    def bucket_name(self) -> str:
        """A name for a bucket that is given none."""
        return self.name.lower()[:63].rstrip("-")


class Given:
    """Properties, each of which must be taken."""

    def __init__(self, properties: Properties) -> None:
        self._left = dict(properties)

    def take(self, name: str, default: Any = None) -> Any:
        """Take one property."""
        return self._left.pop(name, default)

    def some(self, *names: str) -> Properties:
        """Take those of the named properties that are there."""
        return {name: self._left.pop(name) for name in names if name in self._left}

    def done(self) -> None:
        """Refuse what was not taken."""
        if self._left:
            raise ResourceFailedError(f"Encountered unsupported property {', '.join(sorted(self._left))}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of resource."""

    make: Callable[[Place, Properties], Made]
    delete: Callable[[Place, Made, Properties], object]
    change: Callable[[Place, Made, Properties, Properties], Made | None] | None = None
    """Gets the old and the new properties; None where every change replaces the resource."""
    replaced_by: frozenset[str] = frozenset()
    """Properties whose change replaces it; `DatabaseInput.Name` is one inside another."""

    def replaces(self, old: Properties, new: Properties) -> bool:
        """Return whether a change makes the resource anew."""
        return self.change is None or any(_at(old, path) != _at(new, path) for path in self.replaced_by)


def _at(properties: Properties, path: str) -> Any:
    name, _, rest = path.partition(".")
    return _at(properties.get(name, {}), rest) if rest else properties.get(name)


def passed_over(error: ClientError) -> bool:
    """Return whether a deletion failed only because there is nothing to delete any longer."""
    return error.response["Error"]["Code"] in _GONE


def _json(document: Any) -> str:
    return json.dumps(document)


def _tags(tags: list[dict[str, str]] | None) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags or ()}


def _attribute_text(value: Any) -> str:
    if isinstance(value, dict):
        return _json(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- S3


def _make_bucket(place: Place, properties: Properties) -> Made:
    bucket, s3 = properties.get("BucketName", place.bucket_name), place.client("s3")
    elsewhere = {} if place.region == "us-east-1" else {"LocationConstraint": place.region}
    s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": elsewhere} if elsewhere else {}))
    made = Made(bucket, {"Arn": f"arn:aws:s3:::{bucket}", "DomainName": f"{bucket}.s3.amazonaws.com"})
    try:
        _change_bucket(place, made, {}, properties)
    except Exception:
        s3.delete_bucket(Bucket=bucket)
        raise
    return made


def _change_bucket(place: Place, made: Made, old: Properties, new: Properties) -> None:
    s3, bucket, given = place.client("s3"), {"Bucket": made.reference}, Given(new)
    given.take("BucketName")
    if versioning := given.take("VersioningConfiguration"):
        s3.put_bucket_versioning(**bucket, VersioningConfiguration=versioning)
    elif "VersioningConfiguration" in old:
        s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Suspended"})
    if access := given.take("PublicAccessBlockConfiguration"):
        s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=access)
    elif "PublicAccessBlockConfiguration" in old:
        s3.delete_public_access_block(**bucket)
    if ownership := given.take("OwnershipControls"):
        s3.put_bucket_ownership_controls(**bucket, OwnershipControls=ownership)
    elif "OwnershipControls" in old:
        s3.delete_bucket_ownership_controls(**bucket)
    if encryption := given.take("BucketEncryption"):
        rules = [_encryption_rule(rule) for rule in encryption["ServerSideEncryptionConfiguration"]]
        s3.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    elif "BucketEncryption" in old:
        s3.delete_bucket_encryption(**bucket)
    if lifecycle := given.take("LifecycleConfiguration"):
        rules = [_lifecycle_rule(rule) for rule in lifecycle["Rules"]]
        s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": rules})
    elif "LifecycleConfiguration" in old:
        s3.delete_bucket_lifecycle(**bucket)
    notification = given.take("NotificationConfiguration")
    if notification or "NotificationConfiguration" in old:
        s3.put_bucket_notification_configuration(**bucket, NotificationConfiguration=_notification(notification or {}))
    if tags := given.take("Tags"):
        s3.put_bucket_tagging(**bucket, Tagging={"TagSet": tags})
    elif "Tags" in old:
        s3.delete_bucket_tagging(**bucket)
    given.done()


def _encryption_rule(rule: Properties) -> Properties:
    given = Given(rule)
    found = {"ApplyServerSideEncryptionByDefault": given.take("ServerSideEncryptionByDefault")}
    found |= given.some("BucketKeyEnabled")
    given.done()
    return found


def _lifecycle_rule(rule: Properties) -> Properties:
    given = Given(rule)
    found = {"ID": given.take("Id"), "Status": given.take("Status"), "Filter": {"Prefix": given.take("Prefix", "")}}
    expiration = {}
    if days := given.take("ExpirationInDays"):
        expiration["Days"] = days
    if given.take("ExpiredObjectDeleteMarker"):
        expiration["ExpiredObjectDeleteMarker"] = True
    found |= {"Expiration": expiration} if expiration else {}
    found |= given.some("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    given.done()
    return found


def _notification(notification: Properties) -> Properties:
    given, found = Given(notification), dict[str, Any]()
    if given.take("EventBridgeConfiguration", {}).get("EventBridgeEnabled"):
        found["EventBridgeConfiguration"] = {}
    if queues := given.take("QueueConfigurations"):
        found["QueueConfigurations"] = [
            {
                "QueueArn": each["Queue"],
                "Events": [each["Event"]],
                "Filter": {"Key": {"FilterRules": each.get("Filter", {}).get("S3Key", {}).get("Rules", [])}},
            }
            for each in queues
        ]
    given.done()
    return found


def _put_bucket_policy(place: Place, properties: Properties) -> Made:
    given = Given(properties)
    bucket, policy = given.take("Bucket"), given.take("PolicyDocument")
    given.done()
    place.client("s3").put_bucket_policy(Bucket=bucket, Policy=_json(policy))
    return Made(bucket)


# -- SQS and SNS


def _queue_attributes(properties: Properties) -> tuple[Properties, dict[str, str]]:
    attributes = {key: _attribute_text(value) for key, value in properties.items() if key not in ("QueueName", "Tags")}
    return attributes, _tags(properties.get("Tags"))


def _make_queue(place: Place, properties: Properties) -> Made:
    attributes, tags = _queue_attributes(properties)
    sqs, name = place.client("sqs"), properties.get("QueueName", place.name)
    url = sqs.create_queue(QueueName=name, Attributes=attributes, tags=tags)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return Made(url, {"Arn": arn, "QueueName": name, "QueueUrl": url})


def _change_queue(place: Place, made: Made, old: Properties, new: Properties) -> None:
    before, tags_before = _queue_attributes(old)
    attributes, tags = _queue_attributes(new)
    if lost := before.keys() - attributes.keys():
        raise ResourceFailedError(f"taking back {', '.join(sorted(lost))} of a queue is not emulated")
    sqs = place.client("sqs")
    sqs.set_queue_attributes(QueueUrl=made.reference, Attributes=attributes)
    if tags_lost := tags_before.keys() - tags.keys():
        sqs.untag_queue(QueueUrl=made.reference, TagKeys=sorted(tags_lost))
    sqs.tag_queue(QueueUrl=made.reference, Tags=tags)


def _put_queue_policy(place: Place, properties: Properties) -> Made:
    given = Given(properties)
    queues, policy = given.take("Queues"), given.take("PolicyDocument")
    given.done()
    for url in queues:
        place.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": _json(policy)})
    return Made(place.name)


def _delete_queue_policy(place: Place, made: Made, properties: Properties) -> None:
    for url in properties["Queues"]:
        place.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})


def _make_topic(place: Place, properties: Properties) -> Made:
    given, name = Given(properties), properties.get("TopicName", place.name)
    given.take("TopicName")
    attributes = {key: _attribute_text(value) for key, value in given.some("DisplayName", "KmsMasterKeyId").items()}
    tags = given.take("Tags", [])
    given.done()
    arn = place.client("sns").create_topic(Name=name, Attributes=attributes, Tags=tags)["TopicArn"]
    return Made(arn, {"TopicArn": arn, "TopicName": name})


def _change_topic(place: Place, made: Made, old: Properties, new: Properties) -> None:
    given, sns = Given(new), place.client("sns")
    given.some("TopicName", "Tags")
    for key in ("DisplayName", "KmsMasterKeyId"):
        value = given.take(key, "")
        if value or key in old:
            sns.set_topic_attributes(TopicArn=made.reference, AttributeName=key, AttributeValue=value)
    given.done()
    sns.tag_resource(ResourceArn=made.reference, Tags=new.get("Tags", []))


def _put_topic_policy(place: Place, properties: Properties) -> Made:
    given = Given(properties)
    topics, policy = given.take("Topics"), given.take("PolicyDocument")
    given.done()
    for arn in topics:
        place.client("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=_json(policy))
    return Made(place.name)


# -- IAM


def _make_role(place: Place, properties: Properties) -> Made:
    given, iam, name = Given(properties), place.client("iam"), properties.get("RoleName", place.name)
    given.take("RoleName")
    trust, policies = given.take("AssumeRolePolicyDocument"), given.take("Policies", [])
    options = given.some("Description", "Tags", "MaxSessionDuration", "Path", "PermissionsBoundary")
    given.done()
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_json(trust), **options)["Role"]
    for each in policies:
        _put_role_policy(iam, name, each)
    return Made(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def _put_role_policy(iam: Any, role: str, policy: Properties) -> None:
    given = Given(policy)
    iam.put_role_policy(
        RoleName=role, PolicyName=given.take("PolicyName"), PolicyDocument=_json(given.take("PolicyDocument"))
    )
    given.done()


def _change_role(place: Place, made: Made, old: Properties, new: Properties) -> None:
    given, iam, role = Given(new), place.client("iam"), made.reference
    given.some("RoleName", "Path")
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=_json(given.take("AssumeRolePolicyDocument")))
    iam.update_role(RoleName=role, **given.some("Description", "MaxSessionDuration"))
    policies = given.take("Policies", [])
    for each in policies:
        _put_role_policy(iam, role, each)
    for name in {each["PolicyName"] for each in old.get("Policies", ())} - {each["PolicyName"] for each in policies}:
        iam.delete_role_policy(RoleName=role, PolicyName=name)
    iam.tag_role(RoleName=role, Tags=given.take("Tags", []))
    given.done()


def _delete_role(place: Place, made: Made, properties: Properties) -> None:
    iam = place.client("iam")
    for name in iam.list_role_policies(RoleName=made.reference)["PolicyNames"]:
        iam.delete_role_policy(RoleName=made.reference, PolicyName=name)
    iam.delete_role(RoleName=made.reference)


def _make_role_policy(place: Place, properties: Properties) -> Made:
    policy = {key: value for key, value in properties.items() if key != "RoleName"}
    _put_role_policy(place.client("iam"), properties["RoleName"], policy)
    return Made(properties["PolicyName"])


def _make_managed_policy(place: Place, properties: Properties) -> Made:
    given, iam = Given(properties), place.client("iam")
    name, document = given.take("ManagedPolicyName", place.name), given.take("PolicyDocument")
    roles, options = given.take("Roles", []), given.some("Description", "Path")
    given.done()
    arn = iam.create_policy(PolicyName=name, PolicyDocument=_json(document), **options)["Policy"]["Arn"]
    for role in roles:
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    return Made(arn)


def _delete_managed_policy(place: Place, made: Made, properties: Properties) -> None:
    iam = place.client("iam")
    for role in properties.get("Roles", ()):
        iam.detach_role_policy(RoleName=role, PolicyArn=made.reference)
    iam.delete_policy(PolicyArn=made.reference)


# -- Lambda and Scheduler


def _code(code: Properties) -> Properties:
    if "ZipFile" not in code:
        return code
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("index.py", code["ZipFile"])
    return {"ZipFile": stored.getvalue()}


_FUNCTION = (
    "Description", "Runtime", "Architectures", "Handler", "Role", "Timeout", "MemorySize", "DeadLetterConfig",
    "LoggingConfig", "Environment", "EphemeralStorage",
)  # fmt: skip


def _function(properties: Properties) -> tuple[Properties, Properties, int | None, dict[str, str]]:
    """Return configuration, code, reserved concurrency and tags of a function."""
    given = Given(properties)
    given.take("FunctionName")
    found = given.some(*_FUNCTION)
    if variables := found.get("Environment", {}).get("Variables"):
        found["Environment"] = {"Variables": {key: _attribute_text(value) for key, value in variables.items()}}
    rest = given.take("Code"), given.take("ReservedConcurrentExecutions"), _tags(given.take("Tags"))
    given.done()
    return found, *rest


def _make_function(place: Place, properties: Properties) -> Made:
    functions, name = place.client("lambda"), properties.get("FunctionName", place.name)
    configuration, code, reserved, tags = _function(properties)
    made = functions.create_function(FunctionName=name, Code=_code(code), Tags=tags, **configuration)
    if reserved is not None:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)
    return Made(name, {"Arn": made["FunctionArn"]})


def _change_function(place: Place, made: Made, old: Properties, new: Properties) -> None:
    functions, function = place.client("lambda"), {"FunctionName": made.reference}
    configuration, code, reserved, tags = _function(new)
    if code != old["Code"]:
        functions.update_function_code(**function, **_code(code))
    architectures = configuration.pop("Architectures", None)
    if architectures != old.get("Architectures"):
        raise ResourceFailedError("changing the architecture of a function is not emulated")
    functions.update_function_configuration(**function, **configuration)
    if reserved is not None:
        functions.put_function_concurrency(**function, ReservedConcurrentExecutions=reserved)
    elif "ReservedConcurrentExecutions" in old:
        functions.delete_function_concurrency(**function)
    functions.tag_resource(Resource=made.attributes["Arn"], Tags=tags)


def _put_invocation(place: Place, properties: Properties) -> Made:
    place.client("lambda").put_function_event_invoke_config(**properties)
    return Made(f"{properties['FunctionName']}|{properties['Qualifier']}")


def _make_schedule(place: Place, properties: Properties) -> Made:
    name = properties.get("Name", place.name)
    arn = place.client("scheduler").create_schedule(**{**properties, "Name": name})["ScheduleArn"]
    return Made(name, {"Arn": arn})


def _change_schedule(place: Place, made: Made, old: Properties, new: Properties) -> None:
    place.client("scheduler").update_schedule(**{**new, "Name": made.reference})


# -- EventBridge, CloudWatch and its logs


def _put_rule(place: Place, name: str, properties: Properties) -> str:
    given, events = Given(properties), place.client("events")
    given.take("Name")
    targets = given.take("Targets", [])
    rule = given.some("Description", "ScheduleExpression", "State", "RoleArn")
    if "EventPattern" in properties:
        rule["EventPattern"] = _json(given.take("EventPattern"))
    given.done()
    arn: str = events.put_rule(Name=name, **rule)["RuleArn"]
    if targets:
        failed = events.put_targets(Rule=name, Targets=targets)
        if failed["FailedEntryCount"]:
            raise ResourceFailedError(f"PutTargets failed: {failed['FailedEntries']}")
    return arn


def _make_rule(place: Place, properties: Properties) -> Made:
    name = properties.get("Name", place.name)
    return Made(name, {"Arn": _put_rule(place, name, properties)})


def _change_rule(place: Place, made: Made, old: Properties, new: Properties) -> None:
    _put_rule(place, made.reference, new)
    lost = {each["Id"] for each in old.get("Targets", ())} - {each["Id"] for each in new.get("Targets", ())}
    if lost:
        place.client("events").remove_targets(Rule=made.reference, Ids=sorted(lost))


def _delete_rule(place: Place, made: Made, properties: Properties) -> None:
    if targets := [each["Id"] for each in properties.get("Targets", ())]:
        place.client("events").remove_targets(Rule=made.reference, Ids=targets)
    place.client("events").delete_rule(Name=made.reference)


def _put_alarm(place: Place, name: str, properties: Properties) -> Made:
    place.client("cloudwatch").put_metric_alarm(**{**properties, "AlarmName": name})
    return Made(name, {"Arn": f"arn:aws:cloudwatch:{place.region}:{place.account}:alarm:{name}"})


def _make_log_group(place: Place, properties: Properties) -> Made:
    name = properties.get("LogGroupName", place.name)
    tags = _tags(properties.get("Tags"))
    place.client("logs").create_log_group(logGroupName=name, **({"tags": tags} if tags else {}))
    made = Made(name, {"Arn": f"arn:aws:logs:{place.region}:{place.account}:log-group:{name}:*"})
    _change_log_group(place, made, {}, properties)
    return made


def _change_log_group(place: Place, made: Made, old: Properties, new: Properties) -> None:
    given, logs = Given(new), place.client("logs")
    given.some("LogGroupName", "Tags")
    if days := given.take("RetentionInDays"):
        logs.put_retention_policy(logGroupName=made.reference, retentionInDays=days)
    elif "RetentionInDays" in old:
        logs.delete_retention_policy(logGroupName=made.reference)
    given.done()


# -- Glue and Athena


def _make_database(place: Place, properties: Properties) -> Made:
    place.client("glue").create_database(**properties)
    return Made(properties["DatabaseInput"]["Name"])


def _delete_database(place: Place, made: Made, properties: Properties) -> None:
    glue = place.client("glue")
    # As in AWS, where a database goes with its tables; moto would leave them to the next database of the name.
    for page in glue.get_paginator("get_tables").paginate(DatabaseName=made.reference):
        for table in page["TableList"]:
            glue.delete_table(DatabaseName=made.reference, Name=table["Name"])
    glue.delete_database(Name=made.reference)


def _make_table(place: Place, properties: Properties) -> Made:
    place.client("glue").create_table(**properties)
    return Made(properties["TableInput"]["Name"])


def _make_job(place: Place, properties: Properties) -> Made:
    name = properties.get("Name", place.name)
    place.client("glue").create_job(**{**properties, "Name": name})
    return Made(name)


def _change_job(place: Place, made: Made, old: Properties, new: Properties) -> None:
    update = {key: value for key, value in new.items() if key not in ("Name", "Tags")}
    place.client("glue").update_job(JobName=made.reference, JobUpdate=update)


def _make_work_group(place: Place, properties: Properties) -> Made:
    given = Given(properties)
    name = given.take("Name")
    given.take("RecursiveDeleteOption")
    if given.take("State", "ENABLED") != "ENABLED":
        raise ResourceFailedError("a disabled workgroup is not emulated")
    place.client("athena").create_work_group(
        Name=name, Configuration=given.take("WorkGroupConfiguration"), **given.some("Description", "Tags")
    )
    given.done()
    return Made(name, {"Arn": f"arn:aws:athena:{place.region}:{place.account}:workgroup/{name}"})


def _change_work_group(place: Place, made: Made, old: Properties, new: Properties) -> None:
    given = Given(new)
    given.some("Name", "RecursiveDeleteOption", "Tags")
    configuration = dict(given.take("WorkGroupConfiguration"))
    result = configuration.pop("ResultConfiguration", {})
    updates = {**configuration, "ResultConfigurationUpdates": result}
    place.client("athena").update_work_group(
        WorkGroup=made.reference, ConfigurationUpdates=updates, **given.some("Description", "State")
    )
    given.done()


def _delete_work_group(place: Place, made: Made, properties: Properties) -> None:
    recursive = bool(properties.get("RecursiveDeleteOption"))
    place.client("athena").delete_work_group(WorkGroup=made.reference, RecursiveDeleteOption=recursive)


def _make_named_query(place: Place, properties: Properties) -> Made:
    query = place.client("athena").create_named_query(**properties)["NamedQueryId"]
    return Made(query, {"NamedQueryId": query})


# -- Systems Manager and custom resources


def _put_parameter(place: Place, properties: Properties, *, overwrite: bool = False) -> Made:
    place.client("ssm").put_parameter(**properties, Overwrite=overwrite)
    return Made(properties["Name"], {"Type": properties["Type"], "Value": properties["Value"]})


def _subscribe(place: Place, properties: Properties) -> Made:
    arn = place.client("sns").subscribe(**properties, ReturnSubscriptionArn=True)["SubscriptionArn"]
    return Made(arn)


def _custom(place: Place, request_type: str, properties: Properties, physical_id: str = "") -> Made:
    """Let the function of a custom resource do its work, as CloudFormation calls it."""
    with _AnswerBox() as box:
        request = {
            "RequestType": request_type,
            "RequestId": place.token,
            "ResponseURL": box.url,
            "StackId": place.stack_id,
            "LogicalResourceId": place.resource,
            "ResourceType": "AWS::CloudFormation::CustomResource",
            "ResourceProperties": as_strings(
                {key: value for key, value in properties.items() if key != "ServiceTimeout"}
            ),
            **({"PhysicalResourceId": physical_id} if physical_id else {}),
        }
        function = properties["ServiceToken"]
        invoked = place.client("lambda").invoke(FunctionName=function, Payload=_json(request))
        said = invoked["Payload"].read().decode()
    if not box.answers:
        raise ResourceFailedError(f"the function {function} did not answer: {said}")
    answer = json.loads(box.answers[0])
    if answer["Status"] != "SUCCESS":
        raise ResourceFailedError(f"Received response status [FAILED] from custom resource: {answer['Reason']}")
    return Made(answer["PhysicalResourceId"], answer.get("Data", {}))


def as_strings(value: Any) -> Any:
    """Return properties as the function of a custom resource gets them: CloudFormation makes every scalar a string.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes.html
    """
    if isinstance(value, dict):
        return {key: as_strings(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_strings(each) for each in value]
    return _attribute_text(value)


class _AnswerBox:
    """Takes what a custom resource's function puts to its ResponseURL."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                answers.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/answer"

    def __enter__(self) -> _AnswerBox:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _named(service: str, operation: str, parameter: str) -> Callable[[Place, Made, Properties], object]:
    """Return a deletion that is one call with the resource's reference."""
    return lambda place, made, _: getattr(place.client(service), operation)(**{parameter: made.reference})


KINDS: Mapping[str, Kind] = {
    "AWS::S3::Bucket": Kind(
        _make_bucket, _named("s3", "delete_bucket", "Bucket"), _change_bucket, frozenset({"BucketName"})
    ),
    "AWS::S3::BucketPolicy": Kind(
        _put_bucket_policy,
        _named("s3", "delete_bucket_policy", "Bucket"),
        lambda place, _, __, new: _put_bucket_policy(place, new),
        frozenset({"Bucket"}),
    ),
    "AWS::SQS::Queue": Kind(
        _make_queue, _named("sqs", "delete_queue", "QueueUrl"), _change_queue, frozenset({"QueueName"})
    ),
    "AWS::SQS::QueuePolicy": Kind(
        _put_queue_policy, _delete_queue_policy, lambda place, _, __, new: _put_queue_policy(place, new)
    ),
    "AWS::SNS::Topic": Kind(
        _make_topic, _named("sns", "delete_topic", "TopicArn"), _change_topic, frozenset({"TopicName"})
    ),
    # SNS has no topic without a policy: it goes with its topic.
    "AWS::SNS::TopicPolicy": Kind(
        _put_topic_policy, lambda *_: None, lambda place, _, __, new: _put_topic_policy(place, new)
    ),
    "AWS::SNS::Subscription": Kind(_subscribe, _named("sns", "unsubscribe", "SubscriptionArn")),
    "AWS::IAM::Role": Kind(_make_role, _delete_role, _change_role, frozenset({"RoleName", "Path"})),
    "AWS::IAM::RolePolicy": Kind(
        _make_role_policy,
        lambda place, made, properties: place.client("iam").delete_role_policy(
            RoleName=properties["RoleName"], PolicyName=made.reference
        ),
        lambda place, _, __, new: _make_role_policy(place, new),
        frozenset({"RoleName", "PolicyName"}),
    ),
    "AWS::IAM::ManagedPolicy": Kind(
        _make_managed_policy,
        _delete_managed_policy,
    ),
    "AWS::Lambda::Function": Kind(
        _make_function,
        _named("lambda", "delete_function", "FunctionName"),
        _change_function,
        frozenset({"FunctionName"}),
    ),
    "AWS::Lambda::EventInvokeConfig": Kind(
        _put_invocation,
        lambda place, _, properties: place.client("lambda").delete_function_event_invoke_config(
            FunctionName=properties["FunctionName"], Qualifier=properties["Qualifier"]
        ),
        lambda place, _, __, new: _put_invocation(place, new),
        frozenset({"FunctionName", "Qualifier"}),
    ),
    "AWS::Scheduler::Schedule": Kind(
        _make_schedule,
        _named("scheduler", "delete_schedule", "Name"),
        lambda place, made, _, new: (
            place.client("scheduler").update_schedule(**{**new, "Name": made.reference}) and None
        ),
        frozenset({"Name", "GroupName"}),
    ),
    "AWS::Events::Rule": Kind(_make_rule, _delete_rule, _change_rule, frozenset({"Name"})),
    "AWS::CloudWatch::Alarm": Kind(
        lambda place, new: _put_alarm(place, new.get("AlarmName", place.name), new),
        lambda place, made, _: place.client("cloudwatch").delete_alarms(AlarmNames=[made.reference]),
        lambda place, made, _, new: _put_alarm(place, made.reference, new),
        frozenset({"AlarmName"}),
    ),
    "AWS::Logs::LogGroup": Kind(
        _make_log_group,
        _named("logs", "delete_log_group", "logGroupName"),
        _change_log_group,
        frozenset({"LogGroupName"}),
    ),
    "AWS::Glue::Database": Kind(
        _make_database,
        _delete_database,
        lambda place, made, _, new: place.client("glue").update_database(Name=made.reference, **new) and None,
        frozenset({"CatalogId", "DatabaseInput.Name"}),
    ),
    "AWS::Glue::Table": Kind(
        _make_table,
        lambda place, made, properties: place.client("glue").delete_table(
            DatabaseName=properties["DatabaseName"], Name=made.reference
        ),
        lambda place, _, __, new: place.client("glue").update_table(**new) and None,
        frozenset({"CatalogId", "DatabaseName", "TableInput.Name"}),
    ),
    "AWS::Glue::Job": Kind(_make_job, _named("glue", "delete_job", "JobName"), _change_job, frozenset({"Name"})),
    "AWS::Athena::WorkGroup": Kind(_make_work_group, _delete_work_group, _change_work_group, frozenset({"Name"})),
    "AWS::Athena::NamedQuery": Kind(_make_named_query, _named("athena", "delete_named_query", "NamedQueryId")),
    "AWS::SSM::Parameter": Kind(
        _put_parameter,
        _named("ssm", "delete_parameter", "Name"),
        lambda place, _, __, new: _put_parameter(place, new, overwrite=True),
        frozenset({"Name"}),
    ),
    "AWS::CloudFormation::CustomResource": Kind(
        lambda place, new: _custom(place, "Create", new),
        lambda place, made, properties: _custom(place, "Delete", properties, made.reference),
        lambda place, made, _, new: _custom(place, "Update", new, made.reference),
        frozenset({"ServiceToken"}),
    ),
}
"""Type -> what is done for it. A template with any other type cannot be deployed here."""


def token_of(*parts: str) -> str:
    """Return the random-looking end of generated names: the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12].upper()
