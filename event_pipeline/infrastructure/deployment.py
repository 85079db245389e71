"""Deploys, compares and deletes the stack, starting from whatever an earlier attempt left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from event_pipeline.engines.aws.clients import ExpectedError
from event_pipeline.errors import DataLossRefusedError, StackError, TransientError
from event_pipeline.infrastructure.errors import StackOptionError
from event_pipeline.infrastructure.shipment import GENERATOR_KEY, KEY_PARAMETERS, Shipment, pack
from event_pipeline.infrastructure.stack import ChangeSet, Operation, ShowEvent, Stack, StackEvent, StackState
from event_pipeline.infrastructure.template import Template

ARTIFACTS_BUCKET = "ArtifactsBucket"
EXISTING_ARTIFACTS_BUCKET = "ExistingArtifactsBucket"
EMPTY_BUCKETS = "EmptyBucketsOnDelete"

_DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
_MOST_RECOVERIES = 5
"""Unfinished operations that a deployment waits for or undoes; more mean that somebody else is changing the stack."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user's request."""

    parameters: Mapping[str, str]
    """Name -> value; all others keep their deployed value, or their default."""
    generator: bool | None
    """None: as deployed; off in a new stack."""
    wheel_folder: Path
    """Folder of the Glue job's wheels."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks through which a deployment reports."""

    say: Callable[[str], None]
    """Called with a permanent line."""
    show: ShowEvent
    """Called with a CloudFormation event."""


Approve = Callable[[ChangeSet], None]
"""Shows a change and returns if it is approved; raises otherwise."""


def deploy(stack: Stack, template: Template, wanted: Wanted, approve: Approve, hooks: Hooks) -> StackState:
    """Create or update the stack, upload its artifacts, and return its new state.

    Idempotent; after a failure or an interruption it continues from the current state.

    Raises:
        StackOptionError: a parameter is not in the template, or cannot be set by users.
        StackError: CloudFormation refused or failed; the message has the first failed resource.
        TransientError: it takes longer than the wait.
    """
    _check_parameters(template, wanted.parameters)
    state = settle(stack, hooks)
    shipment = _pack(state, wanted)
    bucket = _artifacts_bucket(state, wanted.parameters)
    if bucket is None:
        # A function cannot be created before its code is in the bucket, and the bucket is part of the stack.
        without_generator = {**wanted.parameters, **shipment.parameters(), GENERATOR_KEY: ""}
        if shipment.generator:
            hooks.say("first creating the stack without the generator, whose code goes into a bucket of the stack")
        state = _apply(stack, template, state, without_generator, approve, hooks, lambda: None)
        bucket = state.outputs.get(ARTIFACTS_BUCKET, "")
        if not bucket:
            raise StackError(
                f"the stack {stack.name} has no output {ARTIFACTS_BUCKET}: it was deployed with another template"
            )
        _upload(shipment, stack, bucket, hooks)
        if not shipment.generator:
            return state
    place = bucket
    parameters = {**wanted.parameters, **shipment.parameters()}
    return _apply(stack, template, state, parameters, approve, hooks, lambda: _upload(shipment, stack, place, hooks))


def compare(stack: Stack, template: Template, wanted: Wanted) -> ChangeSet | None:
    """Return what `deploy` would change, or None for nothing, without changing anything.

    Raises:
        StackError: the stack is in a state that `deploy` must repair first.
        TransientError: an operation is in progress.
    """
    _check_parameters(template, wanted.parameters)
    state = stack.read()
    if state is not None and state.is_busy:
        raise TransientError(f"stack {stack.name} is {state.status}: try again when that is over")
    if state is not None and (_must_be_deleted(state) or state.status == "UPDATE_ROLLBACK_FAILED"):
        raise StackError(f"stack {stack.name} is {state.status}: `event-pipeline stack deploy` repairs that first")
    parameters = {**wanted.parameters, **_pack(state, wanted).parameters()}
    change_set = _propose(stack, template, state, parameters)
    if change_set is not None:
        stack.withdraw(change_set)
    return change_set


def destroy(
    stack: Stack, approve: Callable[[StackState, bool], None], hooks: Hooks, *, delete_data: bool
) -> list[StackEvent]:
    """Delete the stack and return the events of skipped resources that still exist. Data stays unless requested.

    `approve` gets the stack and whether its data is deleted, too; it returns if that is approved.

    Raises:
        DataLossRefusedError: the stack would delete its data with it, and `delete_data` is False.
        StackError: something could not be deleted.
        TransientError: it takes longer than the wait.
    """
    state = stack.read()
    if state is not None and state.is_busy:
        hooks.say(f"stack {stack.name} is {state.status}: waiting until that is over")
        state = stack.wait(state.id, hooks.show)
    if state is None or state.status == "DELETE_COMPLETE":
        hooks.say(f"there is no stack {stack.name} in {stack.aws.settings.aws_region}: nothing to delete")
        return []
    empties = state.parameters.get(EMPTY_BUCKETS) == "true"
    if empties and not delete_data:
        raise DataLossRefusedError(
            f"stack {stack.name} was deployed with {EMPTY_BUCKETS}=true: deleting it deletes its raw objects and its "
            f"lake. Confirm with --delete-data, or keep them: `event-pipeline stack deploy --parameter "
            f"{EMPTY_BUCKETS}=false` first"
        )
    approve(state, delete_data)
    if delete_data and not empties and not state.was_never_made and state.status != "DELETE_FAILED":
        state = _let_data_go(stack, state, hooks)
    stack.start_deletion(state.id)
    # If data is deleted, too, the stack's own function has already deleted buckets that CloudFormation skips.
    return [event for event in _deleted(stack, state, hooks) if _is_there(stack, event)]


def _is_there(stack: Stack, event: StackEvent) -> bool:
    if event.type != "AWS::S3::Bucket":
        return True
    name = event.physical_id
    try:
        stack.aws.call("s3", "head_bucket", f"s3://{name}", expected=("404", "NoSuchBucket"), Bucket=name)
    except ExpectedError:
        return False
    return True


def settle(stack: Stack, hooks: Hooks) -> StackState | None:
    """Bring the stack into a state in which it can be created (None or in review) or updated, reporting the steps."""
    for _ in range(_MOST_RECOVERIES):
        state = stack.read()
        if state is None or state.status == "REVIEW_IN_PROGRESS":
            return state
        if state.is_busy:
            hooks.say(f"stack {stack.name} is {state.status}: waiting until that is over")
            _wait(stack, state.id, hooks)
        elif _must_be_deleted(state):
            hooks.say(f"an earlier attempt failed and left nothing usable: {stack.failure(state, 'it was that')}")
            hooks.say(f"deleting what is left of stack {stack.name}, to create it again")
            stack.start_deletion(state.id)
            _deleted(stack, state, hooks)
        elif state.status == "UPDATE_ROLLBACK_FAILED":
            hooks.say(f"the rollback of an update got stuck: {stack.failure(state, 'it was that')}")
            hooks.say("continuing the rollback")
            stack.start_rollback_again(state.id)
            state = _wait(stack, state.id, hooks)
            if state.status == "UPDATE_ROLLBACK_FAILED":
                raise stack.failure(state, "continuing the rollback of")
        else:
            return state
    raise TransientError(f"stack {stack.name} does not settle: somebody else is changing it")


def _must_be_deleted(state: StackState) -> bool:
    return state.status == "DELETE_FAILED" or (state.was_never_made and state.status != "REVIEW_IN_PROGRESS")


def _deleted(stack: Stack, state: StackState, hooks: Hooks) -> list[StackEvent]:
    """Wait for a deletion and return the events of skipped resources."""
    ended = _wait(stack, state.id, hooks)
    if ended.status != "DELETE_COMPLETE":
        raise stack.failure(ended, "deleting")
    return [event for event in stack.last_operation(state.id) if event.status == "DELETE_SKIPPED"]


def _let_data_go(stack: Stack, state: StackState, hooks: Hooks) -> StackState:
    if state.status == "UPDATE_ROLLBACK_FAILED":
        settled = settle(stack, hooks)
        state = settled or state
    parameters: dict[str, str | None] = dict.fromkeys(state.parameters)
    hooks.say(f"updating the stack to {EMPTY_BUCKETS}=true, so that its buckets can be deleted")
    change_set = stack.propose(Operation.UPDATE, None, {**parameters, EMPTY_BUCKETS: "true"}, None)
    if change_set is None:
        return state
    return _carry_out(stack, change_set, hooks)


def _pack(state: StackState | None, wanted: Wanted) -> Shipment:
    deployed = bool(state is not None and state.parameters.get(GENERATOR_KEY))
    return pack(wanted.wheel_folder, generator=deployed if wanted.generator is None else wanted.generator)


def _check_parameters(template: Template, given: Mapping[str, str]) -> None:
    settable = sorted(set(template.parameters) - set(KEY_PARAMETERS))
    for name in given:
        if name in KEY_PARAMETERS:
            raise StackOptionError(
                f"--parameter {name}: deploy sets it from this checkout; --generator and --no-generator say whether "
                "there is one"
            )
        if name not in settable:
            near = get_close_matches(name, settable, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(settable)}"
            raise StackOptionError(f"--parameter {name} is not in the template: {hint}")


def _artifacts_bucket(state: StackState | None, given: Mapping[str, str]) -> str | None:
    """Return the artifacts bucket if it exists before the stack is changed."""
    deployed = state.parameters.get(EXISTING_ARTIFACTS_BUCKET, "") if state else ""
    existing = given.get(EXISTING_ARTIFACTS_BUCKET, deployed)
    if existing:
        return existing
    # A bucket that the stack no longer uses is not the one that it will create.
    return state.outputs.get(ARTIFACTS_BUCKET) if state and not deployed else None


def _propose(
    stack: Stack, template: Template, state: StackState | None, parameters: Mapping[str, str]
) -> ChangeSet | None:
    bucket = _artifacts_bucket(state, parameters)
    if state is None or state.status == "REVIEW_IN_PROGRESS":
        return stack.propose(Operation.CREATE, template.body, parameters, bucket)
    kept: dict[str, str | None] = {name: None for name in template.parameters if name in state.parameters}
    return stack.propose(Operation.UPDATE, template.body, {**kept, **parameters}, bucket)


def _apply(
    stack: Stack,
    template: Template,
    state: StackState | None,
    parameters: Mapping[str, str],
    approve: Approve,
    hooks: Hooks,
    before: Callable[[], None],
) -> StackState:
    """Compute the change, get it approved, and execute it; `before` runs before the execution."""
    change_set = _propose(stack, template, state, parameters)
    if change_set is None:
        before()
        if state is None:
            raise StackError(f"the template has no resources to create: stack {stack.name} is not created")
        hooks.say(f"stack {stack.name} is up to date: nothing to change")
        return state
    try:
        approve(change_set)
        before()
    except BaseException:
        stack.withdraw(change_set)
        raise
    return _carry_out(stack, change_set, hooks)


def _carry_out(stack: Stack, change_set: ChangeSet, hooks: Hooks) -> StackState:
    stack.start(change_set)
    state = _wait(stack, change_set.stack_id, hooks)
    if state.status not in _DONE:
        doing = "creating" if change_set.operation is Operation.CREATE else "updating"
        raise stack.failure(state, doing)
    return state


def _wait(stack: Stack, stack_id: str, hooks: Hooks) -> StackState:
    try:
        return stack.wait(stack_id, hooks.show)
    except KeyboardInterrupt:
        hooks.say("CloudFormation continues; repeat the command to wait for it and continue")
        raise


def _upload(shipment: Shipment, stack: Stack, bucket: str, hooks: Hooks) -> None:
    uploaded = shipment.upload(stack.aws, bucket, hooks.say)
    if not uploaded:
        hooks.say(f"s3://{bucket} already holds the script, the packages and the wheels of this checkout")
