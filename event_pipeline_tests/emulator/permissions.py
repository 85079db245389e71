"""Judges calls by the caller's role, as its policies and those of the resources say when the call is made.

Who has taken a role by STS, a Glue job, a function, and what Athena and Glue do for their caller, are judged. The
emulator's own credentials are the account's administrator, who may do everything that no resource denies. Roles below
the path `/unjudged/` stand for roles in accounts that were not made by the template.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.sts.models import sts_backends

from event_pipeline_tests.emulator.needs import Place, needs_of
from event_pipeline_tests.emulator.policies import (
    Need,
    PolicyNotUnderstoodError,
    Principal,
    Said,
    asked_keys,
    said_by,
    said_together,
)
from event_pipeline_tests.emulator.wire import AwsError

UNJUDGED_PATH = "/unjudged/"
_ADMINISTRATOR_ACCESS = json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
_ALWAYS = (("aws:SecureTransport", "true"),)
"""Requests to loopback count as secure."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a role."""

    role_arn: str
    name: str
    token: str = ""
    """The session token that its requests must have; those of a job or a function need none here."""

    @property
    def role(self) -> str:
        """The role's name."""
        return self.role_arn.rpartition("/")[2]

    @property
    def arn(self) -> str:
        """The session's ARN, as errors name it."""
        account = self.role_arn.split(":")[4]
        return f"arn:aws:sts::{account}:assumed-role/{self.role}/{self.name}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a role asked for."""

    role: str
    need: Need


class Judge:
    """The permissions of one account. Thread-safe."""

    def __init__(self, region: str) -> None:
        self.place = Place(DEFAULT_ACCOUNT_ID, region)
        self.asked: dict[Asked, None] = {}
        """Everything that roles asked for, in order, whether it was granted or not."""
        self.refused: list[Asked] = []
        self.not_understood: list[str] = []
        """Policies that cannot be judged: the emulator's end fails with them, whoever swallowed the error."""
        self._lock = threading.Lock()
        self._handed_out: dict[str, Session] = {}

    # -- who calls

    def session(self, access_key: str) -> Session | None:
        """Return the session of a judged role that an access key belongs to."""
        if found := self._handed_out.get(access_key):
            return found
        taken = sts_backends[self.place.account]["aws"].get_assumed_role_from_access_key(access_key)
        if taken is None or self._role(taken.role_arn) is None:
            return None
        return Session(taken.role_arn, taken.session_name, taken.session_token)

    def hand_out(self, role: str, service: str, name: str, access_key: str) -> Session | None:
        """Let a service take a role, for a Glue job or a function; None where the role is not judged.

        Raises:
            AwsError: the role's trust policy does not let the service take it.
        """
        arn = role if role.startswith("arn:") else f"arn:aws:iam::{self.place.account}:role/{role}"
        found = self._role(arn)
        if found is None:
            return None
        need = Need("sts:AssumeRole", arn, frozenset({*_ALWAYS, ("aws:SourceAccount", self.place.account)}))
        if said_by(found.assume_role_policy_document, need, Principal(service=service)) is not Said.ALLOW:
            raise AwsError(
                "AccessDeniedException", f"{service} is not authorized to assume {arn}: see its trust policy"
            )
        taken = Session(arn, name)
        self._handed_out[access_key] = taken
        return taken

    def _role(self, arn: str) -> Any:
        """Return moto's role, unless there is none or it is not judged."""
        roles = iam_backends[self.place.account]["aws"].roles.values()
        found = next((each for each in roles if each.arn == arn), None)
        return None if found is None or found.path == UNJUDGED_PATH else found

    # -- what it may do

    def check(self, session: Session, service: str, operation: str, parameters: Mapping[str, Any]) -> None:
        """Judge one call.

        Raises:
            AwsError: the role lacks a permission, or the emulator cannot judge the call.
        """
        for need in needs_of(self.place, service, operation, parameters):
            self.require(session, need)

    def require(self, session: Session, need: Need) -> None:
        """Judge one permission.

        Raises:
            AwsError: the role lacks it.
        """
        said = self._said(session, need)
        if said is not Said.ALLOW:
            raise refusal(session.arn, need, said)

    def allows(self, session: Session, need: Need) -> bool:
        """Return whether a role has a permission."""
        return self._said(session, need) is Said.ALLOW

    def _said(self, session: Session, need: Need) -> Said:
        asked = Asked(session.role, need)
        with self._lock:
            self.asked[asked] = None
        try:
            said = self.decide(session, need, self.policies_of(session.role_arn))
        except PolicyNotUnderstoodError as error:
            self.not_understood.append(f"{session.role}: {error}")
            raise AwsError("EmulatorError", f"{session.role}: {error}") from error
        if said is not Said.ALLOW:
            with self._lock:
                self.refused.append(asked)
        return said

    def policies_of(self, role_arn: str) -> tuple[str, ...]:
        """Return the documents of a role's own and attached policies; a user is the account's administrator.

        Raises:
            AwsError: there is no such role.
        """
        if ":user/" in role_arn:
            return (_ADMINISTRATOR_ACCESS,)
        role = self._role(role_arn)
        if role is None:
            raise AwsError("NoSuchEntity", f"The role with name {role_arn.rpartition('/')[2]} cannot be found.", 404)
        attached = (version for policy in role.managed_policies.values() for version in policy.versions)
        return (*role.policies.values(), *(version.document for version in attached if version.is_default))

    def decide(self, session: Session, need: Need, policies: Sequence[str]) -> Said:
        """Return what policies of a role and the resource's own say: either may allow, either may deny."""
        need = Need(need.action, need.resource, need.context | {*_ALWAYS, ("aws:SourceAccount", self.place.account)})
        found = [_said_by(document, need) for document in policies]
        if document := self._policy_of(need.resource, need.action):
            found.append(_said_by(document, need, Principal((session.arn, session.role_arn))))
        return said_together(found)

    def service_may(self, service: str, action: str, resource: str, source_arn: str) -> bool:
        """Return whether a policy of a resource lets a service act on it, for example EventBridge on a queue."""
        context = {*_ALWAYS, ("aws:SourceAccount", self.place.account), ("aws:SourceArn", source_arn)}
        if (service, action) == ("events.amazonaws.com", "sns:Publish"):
            # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html: EventBridge does not
            # support conditions in the policy of a topic, so none is met.
            context = set()
        document = self._policy_of(resource, action)
        need = Need(action, resource, frozenset(context))
        return document is not None and said_by(document, need, Principal(service=service)) is Said.ALLOW

    def check_trust(self, caller_arn: str, role_arn: str) -> None:
        """Judge whether a role lets somebody take it.

        Raises:
            AwsError: its trust policy does not name them.
        """
        role = self._role(role_arn)
        if role is None:
            return
        need = Need("sts:AssumeRole", role_arn, frozenset(_ALWAYS))
        principal = Principal((caller_arn, role_of(caller_arn)), trusted=True)
        if said_by(role.assume_role_policy_document, need, principal) is not Said.ALLOW:
            raise AwsError(
                "AccessDenied", f"User: {caller_arn} is not authorized to perform: {need} (its trust policy)", 403
            )

    def _policy_of(self, resource: str, action: str) -> str | None:
        """Return the policy of a bucket, queue or topic."""
        service, account, region = action.partition(":")[0], self.place.account, self.place.region
        if service == "s3":
            bucket = s3_backends[account]["aws"].buckets.get(resource.removeprefix("arn:aws:s3:::").split("/")[0])
            return bucket.policy.decode() if bucket is not None and bucket.policy else None
        if service == "sqs":
            queue = sqs_backends[account][region].queues.get(resource.rpartition(":")[2])
            return queue.policy if queue is not None else None
        if service == "sns":
            topic = sns_backends[account][region].topics.get(resource)
            return topic.policy if topic is not None else None
        return None

    # -- IAM's own answer

    def simulate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Answer SimulatePrincipalPolicy: the role's policies alone, as IAM does without a ResourcePolicy."""
        policies = self.policies_of(parameters["PolicySourceArn"])
        given = {
            (entry["ContextKeyName"], value)
            for entry in parameters.get("ContextEntries", ())
            for value in entry["ContextKeyValues"]
        }
        missing = sorted(asked_keys(policies) - {name for name, _ in given})
        results = []
        for action in parameters["ActionNames"]:
            for resource in parameters.get("ResourceArns", ["*"]):
                said = said_together(_said_by(each, Need(action, resource, frozenset(given))) for each in policies)
                results.append(
                    {
                        "EvalActionName": action,
                        "EvalResourceName": resource,
                        "EvalDecision": said.value,
                        "MissingContextValues": missing,
                    }
                )
        return {"EvaluationResults": results, "IsTruncated": False}


_said_by = lru_cache(maxsize=100_000)(said_by)
"""Policies change seldom and the same is asked again and again."""


def refusal(arn: str, need: Need, said: Said) -> AwsError:
    """Word a refusal as the action's service does.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    service = need.action.partition(":")[0]
    why = (
        f"with an explicit deny in a policy for the {need.action} action"
        if said is Said.DENY
        else f"because no identity-based policy allows the {need.action} action"
    )
    message = f"User: {arn} is not authorized to perform: {need} {why}"
    if service in ("s3", "iam", "sts", "cloudformation", "kms"):
        return AwsError("AccessDenied", message, 403)
    if service == "sns":
        return AwsError("AuthorizationError", message, 403)
    if service in ("sqs", "cloudwatch", "lambda"):
        return AwsError("AccessDeniedException", message, 403)
    return AwsError("AccessDeniedException", message)


def role_of(arn: str) -> str:
    """Return the role's ARN of a session's, and any other as it is."""
    head, _, session = arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:')}:role/{session.split('/')[0]}" if session else arn


def service_key() -> str:
    """Return a fake access key for a session that a service hands out."""
    return f"ASIA{secrets.token_hex(8).upper()}"


def without(documents: Iterable[str], sid: str, action: str) -> tuple[str, ...]:
    """Return policies in which a statement lacks an action; a statement without actions goes."""
    left = []
    for document in documents:
        policy = json.loads(document)
        for statement in policy["Statement"]:
            if statement.get("Sid") == sid:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                statement["Action"] = [each for each in actions if each != action]
        policy["Statement"] = [each for each in policy["Statement"] if each["Action"]]
        left.append(json.dumps(policy))
    return tuple(left)
