"""One planted defect of the product, and the test that must fail because of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One defect as a replaced text."""

    defect: str
    """What is wrong then, in words: "a Gold day is registered before its commit record is published"."""
    path: str
    """The file, relative to the checkout."""
    old: str
    """Text that occurs exactly once in the file."""
    new: str
    """What replaces it."""
    killed_by: str
    """Node id of the test that must fail: `file::test`, which may end with `[parameter]`."""

    @property
    def needs_a_browser(self) -> bool:
        """Whether its test opens a page."""
        return self.killed_by.startswith("event_pipeline_tests/browser/")

    def applied(self, text: str) -> str:
        """Return the file's text with the defect in it.

        Raises:
            ValueError: the text to replace is not in it, is in it more than once, or is not changed.
        """
        if (times := text.count(self.old)) != 1:
            raise ValueError(f"{self.path}: the text to replace occurs {times} times, not once: {self.old!r}")
        if self.old == self.new:
            raise ValueError(f"{self.path}: nothing is changed: {self.old!r}")
        return text.replace(self.old, self.new)
