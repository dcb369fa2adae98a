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

# How long an example takes says only how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Processes take whole files in this order: the longest first, then what waits for downloads; the others with emulated
# machines, which can each keep two processors busy, when the first of them is well on its way.
_ORDER = (
    "vm/test_first_boot.py",
    "root/test_store_newer_podman.py",
    "machine/test_faults_transactions.py",
    "machine",
    "vm/test_powercut.py",
    "vm",
    "root/test_faults_storage.py",
    "root",
    "unit",
)


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: most of these tests wait for half of their time, for systemd, a disk or a service."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_configure(config: pytest.Config) -> None:
    """Give this process a mount namespace of its own, which also goes away with it however it ends."""
    if os.geteuid() == 0:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE, "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that nobody waits for it at the end."""
    top = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        places = (item.path, *item.path.parents)
        return next((number for number, name in enumerate(_ORDER) if top / name in places), len(_ORDER))

    items.sort(key=rank)
