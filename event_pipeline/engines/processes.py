"""Worker processes of this host, for work on many raw objects: they end with their parent, in order or not.

What they do belongs to those who hand it in: functions and tasks must be picklable.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TypeVar

from event_pipeline.errors import ExhaustedError

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerPool:
    """Worker processes; one that dies fails only its own task.

    If one process is killed, the whole pool breaks without reporting the task. So the remaining tasks are repeated one
    by one in a fresh process, which identifies the task that kills it.
    """

    def __init__(self, workers: int, prepare: Callable[[], None] | None = None) -> None:
        """`prepare` is called once in each new process."""
        self.workers = workers
        self._prepare = prepare
        self._pool: ProcessPoolExecutor | None = None
        self._processes: list[BaseProcess] = []

    def map(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], killed: Callable[[Task], str]
    ) -> Iterator[Result]:
        """Work on tasks in parallel; yield the results in the same order.

        Raises:
            ExhaustedError: the process died even when it was the only one; the text is that of `killed`.
        """
        if not tasks:
            return
        if self._pool is None:
            self._pool = self._started(self.workers)
        done = 0
        try:
            before = active_children()
            with _interrupts_held_back():
                results = self._pool.map(work, tasks)
            self._processes += [each for each in active_children() if each not in before]
            for result in results:
                yield result
                done += 1
        except BrokenProcessPool:
            self.shutdown()
        yield from self._one_by_one(work, tasks[done:], killed)

    def shutdown(self) -> None:
        """End the processes after what they are doing; the next tasks start new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            self._processes = []

    def abort(self) -> None:
        """End the processes at once, whatever they are doing; only for work that leaves nothing behind."""
        for each in self._processes:
            each.terminate()
        self.shutdown()

    def _one_by_one(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], killed: Callable[[Task], str]
    ) -> Iterator[Result]:
        """Work on each task in a process of its own."""
        if not tasks:
            return
        with self._started(1) as pool:
            for task in tasks:
                try:
                    with _interrupts_held_back():
                        result = pool.submit(work, task)
                    yield result.result()
                except BrokenProcessPool as error:
                    raise ExhaustedError(killed(task)) from error

    def _started(self, workers: int) -> ProcessPoolExecutor:
        context = get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(self._prepare,))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Shield processes started inside the block from Ctrl-C: their parent receives it and ends them in order.

    A terminal sends the interrupt to all of them, and each would print a traceback. The parent's own interrupt
    arrives when the block ends.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(prepare: Callable[[], None] | None) -> None:
    _end_with_parent()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """End this worker when the process that started it dies, however it dies."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
