"""What an update would change, file by file, as a readable diff."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

from .context import Context
from .generation import Generation, current_generation
from .info import Info
from .plan import Plan
from .update import UpdateRequest, plan_update


def diff_update(context: Context, request: UpdateRequest) -> list[str]:
    """The lines of a unified diff from the current generation to the one an update would make; empty for none.

    Raises what planning raises.
    """
    plan = plan_update(context, request)
    if plan is None:
        return []
    current = current_generation(context, request.name)
    return [line for lines in _diffs(current, plan) for line in lines]


def _diffs(current: Generation, plan: Plan) -> Iterator[list[str]]:
    old = current.read_info()
    yield _diff("image", _image_lines(old), _image_lines(plan.info))
    yield _diff("values", _value_lines(old), _value_lines(plan.info))
    for name in sorted(_saved(current, plan)):
        path = current.directory / name
        before = path.read_text(errors="replace") if path.is_file() else ""
        # The generation's own number is in many lines and says nothing
        after = plan.contents.get(name, b"").decode(errors="replace").replace(str(plan.generation), str(current))
        yield _diff(name, _lines(before), _lines(after))


def _saved(current: Generation, plan: Plan) -> set[str]:
    files = {path.name for path in current.directory.iterdir() if path.is_file()}
    return (files | set(plan.contents)) - {"info"}


def _image_lines(info: Info) -> list[str]:
    return [f"reference {info.image}", f"digest {info.digest}", f"runtime {info.runtime}"]


def _value_lines(info: Info) -> list[str]:
    return [f"{name}={info.shown_value(name)}" for name in sorted(info.values) if name != "DESTDIR"]


def _lines(text: str) -> list[str]:
    try:
        return json.dumps(json.loads(text), indent=2).splitlines()
    except ValueError:
        return text.splitlines()


def _diff(name: str, before: list[str], after: list[str]) -> list[str]:
    return list(difflib.unified_diff(before, after, f"current/{name}", f"new/{name}", lineterm=""))
