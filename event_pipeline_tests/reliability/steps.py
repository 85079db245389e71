"""Numbers the calls that an engine makes of its ports, and lets any of them fail, lose its reply, or be the last one.

With `numbered(steps)` in force, every engine that is created, whatever its assembly, takes its steps through `steps`.
The product knows nothing of it. What is asked before each step may also block, to let another worker go first, or look
at what readers see.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, NoReturn
from unittest import mock

from event_pipeline.engines.builder import Builder
from event_pipeline.engines.catalog import Catalog
from event_pipeline.engines.engine import PortEngine, Ports
from event_pipeline.engines.housekeeping import PassingFiles
from event_pipeline.engines.raw import RawPlace
from event_pipeline.engines.sql import Sql
from event_pipeline.engines.store import Store
from event_pipeline.errors import LockTimeoutError, StorageError, TransientError


class Fault(StrEnum):
    """What happens at a step; the value completes the sentence `the step ...`."""

    FAILS = "fails before it acts"
    HALF_DONE = "does a part of its work, and fails"
    """Of what a port does not promise to do at once: only for steps that are `divisible`."""
    REPLY_LOST = "acts, and its reply is lost"
    ENDS_BEFORE = "is where the process ends, before it acts"
    ENDS_AFTER = "is where the process ends, after it acted"


class Killed(BaseException):
    """The end of a process: no `except Exception` catches it, and no port acts after it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a port, just before it acts."""

    number: int
    """From 1, in the order in which the calls begin; a build is one before the writes that it makes."""
    port: str
    call: str
    about: str
    """The first argument, shortened."""
    acts: bool
    """Whether it may change what is stored; others only read."""
    divisible: bool = False
    """Whether the port may do only a part of it."""

    @property
    def name(self) -> str:
        """Port and call, for example `Store.replace`."""
        return f"{self.port}.{self.call}"

    def __str__(self) -> str:
        return f"step {self.number}, {self.name}({self.about})"


_READS: dict[type, tuple[str, ...]] = {
    Store: ("list", "read", "open", "download", "exclusive"),
    Catalog: ("get", "entries", "everything"),
    RawPlace: ("check", "walk", "beside", "open", "digest"),
    Builder: (),
    Sql: ("answer", "counts", "grain_faults", "reconcile"),
    PassingFiles: ("leftovers",),
}
_ACTS: dict[type, tuple[str, ...]] = {
    Store: ("write", "take", "replace", "delete"),
    Catalog: ("ensure", "ensure_gold", "change"),
    RawPlace: ("rewrite",),
    Builder: ("build", "published"),
    Sql: ("partial", "fold"),
    PassingFiles: ("remove",),
}
IN_MEMORY: dict[type, tuple[str, ...]] = {
    Store: ("url",),
    Catalog: ("changes_at_once", "entries_of", "differences", "needed"),
    RawPlace: ("prefix", "whole", "opener"),
    Builder: ("hours_at_once", "close"),
    Sql: ("at_once", "bytes_in", "stop_all"),
    PassingFiles: (),
}
"""Port -> what of it reaches nothing outside of the process, and is no step. What `opener` returns is for others."""
STEPS = {port: {*_READS[port], *_ACTS[port]} for port in _READS}
"""Port -> the calls of it that are steps."""

_ENTERED = ("exclusive", "answer")
"""Steps that are taken when a block is entered."""
_ITERATED = ("list", "walk", "beside", "leftovers")
"""Steps that are taken when the first item is asked for."""
_LONGEST_ABOUT = 120

Asked = Callable[[Step], Fault | None]


class Steps:
    """The steps of one worker, in all engines that it creates.

    `asked` is called before each step, by the thread that takes it, and may block. After the process has ended, no step
    acts: each raises `Killed`. `end` is what ends it: by default `Killed` for a process that goes on in the tests.
    """

    def __init__(self, asked: Asked = lambda _: None, end: Callable[[], object] = lambda: None) -> None:
        self.asked = asked
        self.taken: list[Step] = []
        """All steps that have begun."""
        self.ended = False
        self._end = end
        self._numbering = threading.Lock()

    def take(
        self,
        port: str,
        call: str,
        about: str,
        acts: bool,
        act: Callable[[], Any],
        act_on_half: Callable[[], Any] | None = None,
    ) -> Any:
        """Take one step: ask what is to happen to it, and let it."""
        with self._numbering:
            if self.ended:
                raise Killed
            step = Step(len(self.taken) + 1, port, call, about, acts, act_on_half is not None)
            self.taken.append(step)
        fault = self.asked(step)
        if self.ended:
            raise Killed
        if fault is Fault.ENDS_BEFORE:
            self.finish()
        if fault is Fault.FAILS:
            if call == "digest":
                return None
            raise error_of(step)
        if fault is Fault.HALF_DONE and act_on_half is not None:
            act_on_half()
            raise error_of(step)
        done = act()
        if fault is Fault.ENDS_AFTER:
            self.finish()
        if fault is Fault.REPLY_LOST:
            raise TransientError(f"{step}: the reply was lost")
        return done

    def finish(self) -> NoReturn:
        """End the process here."""
        self.ended = True
        self._end()
        raise Killed

    def wrap(self, kind: type, port: Any) -> Any:
        """Return a port whose calls are steps."""
        return _Numbered(self, kind, port)


def at(number: int, fault: Fault) -> Asked:
    """Let one step have a fault."""
    return lambda step: fault if step.number == number else None


def error_of(step: Step) -> Exception:
    """Return an error that the port's protocol allows for a call that does nothing: of every other step a passing one.

    The pipeline tries a passing one again, and treats both alike in a step.
    """
    if step.call == "exclusive":
        return LockTimeoutError(f"{step}: another process holds it")
    return (StorageError if step.number % 2 else TransientError)(f"{step}: it failed")


class _Numbered:
    """Stands in for a port; what is no step passes through."""

    def __init__(self, steps: Steps, kind: type, port: Any) -> None:
        self._steps = steps
        self._kind = kind
        self._port = port

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name == "whole":
            return lambda: self._steps.wrap(self._kind, found())
        if name not in STEPS[self._kind]:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            # Listed once, because an iterator can be read only once.
            if name in ("delete", "change"):
                arguments = (list(arguments[0]), *arguments[1:])
            about = _about(name, arguments)
            if name in _ENTERED:
                return self._entered(name, about, lambda: found(*arguments, **named))
            if name in _ITERATED:
                return self._iterated(name, about, lambda: found(*arguments, **named))
            half = None
            if name in ("delete", "change") and len(arguments[0]) > 1 and getattr(self._port, "changes_at_once", 2) > 1:
                some = arguments[0][: len(arguments[0]) // 2]
                half = partial(found, some, *((),) * (len(arguments) - 1))
            return self._take(name, about, lambda: found(*arguments, **named), half)

        return call

    def _take(self, name: str, about: str, act: Callable[[], Any], act_on_half: Callable[[], Any] | None = None) -> Any:
        return self._steps.take(self._kind.__name__, name, about, name in _ACTS[self._kind], act, act_on_half)

    @contextmanager
    def _entered(self, name: str, about: str, opened: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
        with ExitStack() as entered:
            yield self._take(name, about, lambda: entered.enter_context(opened()))

    def _iterated(self, name: str, about: str, listed: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        def first() -> tuple[list[Any], Iterator[Any]]:
            found = iter(listed())
            return list(islice(found, 1)), found

        begun, rest = self._take(name, about, first)
        yield from begun
        yield from rest


def _about(name: str, arguments: tuple[Any, ...]) -> str:
    """Return in words what a call is about."""
    if not arguments:
        return ""
    match name:
        case "delete":
            text = ", ".join(arguments[0])
        case "change":
            shown = ", ".join(f"{each.table} {each.partition}" for each in arguments[0])
            dropped = ", ".join(" ".join(place) for place in arguments[1])
            text = f"show {shown or 'nothing'}; drop {dropped or 'nothing'}"
        case "build":
            text = ", ".join(str(each.listing.hour) for each in arguments[0])
        case "partial" | "fold" | "answer":
            text = f"{arguments[0].name}, {arguments[1]}"
        case "remove":
            text = f"{arguments[0].kind} {arguments[0].place}"
        case _:
            text = str(getattr(arguments[0], "full_name", getattr(arguments[0], "name", arguments[0])))
    return text if len(text) <= _LONGEST_ABOUT else f"{text[:_LONGEST_ABOUT]}..."


@contextmanager
def numbered(steps: Steps) -> Iterator[None]:
    """Let the engines that are created in a block take their steps through `steps`, also after the block."""
    original = PortEngine.__init__

    def with_steps(self: Any, settings: Any, ports: Ports[Any], *rest: Any, **named: Any) -> None:
        wrapped = Ports(
            steps.wrap(Store, ports.lake),
            steps.wrap(RawPlace, ports.raw),
            steps.wrap(Catalog, ports.catalog),
            ports.accounts,  # nothing that is published depends on them
            steps.wrap(PassingFiles, ports.passing),
        )
        original(self, settings, wrapped, *rest, **named)
        self.__class__ = _opening_with_steps(type(self), steps)

    with mock.patch.object(PortEngine, "__init__", with_steps):
        yield


def _opening_with_steps(assembly: Any, steps: Steps) -> type:
    """Return an assembly whose builder and SQL, which are opened for each step of a run, are numbered as well."""

    def builder(self: Any) -> Any:
        return steps.wrap(Builder, assembly.builder(self))

    @contextmanager
    def sql(self: Any, spending: Any) -> Iterator[Any]:
        with assembly.sql(self, spending) as opened:
            yield steps.wrap(Sql, opened)

    return type(assembly.__name__, (assembly,), {"builder": builder, "sql": sql})
