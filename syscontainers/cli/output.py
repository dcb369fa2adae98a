"""Results on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from ..terminal import one_line


def print_json(document: object) -> None:
    """One JSON document, indented, with a trailing newline."""
    # At once: what goes to stdout is cleaned at each write, and json.dump writes every comma for itself.
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell, two spaces apart, as systemctl prints them."""
    cells = [[one_line(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """``Name: value`` lines with the colons under each other."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        print(f"{name:>{width}}: {one_line(value)}")


def human_time(seconds: float) -> str:
    """A point in time for people, in the host's own zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


def short_reference(reference: str) -> str:
    """A reference as people write it."""
    return reference.removeprefix("docker.io/library/").removeprefix("docker.io/")
