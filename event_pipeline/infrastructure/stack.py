"""One CloudFormation stack: its state, change sets, waiting for operations, and why one failed."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from event_pipeline.engines.aws.clients import Aws, ExpectedError
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.errors import StackError, TransientError

CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM")
"""The template creates roles, which CloudFormation requires the caller to acknowledge."""
HOLDS_DATA = ("AWS::S3::Bucket", "AWS::KMS::Key")
"""Resources whose removal loses data; not the catalog, which `event-pipeline repair` recreates."""

_STACK = "AWS::CloudFormation::Stack"
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_CANCELLED = ("Resource creation cancelled", "Resource update cancelled", "Resource deletion cancelled")
_FIRST_POLL_SECONDS = 0.2
_LONGEST_POLL_SECONDS = 2.0
_POLL_GROWTH = 1.3
_CHANGE_SET_SECONDS = 600
_VALIDATION = ("ValidationError",)


class Operation(StrEnum):
    """The kind of a change set."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"


@dataclass(frozen=True, slots=True)
class StackState:
    """A stack, as CloudFormation describes it."""

    id: str
    name: str
    status: str
    reason: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    changed_at: datetime

    @property
    def is_busy(self) -> bool:
        """Whether an operation is in progress. A stack in review only waits for a change set."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def was_never_made(self) -> bool:
        """Whether it has nothing usable: it waits for its first change set, or its creation failed."""
        return self.status in ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set would do to one resource."""

    action: str
    """`Add`, `Modify`, `Remove`, `Import` or `Dynamic`."""
    resource: str
    """Its name in the template."""
    type: str
    physical_id: str
    replacement: str
    """`True`, `False` or `Conditional` for a modification, else empty."""
    policy: str
    """What happens to a removed or replaced resource: `Delete`, `Retain`, `Snapshot` or empty."""

    @property
    def loses_data(self) -> bool:
        """Whether a bucket or key is, or may be, removed or replaced."""
        return self.type in HOLDS_DATA and (self.action == "Remove" or self.replacement in ("True", "Conditional"))


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change that CloudFormation has computed but not executed."""

    name: str
    stack_id: str
    operation: Operation
    changes: tuple[Change, ...]

    @property
    def loses_data(self) -> bool:
        """Whether any of its changes may lose data."""
        return any(change.loses_data for change in self.changes)


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One event of an operation."""

    id: str
    resource: str
    type: str
    physical_id: str
    status: str
    reason: str
    token: str = ""
    """The token of the request that started the operation; empty if it had none."""

    @property
    def is_end(self) -> bool:
        """Whether it ended an operation of the whole stack."""
        return self.type == _STACK and self.physical_id != "" and not self.status.endswith("_IN_PROGRESS")

    @property
    def is_failure(self) -> bool:
        """Whether a resource failed on its own, not because another one did."""
        return self.status.endswith("_FAILED") and self.type != _STACK and not self.reason.startswith(_CANCELLED)


ShowEvent = Callable[[StackEvent], None]


class Stack:
    """A stack by name in one region. Creating the object calls nothing."""

    def __init__(self, aws: Aws, name: str, wait_minutes: int) -> None:
        self.name = name
        self.aws = aws
        self._wait_minutes = wait_minutes
        self._seen: set[str] = set()
        self._token = ""
        """The token of the last operation started here; empty before the first."""
        self._token_ended = False

    @property
    def _place(self) -> str:
        return f"stack {self.name} in {self.aws.settings.aws_region}"

    def read(self, stack_id: str = "") -> StackState | None:
        """Return its current state; None if there is no such stack. By id even a deleted stack is found."""
        try:
            answer = self._call("describe_stacks", expected=_VALIDATION, StackName=stack_id or self.name)
        except ExpectedError as error:
            if "does not exist" in str(error):
                return None
            raise StackError(f"cloudformation:DescribeStacks on {self._place}: {error}") from error
        found = answer["Stacks"][0]
        return StackState(
            id=found["StackId"],
            name=found["StackName"],
            status=found["StackStatus"],
            reason=found.get("StackStatusReason", ""),
            parameters={each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())},
            outputs={each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())},
            changed_at=found.get("LastUpdatedTime") or found["CreationTime"],
        )

    def template_body(self) -> Any:
        """Return the deployed template: YAML as text, JSON as a mapping."""
        return self._call("get_template", StackName=self.name, TemplateStage="Original")["TemplateBody"]

    def propose(
        self,
        operation: Operation,
        template: str | None,
        parameters: Mapping[str, str | None],
        bucket: str | None,
    ) -> ChangeSet | None:
        """Have CloudFormation compute a change; return None if nothing would change.

        `template` None keeps the deployed one; a parameter that is None keeps its deployed value. The template is
        passed through `bucket`, or, for None, through a temporary bucket.

        Raises:
            StackError: the template or a parameter is not valid.
        """
        name = f"event-pipeline-{uuid.uuid4().hex[:12]}"
        given = [
            {"ParameterKey": key, "UsePreviousValue": True}
            if value is None
            else {"ParameterKey": key, "ParameterValue": value}
            for key, value in parameters.items()
        ]
        try:
            with self._handed_over(template, bucket) as source:
                made = self._call(
                    "create_change_set",
                    expected=(*_VALIDATION, "InsufficientCapabilitiesException"),
                    StackName=self.name,
                    ChangeSetName=name,
                    ChangeSetType=operation.value,
                    Parameters=given,
                    Capabilities=list(CAPABILITIES),
                    **source,
                )
        except ExpectedError as error:
            raise StackError(
                f"cloudformation:CreateChangeSet on {self._place}: {error}. `event-pipeline stack deploy --help` says "
                "how to set a parameter; docs/deploy.md lists them"
            ) from error
        return self._worked_out(name, made["StackId"], operation)

    @contextmanager
    def _handed_over(self, template: str | None, bucket: str | None) -> Iterator[dict[str, Any]]:
        """Upload a template where CloudFormation can fetch it while it creates the change set."""
        if template is None:
            yield {"UsePreviousTemplate": True}
            return
        body = template.encode()
        key = f"artifacts/{hashlib.sha256(body).hexdigest()}/event_pipeline.yaml"
        if bucket is not None:
            Bucket(self.aws, bucket).write(key, body)
            yield {"TemplateURL": self._url(bucket, key)}
            return
        passing, region = f"event-pipeline-template-{uuid.uuid4().hex}", self.aws.settings.aws_region
        # S3 requires a location constraint for every region but us-east-1.
        place: dict[str, Any] = (
            {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        self.aws.call("s3", "create_bucket", f"s3://{passing}", Bucket=passing, **place)
        try:
            Bucket(self.aws, passing).write(key, body)
            yield {"TemplateURL": self._url(passing, key)}
        finally:
            self.aws.call("s3", "delete_object", f"s3://{passing}/{key}", Bucket=passing, Key=key)
            self.aws.call("s3", "delete_bucket", f"s3://{passing}", Bucket=passing)

    def _url(self, bucket: str, key: str) -> str:
        return f"{self.aws.client('s3').meta.endpoint_url}/{bucket}/{key}"

    def _worked_out(self, name: str, stack_id: str, operation: Operation) -> ChangeSet | None:
        deadline, wait = time.monotonic() + _CHANGE_SET_SECONDS, _FIRST_POLL_SECONDS
        while True:
            pages = list(
                self.aws.pages(
                    "cloudformation", "describe_change_set", self._place, StackName=stack_id, ChangeSetName=name
                )
            )
            status, reason = pages[0]["Status"], pages[0].get("StatusReason", "")
            if status == "CREATE_COMPLETE":
                changes = tuple(_change(each["ResourceChange"]) for page in pages for each in page["Changes"])
                return ChangeSet(name, stack_id, operation, changes)
            if status == "FAILED":
                self._withdraw(stack_id, name)
                if any(text in reason for text in _NO_CHANGES):
                    return None
                raise StackError(f"{self._place}: CloudFormation cannot compute the change: {reason}")
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{self._place}: the change set {name} was still {status} after {_CHANGE_SET_SECONDS} s: try again"
                )
            time.sleep(wait)
            wait = min(wait * _POLL_GROWTH, _LONGEST_POLL_SECONDS)

    def withdraw(self, change_set: ChangeSet) -> None:
        """Delete a change set that will not be executed, with the empty stack that a first one creates."""
        self._withdraw(change_set.stack_id, change_set.name)

    def _withdraw(self, stack_id: str, name: str) -> None:
        self._call("delete_change_set", StackName=stack_id, ChangeSetName=name)
        state = self.read(stack_id)
        if state is not None and state.status == "REVIEW_IN_PROGRESS":
            self._call("delete_stack", StackName=stack_id)

    def start(self, change_set: ChangeSet) -> None:
        """Execute a change set."""
        token = self._begin(change_set.stack_id)
        self._call(
            "execute_change_set",
            StackName=change_set.stack_id,
            ChangeSetName=change_set.name,
            ClientRequestToken=token,
        )

    def start_deletion(self, stack_id: str) -> None:
        """Start deleting the stack."""
        token = self._begin(stack_id)
        self._call("delete_stack", StackName=stack_id, ClientRequestToken=token)

    def start_rollback_again(self, stack_id: str) -> None:
        """Continue the rollback of an update that got stuck."""
        token = self._begin(stack_id)
        self._call("continue_update_rollback", StackName=stack_id, ClientRequestToken=token)

    def _begin(self, stack_id: str) -> str:
        """Ignore the events so far and return a token for the next operation.

        The token makes a request that boto3 retries idempotent; and every event of the operation has it, so that its
        end is not confused with the stack's earlier state.
        """
        self._seen = {event.id for event in self._events(stack_id)}
        self._token, self._token_ended = f"event-pipeline-{uuid.uuid4().hex}", False
        return self._token

    def wait(self, stack_id: str, show: ShowEvent) -> StackState:
        """Wait until no operation is in progress, showing its events, and return the stack's new state.

        Raises:
            TransientError: it took longer than the wait; CloudFormation continues.
        """
        deadline, wait = time.monotonic() + self._wait_minutes * 60, _FIRST_POLL_SECONDS
        while True:
            # CloudFormation may briefly show the state before an operation: an operation started here is over when its
            # own last event exists, and the state is read after that.
            self._show_new(stack_id, show)
            is_known = self._token_ended or not self._token
            state = self.read(stack_id)
            if state is None:
                raise StackError(f"{self._place} is gone: somebody else deleted it meanwhile")
            if is_known and not state.is_busy:
                self._show_new(stack_id, show)
                return state
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{self._place} is still {state.status} after {self._wait_minutes} minutes; CloudFormation "
                    "continues: repeat the command to wait for it, with --wait-minutes to wait longer"
                )
            time.sleep(wait)
            wait = min(wait * _POLL_GROWTH, _LONGEST_POLL_SECONDS)

    def _show_new(self, stack_id: str, show: ShowEvent) -> None:
        new = []
        for event in self._events(stack_id):
            if event.id in self._seen:
                break
            new.append(event)
        for event in reversed(new):
            self._seen.add(event.id)
            if event.is_end and event.token == self._token:
                self._token_ended = True
            show(event)

    def last_operation(self, stack_id: str) -> list[StackEvent]:
        """Return the events of the last operation, oldest first."""
        steps = []
        for event in self._events(stack_id):
            steps.append(event)
            if event.type == _STACK and event.status in (
                "CREATE_IN_PROGRESS",
                "UPDATE_IN_PROGRESS",
                "DELETE_IN_PROGRESS",
                "REVIEW_IN_PROGRESS",
            ):
                break
        return steps[::-1]

    def failure(self, state: StackState, doing: str) -> StackError:
        """Return the error with the first failed resource of the last operation, the reason, and what to do."""
        failures = [event for event in self.last_operation(state.id) if event.is_failure]
        if not failures:
            said = f": {state.reason}" if state.reason else ""
            return StackError(f"{doing} {self._place} ended {state.status}{said}. {_WAY_OUT}")
        first = failures[0]
        more = f" ({len(failures) - 1} more after it)" if len(failures) > 1 else ""
        return StackError(
            f"{doing} {self._place} ended {state.status}: {first.resource} ({first.type}) is {first.status}{more}: "
            f"{first.reason} -- {_remedy(first.reason)}. {_WAY_OUT}"
        )

    def _events(self, stack_id: str) -> Iterator[StackEvent]:
        """Yield every event, newest first."""
        pages = self.aws.pages("cloudformation", "describe_stack_events", self._place, StackName=stack_id)
        for page in pages:
            for each in page["StackEvents"]:
                yield StackEvent(
                    each["EventId"],
                    each.get("LogicalResourceId", ""),
                    each.get("ResourceType", ""),
                    each.get("PhysicalResourceId", ""),
                    each.get("ResourceStatus", ""),
                    each.get("ResourceStatusReason", ""),
                    each.get("ClientRequestToken", ""),
                )

    def _call(self, operation: str, *, expected: Sequence[str] = (), **parameters: Any) -> dict[str, Any]:
        return self.aws.call("cloudformation", operation, self._place, expected=expected, **parameters)


_WAY_OUT = "`event-pipeline stack deploy` continues from there; `event-pipeline stack status` shows the stack"


def _remedy(reason: str) -> str:
    said = reason.lower()
    if any(word in said for word in ("not authorized", "accessdenied", "access denied", "is not allowed")):
        return "the deployer lacks that permission: docs/deploy.md lists what is needed"
    if "already exists" in said:
        return "something with that name already exists: delete it, or choose another --name or NamePrefix"
    if "limit" in said or "quota" in said or "throttl" in said or "rate exceeded" in said:
        return "a limit of the account: wait a moment, or request a higher one"
    if "not empty" in said:
        return "it still holds objects: empty it, or deploy with EmptyBucketsOnDelete=true first"
    return "fix what the reason names"


def _change(change: Mapping[str, Any]) -> Change:
    return Change(
        action=change["Action"],
        resource=change["LogicalResourceId"],
        type=change["ResourceType"],
        physical_id=change.get("PhysicalResourceId", ""),
        replacement=change.get("Replacement", ""),
        policy=change.get("PolicyAction", ""),
    )
