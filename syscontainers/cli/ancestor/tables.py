"""The ancestor's tables, filters and questions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from ...errors import UsageError
from ...terminal import one_line

Row = TypeVar("Row")


def format_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells cut and padded to their columns, one space apart; the last one is padded too."""
    return " ".join(one_line(cell)[:width].ljust(width) for cell, width in zip(cells, widths, strict=True))


def widest(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """For each column the width at which nothing is cut."""
    return [max(len(one_line(cell)) for cell in column) for column in zip(headings, *rows, strict=True)]


def print_columns(
    headings: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], *, heading: bool = True
) -> None:
    """A table in columns of ``widths``."""
    for cells in (headings, *rows) if heading else rows:
        print(format_row(cells, widths))


def add_listing_options(parser: argparse.ArgumentParser, what: str) -> None:
    """What ``containers list`` and ``images list`` share."""
    parser.add_argument("-f", "--filter", metavar="KEY=VALUE", action="append", default=[], dest="filters")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-n", "--noheading", action="store_true", help="leave the heading out")
    parser.add_argument("--no-trunc", action="store_true", help="cut nothing")
    parser.add_argument("-q", "--quiet", action="store_true", help=f"print only the IDs of {what}, even with --json")


class Filters(Generic[Row]):
    """``KEY=VALUE`` conditions that a row must all meet: the value stands anywhere in the text, in any case."""

    def __init__(self, items: Sequence[str], keys: Mapping[str, Callable[[Row], str]]) -> None:
        """Raises UsageError for a condition without ``=`` or with a key that is none of ``keys``."""
        self._conditions = [self._read(item, keys) for item in items]

    @staticmethod
    def _read(item: str, keys: Mapping[str, Callable[[Row], str]]) -> tuple[Callable[[Row], str], str]:
        key, equals, value = item.partition("=")
        if not equals or key not in keys:
            problem = f"The filter {key} is not valid." if equals else f"The filter {item} has no '='."
            raise UsageError(f"{problem}  Please choose from {', '.join(keys)}", "write -f KEY=VALUE")
        return keys[key], value.lower()

    def take(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that meet every condition."""
        return [row for row in rows if all(value in text(row).lower() for text, value in self._conditions)]


class DeclinedError(UsageError):
    """Somebody was asked and did not say yes."""


def confirm(*, assumed: bool, action: str) -> None:
    """Ask on the terminal, unless ``--assumeyes`` has answered; an end of input is a no. Raises DeclinedError."""
    if assumed:
        return
    try:
        answer = input("\nConfirm (y/N) ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise DeclinedError(f"User aborted {action}", "atomic --assumeyes … asks nothing")
