"""What was measured, how it is summed up, and how it is kept as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .common import Cost, describe_machine, median_cost
from .floor import Floor
from .images import Case

COLD, UPDATE = "cold", "update"
SITUATIONS = (COLD, UPDATE)


@dataclass
class Results:
    """Of one case on one file system; what stands at the same place in two lists was measured in the same round."""

    case: Case
    file_system: str
    floors: list[Floor] = field(default_factory=list)
    costs: dict[str, dict[str, list[Cost]]] = field(default_factory=dict)
    """By situation and contender."""

    def add(self, situation: str, contender: str, cost: Cost) -> None:
        """Note one run."""
        self.costs.setdefault(situation, {}).setdefault(contender, []).append(cost)

    def cost(self, situation: str, contender: str) -> Cost | None:
        """The median of all rounds; None where it took no part."""
        costs = self.costs[situation].get(contender)
        return median_cost(costs) if costs else None

    def peak(self, contender: str) -> int:
        """Its highest memory, in bytes."""
        return max(cost.memory for by_name in self.costs.values() for cost in by_name.get(contender, ()))

    def floor(self) -> float:
        """The median, in seconds."""
        return statistics.median(floor.total for floor in self.floors)

    def to_floor(self, contender: str) -> float:
        """How many times the floor a cold pull takes: the median of the rounds' ratios."""
        walls = [cost.wall for cost in self.costs[COLD][contender]]
        return statistics.median(wall / floor.total for wall, floor in zip(walls, self.floors, strict=True))

    def ratio(self, situation: str, of: str, to: str) -> float:
        """How many times ``to``'s time ``of`` takes: the median of the rounds' ratios."""
        pairs = zip(self.costs[situation][of], self.costs[situation][to], strict=True)
        return statistics.median(one.wall / other.wall for one, other in pairs)


@dataclass(frozen=True)
class Figures:
    """Everything that one run of the benchmark found."""

    versions: Mapping[str, str]
    """Of the contenders, in the order in which they are shown."""
    results: Sequence[Results]

    def to_json(self) -> str:
        """All single measurements, and what they depend on."""
        document = {
            "machine": describe_machine(),
            "versions": dict(self.versions),
            "cases": {each.case.name: _describe(each.case) for each in self.results},
            "results": [
                {
                    "case": each.case.name,
                    "file_system": each.file_system,
                    "floors": [asdict(floor) for floor in each.floors],
                    **{
                        situation: {name: [asdict(cost) for cost in costs] for name, costs in by_name.items()}
                        for situation, by_name in each.costs.items()
                    },
                }
                for each in self.results
            ],
        }
        return json.dumps(document, indent=1) + "\n"


def _describe(case: Case) -> dict[str, object]:
    return {
        "title": case.title,
        "layers": len(case.layers),
        "compressed": case.size,
        "unpacked": case.unpacked,
        "files": case.files,
    }
