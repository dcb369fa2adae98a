"""Show everything about one container: its image, state, values and where each came from."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.info import Info
from ..containers.listing import Details, GenerationRow, describe_generations, read_container
from ..progress import Progress
from ..settings import Settings
from ..terminal import one_line
from .output import human_time, print_fields, print_json, print_table, short_reference


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``show``."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--generations", action="store_true", help="what each generation is that is kept")
    parser.add_argument("--json", action="store_true", help="print JSON")


def do_show(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print one container."""
    context = Context(settings, progress)
    if options.generations:
        return _show_generations(context, options.name, json=options.json)
    details = read_container(context, options.name)
    if options.json:
        print_json(_document(context, details))
        return 0
    print_fields(_fields(context, details))
    info = details.row.info
    if info is not None:
        _print_values(info)
    for notice in info.notices if info else ():
        print(one_line(f"notice: {notice}"))
    return 0


def _show_generations(context: Context, name: str, *, json: bool) -> int:
    rows = describe_generations(context, name)
    if json:
        print_json([row.to_json() for row in rows])
        return 0
    headings = ("GENERATION", "CREATED", "IMAGE", "DIGEST", "SET")
    print_table(headings, [_generation_cells(row) for row in rows])
    return 0


def _generation_cells(row: GenerationRow) -> tuple[str, ...]:
    number = f"{row.generation.number}{'*' if row.is_current else ''}"
    if row.info is None:
        return number, "-", "-", row.problem, ""
    given = " ".join(f"{name}={row.info.shown_value(name)}" for name in sorted(row.info.user_values))
    image = short_reference(row.info.image)
    return number, human_time(row.info.created), image, row.info.digest[:19], given[:60]


def _document(context: Context, details: Details) -> dict[str, object]:
    row, status, info = details.row, details.status, details.row.info
    return {
        **row.to_json(),
        "values": {name: info.shown_value(name) for name in info.values} if info else {},
        "origins": dict(info.origins) if info else {},
        "user_values": {name: info.shown_value(name) for name in info.user_values} if info else {},
        "image_id": info.image_id if info else None,
        "layers": list(info.layers) if info else [],
        "notices": list(info.notices) if info else [],
        "generations": [generation.number for generation in details.generations],
        "directory": str(context.settings.containers / row.name),
        "unit_file": str(context.unit_file(f"{row.name}.service")),
        "mount_unit": info.mount_unit if info else None,
        "enabled": details.unit_file_state == "enabled" if status else None,
        "pid": status.main_pid or None if status else None,
        "sub_state": status.sub_state if status else None,
        "result": status.result if status else None,
        "restarts": status.n_restarts if status else None,
        "control_group": status.control_group if status else None,
        "memory_bytes": status.memory_current if status else None,
        "tasks": status.tasks_current if status else None,
    }


def _fields(context: Context, details: Details) -> list[tuple[str, str]]:
    row, status, info = details.row, details.status, details.row.info
    fields = [("Name", row.name), ("State", row.problem or row.state)]
    if info is not None:
        fields += [("Image", info.image), ("Digest", info.digest), ("Created", human_time(info.created))]
        fields += [("Runtime", info.runtime), ("Root", "writable" if info.writable else "read-only")]
    if status is not None:
        fields += [("Enabled", details.unit_file_state or "-"), ("Main PID", str(status.main_pid or "-"))]
        fields += [("Control group", status.control_group or "-"), ("Restarts", str(status.n_restarts))]
    numbers = [f"{g.number}*" if g.number == row.generation else str(g.number) for g in details.generations]
    fields += [("Generations", " ".join(numbers)), ("Unit", str(context.unit_file(f"{row.name}.service")))]
    fields += [("Directory", str(context.settings.containers / row.name))]
    return fields


def _print_values(info: Info) -> None:
    print("Values:")
    for name in sorted(info.values):
        value = one_line(info.shown_value(name))
        short = value if len(value) <= 60 else value[:57] + "…"
        print(f"  {name}={short}  ({info.origins.get(name, 'unknown')})")
