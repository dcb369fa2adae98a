"""What came out: a table of points, and the few lines that matter of it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.faults.steps import Step
from tests.faults.tracer import Point


@dataclass(frozen=True)
class Result:
    """How one point went. ``outcome``: the check's word for a good one, its complaint for a bad one."""

    point: Point
    reached: bool
    good: bool
    outcome: str
    status: int
    seconds: float


def _align(rows: Iterable[tuple[str, ...]]) -> str:
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _shorten(text: str, common: str) -> str:
    """Paths below ``common`` relative to it."""
    if common == "/":
        return text
    return re.sub(rf"(?<= ){re.escape(common)}(/|$|(?= ))", lambda match: "" if match[1] else ".", text)


@dataclass(frozen=True)
class Report:
    """The outcome of a campaign."""

    steps: tuple[Step, ...]
    """All there are, also those that the sample left out."""
    undisturbed: str
    results: tuple[Result, ...]
    seconds: float

    @property
    def failures(self) -> list[Result]:
        """What must not be."""
        return [result for result in self.results if not result.good]

    @property
    def missed(self) -> list[Result]:
        """Points that did not come up again in the runs that were to be disturbed there."""
        return [result for result in self.results if not result.reached]

    def outcomes(self) -> Counter[str]:
        """How often each state was found."""
        return Counter(result.outcome for result in self.results if result.good)

    def table(self, *, only_failures: bool = False) -> str:
        """Point, call, path, outcome."""
        numbers = {(step.key, step.nth): number for number, step in enumerate(self.steps, 1)}
        common = os.path.commonpath([step.path for step in self.steps if not step.is_message] or ["/"])
        rows = [("point", "step", "fault", "exit", "outcome")]
        for result in self.failures if only_failures else self.results:
            step = result.point.step
            word = result.outcome.splitlines()[0] if result.outcome else ""
            if not result.good:
                word = f"BAD: {word}"
            elif not result.reached:
                word = f"not reached, {word}"
            number = numbers.get((step.key, step.nth), 0)
            rows.append((str(number), _shorten(str(step), common), result.point.fault.value, str(result.status), word))
        return _align(rows)

    def summary(self) -> str:
        """One line."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes().most_common())
        return (
            f"{len(self.steps)} steps, {len(self.results)} points in {self.seconds:.1f} s: {counts or 'none good'}; "
            f"{len(self.failures)} bad, {len(self.missed)} not reached"
        )

    def require_good(self) -> None:
        """Raise AssertionError with all that went wrong, if anything did."""
        if self.failures:
            first = "\n".join(result.outcome for result in self.failures[:3])
            raise AssertionError(f"{self.summary()}\n{self.table(only_failures=True)}\n{first}")
