"""Deploying, comparing and removing the stack, from whatever an earlier attempt left behind."""

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
"""Operations left by others that one deployment waits for or undoes; more means that somebody else is at work."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for."""

    parameters: Mapping[str, str]
    """Name -> value; the others keep their deployed value, or their default."""
    generator: bool | None
    """None: as it is deployed, and off in a new stack."""
    wheel_folder: Path
    """Where the wheels of the Glue job are kept."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a deployment speaks with whoever started it."""

    say: Callable[[str], None]
    """Takes a line that stays."""
    show: ShowEvent
    """Takes a step of CloudFormation's."""


Approve = Callable[[ChangeSet], None]
"""Shows a change and returns when it may be done; raises when not."""


def deploy(stack: Stack, template: Template, wanted: Wanted, approve: Approve, hooks: Hooks) -> StackState:
    """Create or update the stack, upload what it names, and return it as it is then.

    Repeating it changes nothing; after a failure or an interruption it goes on from what is there.

    Raises:
        StackOptionError: a parameter is not one of the template's, or not one that people set.
        StackError: CloudFormation refused or failed; the message names the first resource that did.
        TransientError: it takes longer than the wait.
    """
    _check_parameters(template, wanted.parameters)
    state = settle(stack, hooks)
    shipment = _pack(state, wanted)
    bucket = _artifacts_bucket(state, wanted.parameters)
    if bucket is None:
        # A function cannot be made before its code lies in the bucket, and the bucket comes with the stack.
        without_generator = {**wanted.parameters, **shipment.parameters(), GENERATOR_KEY: ""}
        if shipment.generator:
            hooks.say("first the stack without the generator: its code goes into a bucket that is made now")
        state = _apply(stack, template, state, without_generator, approve, hooks, lambda: None)
        bucket = state.outputs.get(ARTIFACTS_BUCKET, "")
        if not bucket:
            raise StackError(f"the stack {stack.name} has no output {ARTIFACTS_BUCKET}: its template is not this one's")
        _upload(shipment, stack, bucket, hooks)
        if not shipment.generator:
            return state
    place = bucket
    parameters = {**wanted.parameters, **shipment.parameters()}
    return _apply(stack, template, state, parameters, approve, hooks, lambda: _upload(shipment, stack, place, hooks))


def compare(stack: Stack, template: Template, wanted: Wanted) -> ChangeSet | None:
    """Return what `deploy` would change, or None for nothing; nothing is changed.

    Raises:
        StackError: the stack is in a state that `deploy` has to mend first.
        TransientError: an operation is under way.
    """
    _check_parameters(template, wanted.parameters)
    state = stack.read()
    if state is not None and state.is_busy:
        raise TransientError(f"stack {stack.name} is {state.status}: try again when that is over")
    if state is not None and (_must_be_deleted(state) or state.status == "UPDATE_ROLLBACK_FAILED"):
        raise StackError(f"stack {stack.name} is {state.status}: `event-pipeline stack deploy` mends that first")
    parameters = {**wanted.parameters, **_pack(state, wanted).parameters()}
    change_set = _propose(stack, template, state, parameters)
    if change_set is not None:
        stack.withdraw(change_set)
    return change_set


def destroy(
    stack: Stack, approve: Callable[[StackState, bool], None], hooks: Hooks, *, delete_data: bool
) -> list[StackEvent]:
    """Delete the stack and return the steps that skipped a resource that is still there. Data stays unless asked.

    `approve` gets the stack and whether its data goes, too; it returns when that may be done.

    Raises:
        DataLossRefusedError: the stack would delete its data with itself, and `delete_data` is False.
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
            f"lake. Say so with --delete-data, or keep them: `event-pipeline stack deploy --parameter "
            f"{EMPTY_BUCKETS}=false` first"
        )
    approve(state, delete_data)
    if delete_data and not empties and not state.was_never_made and state.status != "DELETE_FAILED":
        state = _let_data_go(stack, state, hooks)
    stack.start_deletion(state.id)
    # Where data goes, too, a bucket that CloudFormation skips has been deleted by the stack's own function before.
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
    """Bring the stack into a state from which it can be created (None or in review) or updated; say what is done."""
    for _ in range(_MOST_RECOVERIES):
        state = stack.read()
        if state is None or state.status == "REVIEW_IN_PROGRESS":
            return state
        if state.is_busy:
            hooks.say(f"stack {stack.name} is {state.status}: waiting until that is over")
            _wait(stack, state.id, hooks)
        elif _must_be_deleted(state):
            hooks.say(f"an earlier attempt failed and left nothing that works: {stack.failure(state, 'it was that')}")
            hooks.say(f"deleting what is left of stack {stack.name}, to make it anew")
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
    raise TransientError(f"stack {stack.name} does not come to rest: somebody else is changing it")


def _must_be_deleted(state: StackState) -> bool:
    return state.status == "DELETE_FAILED" or (state.was_never_made and state.status != "REVIEW_IN_PROGRESS")


def _deleted(stack: Stack, state: StackState, hooks: Hooks) -> list[StackEvent]:
    """Wait for a deletion and return the steps that skipped a resource."""
    ended = _wait(stack, state.id, hooks)
    if ended.status != "DELETE_COMPLETE":
        raise stack.failure(ended, "deleting")
    return [event for event in stack.last_operation(state.id) if event.status == "DELETE_SKIPPED"]


def _let_data_go(stack: Stack, state: StackState, hooks: Hooks) -> StackState:
    if state.status == "UPDATE_ROLLBACK_FAILED":
        settled = settle(stack, hooks)
        state = settled or state
    parameters: dict[str, str | None] = dict.fromkeys(state.parameters)
    hooks.say(f"updating the stack to {EMPTY_BUCKETS}=true, so that its buckets can go")
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
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(settable)}"
            raise StackOptionError(f"--parameter {name} is not one of the template's: {hint}")


def _artifacts_bucket(state: StackState | None, given: Mapping[str, str]) -> str | None:
    """Return the bucket for artifacts where it is there before the stack is changed."""
    deployed = state.parameters.get(EXISTING_ARTIFACTS_BUCKET, "") if state else ""
    existing = given.get(EXISTING_ARTIFACTS_BUCKET, deployed)
    if existing:
        return existing
    # A bucket that the stack does not use any longer is not the one that it will make.
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
    """Work out the change, have it approved, and do it; `before` runs in between."""
    change_set = _propose(stack, template, state, parameters)
    if change_set is None:
        before()
        if state is None:
            raise StackError(f"the template makes nothing: stack {stack.name} is not created")
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
        hooks.say("CloudFormation works on; the same command waits for it and goes on from there")
        raise


def _upload(shipment: Shipment, stack: Stack, bucket: str, hooks: Hooks) -> None:
    uploaded = shipment.upload(stack.aws, bucket, hooks.say)
    if not uploaded:
        hooks.say(f"s3://{bucket} holds the script, the packages and the wheels of this checkout already")
