"""Bucket policies on loopback: what is denied to requests without TLS is not denied here, because nothing leaves.

moto knows no condition keys and takes a `Deny` unless `aws:SecureTransport` for a `Deny` of everything. Requests to the
emulator count as secure, so such a statement says nothing about them; all other statements hold. Policies are stored
and shown as they were put.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

_WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}


@contextmanager
def requests_are_secure() -> Iterator[None]:
    """Let moto judge requests as if they had come with TLS."""

    def get_permission(bucket: Any, action: str, resource: str) -> Any:
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        policy = json.loads(bucket.policy)
        policy["Statement"] = [each for each in policy["Statement"] if each.get("Condition") != _WITHOUT_TLS]
        return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)

    with patch.object(FakeBucket, "get_permission", get_permission):
        yield
