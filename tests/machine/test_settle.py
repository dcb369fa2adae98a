"""What settle decides about generations on trial, and what it leaves to others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from syscontainers import kernel
from syscontainers.boot import settle
from syscontainers.containers.context import Context
from syscontainers.progress import Progress
from syscontainers.settings import load_settings
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.inside import run_inside
from tests.machine.registry import FAILING, PATIENT
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "tried"
TRIALS = "/var/lib/syscontainers/trials"
DROP_IN = f"/etc/systemd/system/{NAME}.service.d/90-test.conf"


@dataclass(frozen=True)
class Tried:
    """A container whose generation 1 is on trial, and has not been started yet."""

    host: ThrowawayHost
    good: str

    def settle(self, code: int = 0) -> str:
        return syscontainer(self.host, "settle", code=code).stdout

    def override(self, text: str) -> None:
        self.host.path(DROP_IN).write_text(text)
        self.host.run(["systemctl", "daemon-reload"])

    def systemctl(self, verb: str) -> None:
        self.host.run(["systemctl", verb, f"{NAME}.service"])

    @property
    def is_on_trial(self) -> bool:
        return self.host.path(f"{TRIALS}/{NAME}.json").exists()

    @property
    def state(self) -> tuple[str, int]:
        document = show(self.host, NAME)
        return document["state"], document["generation"]


def put_on_trial(host: ThrowawayHost, old: str, new: str, *, now: bool = True) -> Tried:
    syscontainer(host, "install", *(["--now"] if now else []), "--name", NAME, "--set", "RESTART=no", old)
    syscontainer(host, "stop", NAME)
    syscontainer(host, "update", "--image", new, NAME)
    return Tried(host, old)


@pytest.fixture
def clean(host: ThrowawayHost) -> Iterator[None]:
    yield
    host.run(["rm", "-f", DROP_IN])
    syscontainer(host, "uninstall", NAME)
    syscontainer(host, "prune", "--all")


@pytest.fixture
def tried(host: ThrowawayHost, make_image: MakeImage, clean: None) -> Tried:
    return put_on_trial(host, make_image(f"{PATIENT} # old"), make_image(f"{PATIENT} # new"))


def test_an_update_by_the_operator_meanwhile_is_left_alone(
    host: ThrowawayHost, make_image: MakeImage, clean: None
) -> None:
    question = ["sh", "-c", "touch /run/asked; stat /run/never"]
    health = {"health": {"command": question, "timeout": 600, "interval": 0.2}}
    asked = make_image(exports={"manifest.json": json.dumps(health)})
    tried = put_on_trial(host, make_image(), asked)
    tried.systemctl("start")
    process = host.popen(["syscontainer", "settle"])
    ask = ["syscontainer", "exec", NAME, "stat", "/run/asked"]
    wait_for(lambda: host.run(ask, check=False).returncode == 0, "settle does not look at the service")
    syscontainer(host, "update", "--image", make_image(f"{PATIENT} # repaired"), NAME)
    assert process.communicate(timeout=120) == ("", "")
    assert tried.state == ("running", 2)


def test_what_somebody_decides_before_settle_has_the_lock_stays(
    host: ThrowawayHost, make_image: MakeImage, clean: None
) -> None:
    tried = put_on_trial(host, make_image(), make_image(FAILING))
    host.run(["systemctl", "start", f"{NAME}.service"], check=False)
    wait_for(lambda: tried.state[0] == "failed", "it does not fail")
    with host.path(f"/var/lib/syscontainers/locks/{NAME}.lock").open("r+") as lock:
        kernel.lock_descriptor(lock.fileno(), exclusive=True)
        process = host.popen(["syscontainer", "settle"])
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"{NAME}: waiting for ")
        host.path(f"{TRIALS}/{NAME}.json").unlink()
    assert process.communicate(timeout=120)[0] == ""
    assert tried.state == ("failed", 1)


def test_one_that_did_its_work_and_ended_has_come_up(tried: Tried) -> None:
    tried.override("[Service]\nType=oneshot\nPIDFile=\nExecStartPost=\nExecStop=\nExecStart=\nExecStart=/bin/true\n")
    tried.systemctl("start")
    assert tried.settle() == f"{NAME}: generation 1 has come up\n"
    assert not tried.is_on_trial


@pytest.mark.parametrize("why", ["nobody asked", "condition", "by hand"])
def test_one_that_was_not_started_or_was_stopped_stays_on_trial(tried: Tried, why: str) -> None:
    if why == "condition":
        tried.override("[Unit]\nConditionPathExists=/nowhere\n")
    if why != "nobody asked":
        tried.systemctl("start")
    if why == "by hand":
        tried.systemctl("stop")
    said = f"{NAME}: generation 1 was not started, or was stopped; the next boot decides about it\n"
    assert tried.settle() == said
    assert tried.is_on_trial
    assert tried.state[1] == 1


def test_one_that_ended_by_itself_has_failed(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    tried = put_on_trial(host, make_image(), make_image("sleep 0.5"))
    tried.systemctl("start")
    wait_for(lambda: tried.state[0] == "inactive", "it does not end")
    assert f"{NAME}: generation 1 did not come up, generation 0 runs again: " in tried.settle()
    assert tried.state == ("running", 0)


class Clock:
    """Stands in for the module ``time``: who sleeps is there at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_all_have_the_same_time_to_come_up(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    old, new = make_image(), make_image(FAILING)
    put_on_trial(host, old, new).override("[Service]\nRestart=always\nRestartSec=3600\n")
    syscontainer(host, "install", "--name", "tried2", old)
    syscontainer(host, "update", "--image", new, "tried2")
    host.run(["cp", DROP_IN, DROP_IN.replace(NAME, "tried2")])
    host.run(["systemctl", "daemon-reload"])
    for name in (NAME, "tried2"):
        host.run(["systemctl", "start", "--no-block", f"{name}.service"])
        wait_for(lambda name=name: unit_property(host, f"{name}.service", "SubState") == "auto-restart", name)  # type: ignore[misc]

    def body() -> None:
        clock = Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settle, "time", clock)
            told = [str(outcome) for _, outcome in settle.settle(Context(load_settings(), Progress()))]
        assert ["generation 0 runs again" in each for each in told] == [True, True]
        assert clock.now < 1.1 * settle.DEADLINE

    run_inside(host, body)
    syscontainer(host, "uninstall", "tried2")
    host.run(["rm", "-r", "/etc/systemd/system/tried2.service.d"])


def test_a_plain_start_decides_nothing_and_ours_does(tried: Tried) -> None:
    tried.systemctl("start")
    assert tried.is_on_trial
    tried.systemctl("stop")
    syscontainer(tried.host, "start", NAME)
    assert not tried.is_on_trial


def test_one_that_boot_does_not_start_is_not_on_trial_for_ever(tried: Tried) -> None:
    tried.systemctl("disable")
    assert tried.settle() == f"{NAME}: boot does not start it, so nothing decides about generation 1\n"
    assert list(tried.host.path(TRIALS).iterdir()) == []


def test_a_note_that_cannot_be_read_does_not_stop_the_others(tried: Tried) -> None:
    tried.systemctl("start")
    unreadable = tried.host.path(f"{TRIALS}/another.json")
    unreadable.mkdir()
    try:
        assert tried.settle(code=1) == f"{NAME}: generation 1 has come up\n"
    finally:
        unreadable.rmdir()
    unreadable.write_text("{")
    tried.settle(code=5)
    assert not unreadable.exists()  # no boot could read it either


def test_a_second_failure_is_told_as_one(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    tried = put_on_trial(host, make_image(f"{FAILING} # 0"), make_image(f"{FAILING} # 1"), now=False)
    host.run(["systemctl", "start", f"{NAME}.service"], check=False)
    assert f"{NAME}: generation 1 did not come up, nor did the one before it" in tried.settle()
    row = next(row for row in json.loads(syscontainer(host, "list", "--json").stdout) if row["name"] == NAME)
    assert "generation 1 did not come up at boot, nor did 0, before it: " in row["problem"]


def test_systemd_sees_the_trial_of_a_name_that_looks_like_a_backup(host: ThrowawayHost, make_image: MakeImage) -> None:
    image = make_image()
    syscontainer(host, "install", "--name", "db.old", image)
    syscontainer(host, "update", "--set", "DESCRIPTION=other", "db.old")
    try:
        host.run(["systemd-analyze", "condition", f"ConditionDirectoryNotEmpty={TRIALS}"])
    finally:
        syscontainer(host, "uninstall", "db.old")
