"""What an update would change, part by part, as a readable diff."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from .context import Context
from .generation import Generation, current_generation
from .info import Info
from .plan import Plan
from .texts import plain_texts, read_contents
from .update import NUMBERED, UpdateRequest, plan_update


@dataclass(frozen=True)
class PartDiff:
    """What changes in one part: ``image``, ``values``, a file of the generation, or a host file by its path."""

    part: str
    lines: tuple[str, ...]
    """Of a unified diff, with its heading."""

    def to_json(self) -> dict[str, object]:
        """For ``diff --json``; the keys are a contract."""
        return {"part": self.part, "diff": list(self.lines)}


def diff_update(context: Context, request: UpdateRequest) -> list[PartDiff]:
    """What differs between the current generation and the one an update would make; secrets are not shown.

    Raises what planning raises.
    """
    plan = plan_update(context, request)
    return [] if plan is None else list(_diffs(current_generation(context, request.name), plan))


def _diffs(current: Generation, plan: Plan) -> Iterator[PartDiff]:
    old = current.read_info()
    secrets = (*old.secret_texts(), *plan.info.secret_texts())
    before = plain_texts(current, read_contents(current), secrets)
    after = plain_texts(plan.generation, plan.contents, secrets)
    yield from _diff("image", _image_lines(old), _image_lines(plan.info))
    yield from _diff("values", _value_lines(old), _value_lines(plan.info))
    for name in sorted({*before, *after}):
        yield from _diff(name, _lines(before.get(name, "")), _lines(after.get(name, "")))


def _image_lines(info: Info) -> list[str]:
    return [f"reference {info.image}", f"digest {info.digest}", f"runtime {info.runtime}"]


def _value_lines(info: Info) -> list[str]:
    return [f"{name}={info.shown_value(name)}" for name in sorted(info.values) if name not in NUMBERED]


def _lines(text: str) -> list[str]:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    except ValueError:
        return text.splitlines()


def _diff(part: str, before: list[str], after: list[str]) -> Iterator[PartDiff]:
    lines = tuple(difflib.unified_diff(before, after, f"current/{part}", f"new/{part}", lineterm=""))
    if lines:
        yield PartDiff(part, lines)
