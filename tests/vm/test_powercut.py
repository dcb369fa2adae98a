"""A handful of the cuts that ``make powercut`` makes by the dozen: one in each operation that changes a container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.vm.powercut import BY_FLUSHES, BY_TIME, BY_WRITES, Campaign, Point

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with contextlib.ExitStack() as stack:
        yield Campaign(stack)


@pytest.mark.parametrize(
    "point",
    [
        Point("pull", BY_WRITES, 0.8, 11),
        Point("install", BY_WRITES, 0.5, 12),
        Point("update", BY_FLUSHES, 0.7, 13),
        Point("health window", BY_TIME, 0.3, 14),
        Point("uninstall", BY_FLUSHES, 0.4, 15),
        Point("rollback", BY_WRITES, 0.6, 16),
    ],
    ids=lambda point: point.operation,
)
def test_after_a_cut_everything_is_as_before_or_as_after(campaign: Campaign, point: Point) -> None:
    result = campaign.cut(point)
    assert not result.problems
    assert result.outcome in ("old", "new")
