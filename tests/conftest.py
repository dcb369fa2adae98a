"""Rules for every test: none is skipped, because what a test needs `make` installs, and none meets another's mounts.

``make test`` runs several processes at once (pytest-xdist), each with whole files, for fixtures belong to files.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from syscontainers import kernel

# Begun first, so that the longest does not come last; emulated machines take all processors there are, one at a time.
_EMULATED = Path(__file__).with_name("vm")

# How long an example takes says only how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test has not shown what it is there to show."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped; install what it misses (tests/packages.txt): {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped: {report.longrepr}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Give this process a mount namespace of its own, which also goes away with it however it ends."""
    if os.geteuid() == 0:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE, "")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what belongs together in one process."""
    items.sort(key=lambda item: _EMULATED not in item.path.parents)
    for item in items:
        group = "vm" if _EMULATED in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
