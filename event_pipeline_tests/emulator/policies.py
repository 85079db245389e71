"""What policies say about one action on one resource: moto matches a statement's names, conditions are judged here.

moto ignores condition operators that it does not know and takes an `Allow` whose condition does not hold for a `Deny`.
Here what is not understood is an error of the test, never passed over: an operator, a condition key, an element.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult

_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}
CONDITION_KEYS = frozenset(
    (
        "aws:SecureTransport",
        "aws:SourceAccount",
        "aws:SourceArn",
        "cloudwatch:namespace",
        "s3:prefix",
    )
)  # fmt: skip
"""The condition keys that the emulated account knows of a request; any other would never match."""


class PolicyNotUnderstoodError(Exception):
    """A policy says what the emulated account cannot judge: to pass over it would judge wrongly."""


@dataclass(frozen=True, slots=True)
class Need:
    """One action on one resource, and what conditions may ask about the request."""

    action: str
    resource: str
    context: frozenset[tuple[str, str]] = frozenset()

    def __str__(self) -> str:
        """Write it as IAM does."""
        return f"{self.action} on resource: {self.resource}"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: an identity of the account, or a service."""

    arns: tuple[str, ...] = ()
    """The session's and the role's, or the user's."""
    service: str = ""
    trusted: bool = False
    """Whether naming the account is enough: in trust policies, where the identity's own policies come on top."""


class Said(Enum):
    """What one or several policies say."""

    ALLOW = "allowed"
    DENY = "explicitDeny"
    NOTHING = "implicitDeny"


def said_by(document: str, need: Need, principal: Principal | None = None) -> Said:
    """Return what one policy says; `principal` is given for policies of resources, which name who is meant.

    Raises:
        PolicyNotUnderstoodError: the policy holds what cannot be judged.
    """
    found = Said.NOTHING
    for statement in _statements(document):
        if principal is not None and not _is_meant(statement, principal):
            continue
        plain = {
            "Effect": statement["Effect"],
            "Action": statement["Action"],
            "Resource": statement.get("Resource", "*"),
        }
        said = IAMPolicyStatement(plain).is_action_permitted(need.action, need.resource)
        if said is PermissionResult.NEUTRAL or not _holds(statement.get("Condition", {}), dict(need.context)):
            continue
        if said is PermissionResult.DENIED:
            return Said.DENY
        found = Said.ALLOW
    return found


def said_together(found: Iterable[Said]) -> Said:
    """Return what policies say together: one that denies wins over all that allow."""
    everything = set(found)
    return next((said for said in (Said.DENY, Said.ALLOW) if said in everything), Said.NOTHING)


def asked_keys(documents: Iterable[str]) -> set[str]:
    """Return the condition keys that some policies ask about."""
    return {
        key
        for document in documents
        for statement in _statements(document)
        for keys in statement.get("Condition", {}).values()
        for key in keys
    }


@cache
def _statements(document: str) -> tuple[dict[str, Any], ...]:
    said = json.loads(document)["Statement"]
    statements = tuple(said) if isinstance(said, list) else (said,)
    for statement in statements:
        if unknown := statement.keys() - _ELEMENTS:
            raise PolicyNotUnderstoodError(f"statement {statement.get('Sid')}: {', '.join(sorted(unknown))} not judged")
        names = [name for element in ("Action", "Resource") for name in _list(statement.get(element, []))]
        if odd := [name for name in names if "?" in name or "${" in name]:
            raise PolicyNotUnderstoodError(f"statement {statement.get('Sid')}: ? and ${{}} of {odd} are not judged")
        # Check statements about other actions, too, so that a misspelt one is found at once.
        _check_condition(statement)
    return statements


def _check_condition(statement: Mapping[str, Any]) -> None:
    for operator, expected in statement.get("Condition", {}).items():
        if operator not in _OPERATORS:
            raise PolicyNotUnderstoodError(
                f"statement {statement.get('Sid')}: the condition operator {operator} is not judged, only "
                f"{', '.join(_OPERATORS)}"
            )
        if unknown := expected.keys() - CONDITION_KEYS:
            raise PolicyNotUnderstoodError(
                f"statement {statement.get('Sid')}: the condition key {', '.join(sorted(unknown))} is not judged, only "
                f"{', '.join(sorted(CONDITION_KEYS))}"
            )


def _is_meant(statement: Mapping[str, Any], principal: Principal) -> bool:
    said = statement["Principal"]
    if said == "*":
        return True
    if unknown := said.keys() - {"AWS", "Service"}:
        raise PolicyNotUnderstoodError(f"statement {statement.get('Sid')}: principals {sorted(unknown)} are not judged")
    if principal.service in _list(said.get("Service", [])):
        return True
    if principal.service:
        return False
    # An account means all of its identities; naming it allows them nothing that their own policies do not.
    whole_account = principal.trusted or statement["Effect"] == "Deny"
    return any(
        name == "*" or name in principal.arns or (name.endswith(":root") and whole_account)
        for name in _list(said.get("AWS", []))
    )


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Return whether all parts of a condition hold; a key that the request does not have holds for none of these."""
    return all(
        key in context and any(_OPERATORS[operator](str(value), context[key]) for value in _list(values))
        for operator, expected in condition.items()
        for key, values in expected.items()
    )


def _like(pattern: str, value: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value) is not None


def _equal(expected: str, value: str) -> bool:
    return expected == value


def _same_truth(expected: str, value: str) -> bool:
    return expected.lower() == value.lower()


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringLike": _like,
    # ArnEquals and ArnLike are the same to IAM.
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": _same_truth,
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
