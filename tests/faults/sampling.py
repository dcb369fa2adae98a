"""Which of all points a run tries: a part that fits into CI, or everything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.faults.tracer import Fault, Point

VARIABLE = "SYSCONTAINERS_FAULTS"


@dataclass(frozen=True)
class Sample:
    """At most about ``points`` points; None for all."""

    points: int | None = 60

    @classmethod
    def from_environment(cls, points: int = 60) -> Self:
        """``points``, unless $SYSCONTAINERS_FAULTS says another number, or "all"."""
        text = os.environ.get(VARIABLE, "")
        if text == "all":
            return cls(None)
        return cls(int(text) if text else points)

    def choose(self, points: Sequence[Point]) -> list[Point]:
        """The first and the last of each kind of call with each fault, and evenly many of those between."""
        if self.points is None or len(points) <= self.points:
            return list(points)
        chosen = _ends_of_kinds(points)
        others = [number for number in range(len(points)) if number not in chosen]
        room = max(0, self.points - len(chosen))
        if room:
            # An odd stride, so that steps with an even number of faults do not meet the same one each time.
            chosen.update(others[:: max(1, len(others) // room) | 1])
        return [points[number] for number in sorted(chosen)]


def _ends_of_kinds(points: Sequence[Point]) -> set[int]:
    first: dict[tuple[str, Fault], int] = {}
    last: dict[tuple[str, Fault], int] = {}
    for number, point in enumerate(points):
        kind = point.step.call, point.fault
        first.setdefault(kind, number)
        last[kind] = number
    return {*first.values(), *last.values()}
