"""`event-pipeline stack`: deploys, inspects and removes the pipeline's AWS resources."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from event_pipeline.commands.options import ExitCode, UsageError
from event_pipeline.errors import DataLossRefusedError
from event_pipeline.infrastructure.errors import StackOptionError
from event_pipeline.reporting.terminal import FAULT, ProgressView, messages, output, progress
from event_pipeline.settings import PREFIX, Environment, load_settings

if TYPE_CHECKING:
    from event_pipeline.infrastructure.deployment import Hooks, Wanted
    from event_pipeline.infrastructure.stack import ChangeSet, Stack, StackEvent, StackState

commands = typer.Typer(
    name="stack",
    help="Create, update, inspect and remove what the pipeline needs on AWS: one CloudFormation stack."
    "\n\nExamples:\n  event-pipeline stack deploy\n\n  event-pipeline stack status",
    no_args_is_help=True,
)

NameOption = Annotated[str, typer.Option("--name", help="Name of the stack.")]
RegionOption = Annotated[
    str | None,
    typer.Option("--region", help=f"Region; default: {PREFIX}AWS_REGION, or that of the AWS profile."),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        help="A template parameter; repeatable. Parameters not given keep their deployed values.",
    ),
]
GeneratorOption = Annotated[
    bool | None,
    typer.Option(
        "--generator/--no-generator",
        help="A function that writes a raw object every five minutes; default: as deployed, off in a new stack.",
        show_default=False,
    ),
]
WaitOption = Annotated[
    int, typer.Option("--wait-minutes", min=1, max=720, help="How long to wait for CloudFormation to finish.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
EnvironmentFileOption = Annotated[
    Path | None,
    typer.Option("--environment-file", metavar="FILE", help="Also write the environment to this file."),
]

DEFAULT_NAME = "event-pipeline"
LOSE_DATA = "lose data"
"""What the user types to confirm a change that may lose data."""


@commands.command()
def deploy(
    name: NameOption = DEFAULT_NAME,
    region: RegionOption = None,
    parameter: ParameterOption = None,
    generator: GeneratorOption = None,
    yes: YesOption = False,
    allow_data_loss: Annotated[
        bool,
        typer.Option("--allow-data-loss", help="With --yes: proceed even if a bucket or key is removed or replaced."),
    ] = False,
    environment_file: EnvironmentFileOption = None,
    wait_minutes: WaitOption = 60,
) -> None:
    """Create or update the stack: show the change, ask, upload, wait, and print the environment to use.

    Idempotent: resumes wherever an earlier attempt failed or was interrupted.

    Examples:
      event-pipeline stack deploy

      event-pipeline stack deploy --region eu-central-1 --yes
    """
    from event_pipeline.infrastructure.deployment import deploy as deploy_stack
    from event_pipeline.infrastructure.environment import environment
    from event_pipeline.infrastructure.template import load_template
    from event_pipeline.reporting.stack import export_lines

    stack, wanted = _open(name, region, wait_minutes), _wanted(parameter, generator)

    with _Talk(stack) as talk:
        state = deploy_stack(
            stack,
            load_template(),
            wanted,
            lambda change_set: talk.ask_for(change_set, yes=yes, allow_data_loss=allow_data_loss),
            talk.hooks,
        )
    exports = export_lines(environment(state, stack.aws.settings.aws_region))
    if environment_file is not None:
        environment_file.write_text(f"# stack {name} in {stack.aws.settings.aws_region}\n{exports}", encoding="utf-8")
        messages().print(f"the environment is in {environment_file}: source it to use the stack")
    sys.stdout.write(exports)


@commands.command()
def diff(
    name: NameOption = DEFAULT_NAME,
    region: RegionOption = None,
    parameter: ParameterOption = None,
    generator: GeneratorOption = None,
) -> None:
    """Show what `deploy` would change, without changing anything.

    Examples:
      event-pipeline stack diff
    """
    from event_pipeline.infrastructure.deployment import compare
    from event_pipeline.infrastructure.template import load_template
    from event_pipeline.reporting.stack import print_change_set

    stack = _open(name, region)
    with progress() as view:
        view.step("CloudFormation works out what would change")
        change_set = compare(stack, load_template(), _wanted(parameter, generator))
    if change_set is None:
        output().print(f"stack {name} is up to date: nothing would change")
    else:
        print_change_set(change_set, name, stack.aws.settings.aws_region, output())


@commands.command()
def status(name: NameOption = DEFAULT_NAME, region: RegionOption = None) -> None:
    """Show the stack's status, its outputs, and whether it runs the code of this checkout.

    Examples:
      event-pipeline stack status
    """
    from event_pipeline.infrastructure.shipment import stale_keys
    from event_pipeline.reporting.stack import print_state

    stack = _open(name, region)
    state = stack.read()
    if state is None:
        messages().print(
            f"there is no stack {name} in {stack.aws.settings.aws_region}: `event-pipeline stack deploy` creates it",
            style=FAULT,
        )
        raise typer.Exit(ExitCode.NOT_HELD)
    stale = stale_keys(state.parameters)
    print_state(state, stack.aws.settings.aws_region, stale, output())
    if stale or state.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise typer.Exit(ExitCode.NOT_HELD)


@commands.command()
def destroy(
    name: NameOption = DEFAULT_NAME,
    region: RegionOption = None,
    yes: YesOption = False,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete raw objects and lake, after you type the stack's name.")
    ] = False,
    really_delete_data: Annotated[
        bool, typer.Option("--really-delete-data", help="With --yes and --delete-data: replaces typing the name.")
    ] = False,
    wait_minutes: WaitOption = 60,
) -> None:
    """Delete the stack but keep its data, unless deleting it is confirmed twice; list what is left behind.

    Examples:
      event-pipeline stack destroy
    """
    from event_pipeline.infrastructure.deployment import destroy as destroy_stack
    from event_pipeline.reporting.stack import print_left_behind

    if really_delete_data and not delete_data:
        raise UsageError("--really-delete-data needs --delete-data")
    stack = _open(name, region, wait_minutes)

    def approve(state: StackState, data_goes: bool) -> None:
        console = messages()
        console.print(f"stack {name} in {stack.aws.settings.aws_region} ({state.status}) would be deleted")
        if data_goes:
            buckets = [state.outputs[key] for key in ("RawBucket", "LakeBucket") if key in state.outputs]
            console.print(f"AND ALL DATA in its own buckets ({', '.join(buckets)})", style=FAULT)
        if yes and data_goes and not really_delete_data:
            raise DataLossRefusedError("--delete-data with --yes needs --really-delete-data as well: data is at stake")
        if not yes and data_goes:
            _ask("Type the name of the stack to delete it with its data: ", name)
        elif not yes:
            _ask("Delete the stack and keep its data? [y/N] ", "y", "Y", "yes")

    with _Talk(stack) as talk:
        kept = destroy_stack(stack, approve, talk.hooks, delete_data=delete_data)
    print_left_behind(kept, output())


def _open(name: str, region: str | None, wait_minutes: int = 1) -> Stack:
    """Return the stack of this name, without calling AWS yet."""
    import boto3

    from event_pipeline.engines.aws.clients import Aws
    from event_pipeline.infrastructure.stack import Stack

    # Buckets and the like are outputs of a deployment: the environment that names them is not needed yet.
    given = region or load_settings(env=Environment.LOCAL).aws_region or boto3.Session().region_name
    if not given:
        raise StackOptionError(f"no region: give --region, for example --region eu-central-1, or {PREFIX}AWS_REGION")
    return Stack(Aws(load_settings(env=Environment.LOCAL, aws_region=given)), name, wait_minutes)


def _wanted(parameters: Sequence[str] | None, generator: bool | None) -> Wanted:
    from event_pipeline.infrastructure.deployment import Wanted

    given = {}
    for each in parameters or ():
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise UsageError(f"--parameter {each!r}: write NAME=VALUE, for example --parameter GlueWorkers=5")
        given[key] = value
    return Wanted(given, generator, load_settings(env=Environment.LOCAL).root / "wheels")


class _Talk:
    """Shows lines and steps on stderr: a progress bar while CloudFormation works, none while the user is asked."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._view: ProgressView | None = None
        self._done: set[str] = set()

    @property
    def hooks(self) -> Hooks:
        """The callbacks through which a deployment reports."""
        from event_pipeline.infrastructure.deployment import Hooks

        return Hooks(self.say, self.show)

    def __enter__(self) -> _Talk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, resources: int | None = None) -> None:
        """Start showing progress, out of this many resources."""
        self.stop()
        self._done.clear()
        self._view = progress(resources)
        self._view.__enter__()

    def stop(self) -> None:
        """Stop showing progress."""
        if self._view is not None:
            self._view.__exit__(None, None, None)
            self._view = None

    def say(self, line: str) -> None:
        """Print a permanent line."""
        if self._view is None:
            messages().print(line)
        else:
            self._view.note(line)

    def show(self, event: StackEvent) -> None:
        """Show a CloudFormation event."""
        from event_pipeline.reporting.stack import event_line

        if self._view is None:
            self.start()
        if event.status.endswith(("_COMPLETE", "_SKIPPED")):
            self._done.add(event.resource)
        assert self._view is not None
        self._view.step(event_line(event), len(self._done))

    def ask_for(self, change_set: ChangeSet, *, yes: bool, allow_data_loss: bool) -> None:
        """Show a change and return once it is confirmed.

        Raises:
            DataLossRefusedError: with `yes`, the change may lose data and that is not allowed.
        """
        from event_pipeline.reporting.stack import print_change_set

        self.stop()
        print_change_set(change_set, self._stack.name, self._stack.aws.settings.aws_region, messages())
        if yes and change_set.loses_data and not allow_data_loss:
            raise DataLossRefusedError(
                f"the change may lose data of stack {self._stack.name}: review it, then confirm with --allow-data-loss"
            )
        if not yes and change_set.loses_data:
            _ask(f"Data may be lost. Type '{LOSE_DATA}' to go on: ", LOSE_DATA)
        elif not yes:
            _ask("Do it? [y/N] ", "y", "Y", "yes")
        self.start(len(change_set.changes))


def _ask(question: str, *agreed: str) -> None:
    """Ask a question and return if the user agrees.

    Raises:
        UsageError: stdin is closed.
        typer.Exit: the user declines.
    """
    messages().print(question, end="")
    answer = sys.stdin.readline()
    if not answer:
        raise UsageError("no answer on stdin: give --yes to run without confirmation")
    if answer.strip() not in agreed:
        messages().print("not done; nothing was changed")
        raise typer.Exit(ExitCode.REFUSED)
