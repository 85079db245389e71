"""CloudFormation that makes real resources of the emulated account: change sets, events, rollback, deletion.

Resources are made one after the other, each by the calls in `stack_resources.py`. moto's own CloudFormation is not
used: it drops what it does not know and says CREATE_COMPLETE.

As in AWS, an operation has not begun for whoever looks right after asking for it: DescribeStacks and
DescribeStackEvents show the stack as it was before for `UNAWARE_READS` more looks. Every event names the
ClientRequestToken of the request that began its operation, and a request with the same token again begins nothing
(https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ExecuteChangeSet.html, API_StackEvent.html).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from event_pipeline_tests.emulator.query_protocol import query_operation
from event_pipeline_tests.emulator.stack_resources import (
    KINDS,
    Kind,
    Place,
    Properties,
    ResourceFailedError,
    passed_over,
    token_of,
)
from event_pipeline_tests.emulator.stack_template import (
    MOST_BODY_BYTES,
    MOST_URL_BYTES,
    Made,
    StackTemplate,
    invalid,
    not_made_yet,
)
from event_pipeline_tests.emulator.wire import AwsError

_STACK = "AWS::CloudFormation::Stack"
UNAWARE_READS = 2
"""So many times DescribeStacks answers with what was before an operation that has been asked for."""
_UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
_NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."


@dataclass
class Resource:
    """One resource of a stack, as it was made."""

    name: str
    type: str
    made: Made
    properties: Properties
    planned: Properties
    """Its properties with stand-ins for what other resources give: what changes are worked out from."""
    keep: bool
    """Whether its deletion is skipped."""
    keep_always: bool
    """Whether even the rollback of its creation skips it."""
    status: str
    changed_at: datetime


@dataclass
class ChangeSet:
    """A change that was worked out."""

    name: str
    id: str
    kind: str
    template: StackTemplate
    changes: list[dict[str, Any]]
    created_at: datetime
    status: str = "CREATE_COMPLETE"
    reason: str = ""


@dataclass
class Stack:
    """One stack, deleted ones included."""

    name: str
    id: str
    status: str
    created_at: datetime
    reason: str = ""
    changed_at: datetime | None = None
    template: StackTemplate | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    """Oldest first."""
    change_sets: dict[str, ChangeSet] = field(default_factory=dict)
    before: tuple[StackTemplate, dict[str, Resource]] | None = None
    """What an update that is under way, or whose rollback got stuck, started from."""
    token: str = ""
    """That of the request which began the last operation."""
    shown: dict[str, Any] | None = None
    """The stack before that operation, as long as DescribeStacks still shows it so."""
    shown_events: int = 0
    unaware_reads: int = 0


class CloudFormation:
    """All stacks of one account. Thread-safe."""

    def __init__(self, account: str, region: str, client: Callable[[str], Any]) -> None:
        self._account = account
        self._region = region
        self._client = client
        self._lock = threading.RLock()
        self._stacks: list[Stack] = []
        self._threads: list[threading.Thread] = []

    def operations(self) -> dict[str, Any]:
        """Return the operations of the endpoint, by name."""
        works: dict[str, Callable[[dict[str, Any]], Any]] = {
            "ValidateTemplate": self._validate_template,
            "CreateChangeSet": self._create_change_set,
            "DescribeChangeSet": self._describe_change_set,
            "DeleteChangeSet": self._delete_change_set,
            "ExecuteChangeSet": self._execute_change_set,
            "DescribeStacks": self._describe_stacks,
            "DescribeStackEvents": self._describe_stack_events,
            "DescribeStackResources": self._describe_stack_resources,
            "GetTemplate": self._get_template,
            "ContinueUpdateRollback": self._continue_update_rollback,
            "DeleteStack": self._delete_stack,
        }
        return {f"cloudformation.{name}": query_operation("cloudformation", name, work) for name, work in works.items()}

    def close(self) -> None:
        """Wait until nothing is under way."""
        for thread in self._threads:
            thread.join()

    # -- templates and change sets

    def _body(self, parameters: Mapping[str, Any], stack: Stack | None) -> str:
        if parameters.get("UsePreviousTemplate"):
            if stack is None or stack.template is None:
                raise invalid("UsePreviousTemplate needs a stack that was deployed")
            return stack.template.body
        if "TemplateBody" in parameters:
            body: str = parameters["TemplateBody"]
            if len(body.encode()) > MOST_BODY_BYTES:
                raise invalid(
                    "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must "
                    f"have length less than or equal to {MOST_BODY_BYTES}"
                )
            return body
        bucket, _, key = urlsplit(parameters["TemplateURL"]).path.removeprefix("/").partition("/")
        try:
            stored = self._client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            raise invalid(f"S3 error: {error.response['Error']['Message']}") from error
        if len(stored) > MOST_URL_BYTES:
            raise invalid(f"Template may not exceed {MOST_URL_BYTES} bytes in size.")
        return str(stored.decode())

    def _template(self, body: str, given: Mapping[str, str], name: str, stack_id: str) -> StackTemplate:
        pseudo = {
            "AWS::AccountId": self._account,
            "AWS::Region": self._region,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": name,
            "AWS::StackId": stack_id,
        }
        template = StackTemplate(body, given, pseudo)
        unknown = sorted({each["Type"] for each in template.resources.values()} - KINDS.keys())
        if unknown:
            raise invalid(f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]")
        template.check()
        return template

    def _validate_template(self, parameters: dict[str, Any]) -> dict[str, Any]:
        body = self._body(parameters, None)
        return {"Parameters": [], "Description": str(len(body))}

    def _create_change_set(self, parameters: dict[str, Any]) -> dict[str, Any]:
        name, kind = parameters["StackName"], parameters.get("ChangeSetType", "UPDATE")
        with self._lock:
            stack = self._find(name)
            if kind == "CREATE" and stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise invalid(f"Stack [{name}] already exists and cannot be created again with the changeSet [...].")
            if kind == "UPDATE":
                if stack is None:
                    raise invalid(f"Stack [{name}] does not exist")
                if stack.status not in _UPDATABLE:
                    raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
            stack_id = stack.id if stack else self._arn("stack", name)
            before = dict(stack.template.parameters) if stack and stack.template else {}
            template = self._template(
                self._body(parameters, stack), _given(parameters.get("Parameters", []), before), name, stack_id
            )
            needed = any(each["Type"].startswith("AWS::IAM::") for each in template.resources.values())
            if needed and not set(parameters.get("Capabilities", ())) & {"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"}:
                raise AwsError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
            if stack is None:
                stack = Stack(name, stack_id, "REVIEW_IN_PROGRESS", datetime.now(UTC))
                self._stacks.append(stack)
                self._note(stack, "REVIEW_IN_PROGRESS", "User Initiated")
            change_set = ChangeSet(
                parameters["ChangeSetName"],
                self._arn("changeSet", parameters["ChangeSetName"]),
                kind,
                template,
                _changes(stack, template),
                datetime.now(UTC),
            )
            if not change_set.changes and stack.template and _same_outputs(stack.template, template):
                change_set.status, change_set.reason = "FAILED", _NO_CHANGES
            stack.change_sets[change_set.name] = change_set
            return {"Id": change_set.id, "StackId": stack.id}

    def _change_set(self, parameters: dict[str, Any]) -> tuple[Stack, ChangeSet]:
        stack = self._found(parameters["StackName"])
        name = parameters["ChangeSetName"]
        for each in stack.change_sets.values():
            if name in (each.name, each.id):
                return stack, each
        raise AwsError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", 404)

    def _describe_change_set(self, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            stack, change_set = self._change_set(parameters)
            return {
                "ChangeSetName": change_set.name,
                "ChangeSetId": change_set.id,
                "StackId": stack.id,
                "StackName": stack.name,
                "CreationTime": change_set.created_at,
                "ExecutionStatus": "AVAILABLE" if change_set.status == "CREATE_COMPLETE" else "UNAVAILABLE",
                "Status": change_set.status,
                "StatusReason": change_set.reason or None,
                "Changes": [{"Type": "Resource", "ResourceChange": each} for each in change_set.changes],
            }

    def _delete_change_set(self, parameters: dict[str, Any]) -> None:
        with self._lock:
            stack, change_set = self._change_set(parameters)
            del stack.change_sets[change_set.name]

    def _execute_change_set(self, parameters: dict[str, Any]) -> None:
        with self._lock:
            if self._is_repeated(self._found(parameters["StackName"]), parameters):
                return
            stack, change_set = self._change_set(parameters)
            if change_set.status != "CREATE_COMPLETE" or stack.status.endswith("_IN_PROGRESS") != (
                change_set.kind == "CREATE"
            ):
                raise AwsError("InvalidChangeSetStatus", f"ChangeSet [{change_set.name}] cannot be executed")
            stack.change_sets.clear()
            verb = change_set.kind
            stack.before = (stack.template, dict(stack.resources)) if stack.template else None
            self._ask_for(stack, parameters)
            self._set(stack, f"{verb}_IN_PROGRESS", "User Initiated")
        self._begin(self._carry_out, stack, change_set.template, verb)

    # -- what is there

    def _describe_stacks(self, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if name := parameters.get("StackName"):
                return {"Stacks": [_seen(self._found(name))]}
            return {"Stacks": [_described(each) for each in self._stacks if each.status != "DELETE_COMPLETE"]}

    def _describe_stack_events(self, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            stack = self._found(parameters["StackName"])
            known = stack.shown_events if stack.unaware_reads else len(stack.events)
            events = stack.events[:known][::-1]
        start = int(parameters.get("NextToken", 0))
        more = {"NextToken": str(start + 100)} if start + 100 < len(events) else {}
        return {"StackEvents": events[start : start + 100], **more}

    def _describe_stack_resources(self, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            stack = self._found(parameters["StackName"])
            return {
                "StackResources": [
                    {
                        "StackName": stack.name,
                        "StackId": stack.id,
                        "LogicalResourceId": each.name,
                        "PhysicalResourceId": each.made.reference,
                        "ResourceType": each.type,
                        "Timestamp": each.changed_at,
                        "ResourceStatus": each.status,
                    }
                    for each in stack.resources.values()
                ]
            }

    def _get_template(self, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            stack = self._found(parameters["StackName"])
            return {"TemplateBody": stack.template.body if stack.template else "{}"}

    # -- operations that take their time

    def _continue_update_rollback(self, parameters: dict[str, Any]) -> None:
        with self._lock:
            stack = self._found(parameters["StackName"])
            if self._is_repeated(stack, parameters):
                return
            if stack.status != "UPDATE_ROLLBACK_FAILED":
                raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not continue a rollback.")
            self._ask_for(stack, parameters)
            self._set(stack, "UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")
        self._begin(self._roll_back_update, stack)

    def _delete_stack(self, parameters: dict[str, Any]) -> None:
        with self._lock:
            stack = self._find(parameters["StackName"])
            if stack is None or stack.status == "DELETE_COMPLETE" or self._is_repeated(stack, parameters):
                return
            if stack.status.endswith("_IN_PROGRESS") and stack.status not in ("REVIEW_IN_PROGRESS",):
                raise invalid(f"Stack [{stack.id}] cannot be deleted while in status {stack.status}")
            self._ask_for(stack, parameters)
            self._set(stack, "DELETE_IN_PROGRESS", "User Initiated")
        self._begin(self._take_away, stack)

    def _is_repeated(self, stack: Stack, parameters: Mapping[str, Any]) -> bool:
        token = parameters.get("ClientRequestToken")
        return bool(token) and token == stack.token

    def _ask_for(self, stack: Stack, parameters: Mapping[str, Any]) -> None:
        """Keep what is shown until the operation is seen, and the token that its events name."""
        stack.shown, stack.shown_events, stack.unaware_reads = _described(stack), len(stack.events), UNAWARE_READS
        stack.token = parameters.get("ClientRequestToken", "")

    def _begin(self, work: Callable[..., None], stack: Stack, *arguments: Any) -> None:
        def watched() -> None:
            try:
                work(stack, *arguments)
            except Exception as error:
                # A fault of the emulator: whoever waits must see it, and the thread has no other way to report it.
                self._set(stack, "DELETE_FAILED", f"the emulator failed: {type(error).__name__}: {error}")

        thread = threading.Thread(target=watched, name=stack.name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _carry_out(self, stack: Stack, template: StackTemplate, verb: str) -> None:
        replaced: list[Resource] = []
        try:
            for name in template.order():
                self._bring_about(stack, template, name, replaced)
            outputs = template.outputs(lambda name: stack.resources[name].made)
        except (ResourceFailedError, AwsError) as error:
            reason = str(error)
            if verb == "CREATE":
                self._set(stack, "ROLLBACK_IN_PROGRESS", reason)
                stack.template = template
                self._roll_back_creation(stack)
            else:
                self._set(stack, "UPDATE_ROLLBACK_IN_PROGRESS", reason)
                self._roll_back_update(stack)
            return
        gone = [each for name, each in stack.resources.items() if name not in template.resources]
        if replaced or gone:
            self._set(stack, f"{verb}_COMPLETE_CLEANUP_IN_PROGRESS")
            order = stack.template.order() if stack.template else []
            for each in [*replaced, *sorted(gone, key=lambda each: -order.index(each.name))]:
                self._delete(stack, each)
                if each in gone:
                    del stack.resources[each.name]
        with self._lock:
            stack.template, stack.outputs, stack.before = template, outputs, None
            self._set(stack, f"{verb}_COMPLETE")

    def _bring_about(self, stack: Stack, template: StackTemplate, name: str, replaced: list[Resource]) -> None:
        """Make or change one resource so that it is as the template says."""
        definition, there = template.resources[name], stack.resources.get(name)
        type_, policy = definition["Type"], definition.get("DeletionPolicy", "Delete")
        properties = template.properties(name, lambda other: stack.resources[other].made)
        keep, keep_always = policy != "Delete", policy == "Retain"
        planned = template.properties(name, not_made_yet)
        if there is not None and there.type == type_ and there.properties == properties:
            there.planned, there.keep, there.keep_always = planned, keep, keep_always
            return
        kind = KINDS[type_]
        anew = there is None or there.type != type_ or kind.replaces(there.properties, properties)
        verb = "CREATE" if there is None else "UPDATE"
        place = self._place(stack, name)
        self._note_resource(stack, name, type_, f"{verb}_IN_PROGRESS", there.made.reference if there else "")
        try:
            if anew or there is None:
                made = kind.make(place, properties)
            else:
                made = _changed(kind, place, there, properties)
        except Exception as error:
            self._note_resource(stack, name, type_, f"{verb}_FAILED", "", _reason(error))
            raise ResourceFailedError(f"The following resource(s) failed to {verb.lower()}: [{name}].") from error
        if there is not None and anew:
            replaced.append(there)
        stack.resources[name] = Resource(
            name,
            type_,
            made,
            properties,
            planned,
            keep,
            keep_always,
            f"{verb}_COMPLETE",
            datetime.now(UTC),
        )
        self._note_resource(stack, name, type_, f"{verb}_COMPLETE", made.reference)

    def _roll_back_creation(self, stack: Stack) -> None:
        failed = False
        for each in reversed(list(stack.resources.values())):
            if each.keep_always:
                self._note_resource(stack, each.name, each.type, "DELETE_SKIPPED", each.made.reference)
                del stack.resources[each.name]
            elif self._delete(stack, each, whatever_policy=True):
                del stack.resources[each.name]
            else:
                failed = True
        self._set(stack, "ROLLBACK_FAILED" if failed else "ROLLBACK_COMPLETE")

    def _roll_back_update(self, stack: Stack) -> None:
        assert stack.before is not None
        template, resources = stack.before
        replaced: list[Resource] = []
        for name, before in resources.items():
            now = stack.resources.get(name)
            if now is None or now.properties == before.properties:
                continue
            self._note_resource(stack, name, before.type, "UPDATE_IN_PROGRESS", before.made.reference)
            try:
                if now.made.reference == before.made.reference:
                    _changed(KINDS[before.type], self._place(stack, name), now, before.properties)
                else:
                    replaced.append(now)
            except Exception as error:
                self._note_resource(stack, name, before.type, "UPDATE_FAILED", before.made.reference, _reason(error))
                self._set(stack, "UPDATE_ROLLBACK_FAILED", f"The following resource(s) failed to update: [{name}].")
                return
            stack.resources[name] = before
            self._note_resource(stack, name, before.type, "UPDATE_COMPLETE", before.made.reference)
        self._set(stack, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        new = [each for name, each in stack.resources.items() if name not in resources]
        for each in [*replaced, *reversed(new)]:
            self._delete(stack, each, whatever_policy=not each.keep_always)
            if each in new:
                del stack.resources[each.name]
        with self._lock:
            stack.template, stack.before = template, None
            self._set(stack, "UPDATE_ROLLBACK_COMPLETE")

    def _take_away(self, stack: Stack) -> None:
        order = stack.template.order() if stack.template else []
        failed = []
        for each in sorted(stack.resources.values(), key=lambda each: -order.index(each.name)):
            if self._delete(stack, each):
                del stack.resources[each.name]
            else:
                failed.append(each.name)
        if failed:
            self._set(stack, "DELETE_FAILED", f"The following resource(s) failed to delete: [{', '.join(failed)}].")
        else:
            self._set(stack, "DELETE_COMPLETE")

    def _delete(self, stack: Stack, resource: Resource, *, whatever_policy: bool = False) -> bool:
        """Delete one resource, or skip it when it is to be kept; tell whether the stack is rid of it."""
        reference = resource.made.reference
        if resource.keep and not whatever_policy:
            self._note_resource(stack, resource.name, resource.type, "DELETE_SKIPPED", reference)
            return True
        self._note_resource(stack, resource.name, resource.type, "DELETE_IN_PROGRESS", reference)
        try:
            KINDS[resource.type].delete(self._place(stack, resource.name), resource.made, resource.properties)
        except Exception as error:
            if not (isinstance(error, ClientError) and passed_over(error)):
                self._note_resource(stack, resource.name, resource.type, "DELETE_FAILED", reference, _reason(error))
                return False
        self._note_resource(stack, resource.name, resource.type, "DELETE_COMPLETE", reference)
        return True

    # -- inside

    def _place(self, stack: Stack, resource: str) -> Place:
        token = token_of(stack.id, resource, secrets.token_hex(4))
        return Place(self._client, self._account, self._region, stack.id, stack.name, resource, token)

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:cloudformation:{self._region}:{self._account}:{kind}/{name}/{secrets.token_hex(16)}"

    def _find(self, name: str) -> Stack | None:
        """Return a stack by its id, or by its name unless it is deleted."""
        for stack in reversed(self._stacks):
            if name == stack.id or (name == stack.name and stack.status != "DELETE_COMPLETE"):
                return stack
        return None

    def _found(self, name: str) -> Stack:
        stack = self._find(name)
        if stack is None:
            raise invalid(f"Stack with id {name} does not exist")
        return stack

    def _set(self, stack: Stack, status: str, reason: str = "") -> None:
        with self._lock:
            stack.status, stack.reason, stack.changed_at = status, reason, datetime.now(UTC)
            self._note(stack, status, reason)

    def _note(self, stack: Stack, status: str, reason: str) -> None:
        self._note_resource(stack, stack.name, _STACK, status, stack.id, reason)

    def _note_resource(
        self, stack: Stack, name: str, kind: str, status: str, physical_id: str, reason: str = ""
    ) -> None:
        with self._lock:
            stack.events.append(
                {
                    "StackId": stack.id,
                    "EventId": secrets.token_hex(8),
                    "StackName": stack.name,
                    "LogicalResourceId": name,
                    "PhysicalResourceId": physical_id,
                    "ResourceType": kind,
                    "Timestamp": datetime.now(UTC),
                    "ResourceStatus": status,
                    "ResourceStatusReason": reason or None,
                    "ClientRequestToken": stack.token or None,
                }
            )


def _given(parameters: list[dict[str, Any]], before: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a request's parameters."""
    values = {}
    for each in parameters:
        name = each["ParameterKey"]
        if each.get("UsePreviousValue"):
            if name not in before:
                raise invalid(f"Parameter '{name}' has no previous value")
            values[name] = before[name]
        else:
            values[name] = each["ParameterValue"]
    return values


def _changes(stack: Stack, template: StackTemplate) -> list[dict[str, Any]]:
    """Return what a template would change, as DescribeChangeSet shows it."""
    found, replaced = [], set[str]()
    for name in template.order():
        definition = template.resources[name]
        there = stack.resources.get(name)
        common = {"LogicalResourceId": name, "ResourceType": definition["Type"]}
        if there is None:
            found.append({"Action": "Add", **common})
            continue
        planned, kind = template.properties(name, not_made_yet), KINDS[definition["Type"]]
        touched = bool(template.needs(name) & replaced)
        if planned == there.planned and not touched:
            continue
        anew = there.type != definition["Type"] or (planned != there.planned and kind.replaces(there.planned, planned))
        if anew:
            replaced.add(name)
        replacement = "True" if anew else "Conditional" if planned == there.planned else "False"
        common["PhysicalResourceId"] = there.made.reference
        found.append({"Action": "Modify", "Replacement": replacement, **common})
    for name, there in stack.resources.items():
        if name not in template.resources:
            policy = {"PolicyAction": "Retain" if there.keep else "Delete"}
            physical = {"PhysicalResourceId": there.made.reference}
            found.append(
                {"Action": "Remove", "LogicalResourceId": name, "ResourceType": there.type, **policy, **physical}
            )
    return found


def _same_outputs(old: StackTemplate, new: StackTemplate) -> bool:
    return old.outputs(not_made_yet) == new.outputs(not_made_yet)


def _changed(kind: Kind, place: Place, there: Resource, properties: Properties) -> Made:
    assert kind.change is not None
    return kind.change(place, there.made, there.properties, properties) or there.made


def _reason(error: Exception) -> str:
    if isinstance(error, ClientError):
        said = error.response["Error"]
        return f"{said.get('Message', '')} (Service: {error.operation_name}; Error Code: {said['Code']})"
    if isinstance(error, ResourceFailedError | AwsError | BotoCoreError):
        return str(error)
    return f"the emulator failed: {type(error).__name__}: {error}"


def _seen(stack: Stack) -> dict[str, Any]:
    """Return a stack as somebody who looks now sees it."""
    if stack.unaware_reads and stack.shown is not None:
        stack.unaware_reads -= 1
        return stack.shown
    return _described(stack)


def _described(stack: Stack) -> dict[str, Any]:
    template = stack.template
    return {
        "StackId": stack.id,
        "StackName": stack.name,
        "CreationTime": stack.created_at,
        "LastUpdatedTime": stack.changed_at,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason or None,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in (template.parameters if template else {}).items()
        ],
        "Outputs": stack.outputs,
    }
