from __future__ import annotations

import pytest

from tests.faults.campaign import list_points
from tests.faults.sampling import VARIABLE, Sample
from tests.faults.steps import Step, Watch
from tests.faults.tracer import Fault

STEPS = [
    Step("mkdir", "/s", "", "mkdir /s", 1),
    *(Step("write", "/s/file", "", "write /s/file", number) for number in range(1, 101)),
    Step("rename", "/s/b", "/s/a", "rename /s/b", 1),
    *(Step("sendmsg", f"/run/systemd/private {member}", "", f"sendmsg {member}", 1) for member in ("Get", "Reload")),
]


def test_a_sample_has_the_ends_of_each_kind_and_some_between() -> None:
    points = list_points(STEPS, (Fault.KILL_BEFORE, Fault.EIO))
    chosen = Sample(40).choose(points)
    assert len(points) == 2 * 104 - 2
    assert 20 <= len(chosen) <= 40
    places = {(point.step.call, point.step.nth) for point in chosen}
    assert {("mkdir", 1), ("write", 1), ("write", 100), ("rename", 1), ("sendmsg", 1)} <= places
    assert sum(point.step.is_message for point in chosen) == 2
    assert any(call == "write" and 1 < nth < 100 for call, nth in places)
    assert {point.fault for point in chosen} == {Fault.KILL_BEFORE, Fault.EIO}
    assert [points.index(point) for point in chosen] == sorted(points.index(point) for point in chosen)


def test_each_turn_takes_others_of_each_fault() -> None:
    faults = (Fault.KILL_BEFORE, Fault.ENOSPC, Fault.FULL, Fault.EIO, Fault.INTERRUPT)
    points = list_points(STEPS, faults)
    turns = [Sample(24, turn).choose(points) for turn in range(3)]
    assert all(18 <= len(turn) <= 26 for turn in turns)
    assert {frozenset(point.fault for point in turn) for turn in turns} == {frozenset(faults)}
    assert len({point for turn in turns for point in turn}) > 50
    thirds = {3 * points.index(point) // len(points) for point in turns[0]}
    assert thirds == {0, 1, 2}


def test_everything_is_everything() -> None:
    points = list_points(STEPS, tuple(Fault))
    assert Sample(None).choose(points) == points


def test_only_faults_that_can_be() -> None:
    points = {(point.step.call, point.fault) for point in list_points(STEPS, tuple(Fault))}
    assert ("sendmsg", Fault.EIO) not in points
    assert ("sendmsg", Fault.KILL_AFTER) in points
    assert ("write", Fault.KILL_AFTER) not in points
    assert ("write", Fault.FULL) in points


@pytest.mark.parametrize(("text", "points"), [("", 60), ("7", 7), ("all", None)])
def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, text: str, points: int | None) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert Sample.from_environment().points == points


@pytest.mark.parametrize(
    ("path", "blurred"),
    [
        ("/etc/.x.conf.0123abcd.tmp", "/etc/.x.conf.*.tmp"),
        ("/s/staging/tmpab_12cd9/diff", "/s/staging/*/diff"),
        ("/s/overlay/l/ABCDEFGHIJKLMNOPQRSTUVWXYZ", "/s/overlay/l/*"),
        ("/s/overlay/" + "ab" * 32 + "/diff", "/s/overlay/" + "ab" * 32 + "/diff"),
        ("/s/#123 (deleted)", "/s/*"),
        ("/s/decade", "/s/decade"),
    ],
)
def test_random_parts_of_names_are_left_out(path: str, blurred: str) -> None:
    assert Watch(()).blur(path) == blurred


def test_a_watched_directory_is_not_its_neighbour() -> None:
    watch = Watch(("/s/store",))
    assert [watch.covers(path) for path in ("/s/store", "/s/store/a", "/s/store2", "/s")] == [True, True, False, False]
