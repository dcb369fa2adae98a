"""Which of all points a run tries: a part that fits into CI, or everything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from tests.faults.steps import Step
from tests.faults.tracer import Point

VARIABLE = "SYSCONTAINERS_FAULTS"


@dataclass(frozen=True)
class Sample:
    """At most about ``points`` points; None for all."""

    points: int | None = 60
    turn: int | None = None
    """Spread over all points alike, others in each turn; None takes the ends of each kind of call first."""

    @classmethod
    def from_environment(cls, points: int = 60, turn: int | None = None) -> Self:
        """``points``, unless $SYSCONTAINERS_FAULTS says another number, or "all"."""
        text = os.environ.get(VARIABLE, "")
        if text == "all":
            return cls(None)
        return cls(int(text) if text else points, turn)

    def choose(self, points: Sequence[Point]) -> list[Point]:
        """The first and the last step of each kind of call, with one fault each, and evenly many of all others."""
        if self.points is None or len(points) <= self.points:
            return list(points)
        if self.turn is not None:
            return _spread(points, self.points, self.turn)
        chosen = set(_ends_of_kinds(points))
        others = [number for number in range(len(points)) if number not in chosen]
        room = max(0, self.points - len(chosen))
        if room:
            # An odd stride, so that steps with an even number of faults do not meet the same one each time.
            chosen.update(others[:: max(1, len(others) // room) | 1])
        return [points[number] for number in sorted(chosen)]


def _spread(points: Sequence[Point], count: int, turn: int) -> list[Point]:
    """Of each fault its share, two at least; multiples of the golden ratio lie evenly over the whole."""
    chosen: set[Point] = set()
    for fault in {point.fault for point in points}:
        candidates = [point for point in points if point.fault is fault]
        share = max(2, count * len(candidates) // len(points))
        fractions = (number * (5**0.5 - 1) / 2 % 1 for number in range(turn * share, (turn + 1) * share))
        chosen.update(candidates[int(fraction * len(candidates))] for fraction in fractions)
    return [point for point in points if point in chosen]


def _ends_of_kinds(points: Sequence[Point]) -> Iterator[int]:
    kinds: dict[str, dict[Step, list[int]]] = {}
    for number, point in enumerate(points):
        kinds.setdefault(point.step.kind, {}).setdefault(point.step, []).append(number)
    for turn, steps in enumerate(kinds.values()):
        first, last = next(iter(steps.values())), next(reversed(steps.values()))
        # Another fault at each, so that all of them get their turn.
        yield first[turn % len(first)]
        yield last[(turn + 1) % len(last)]
