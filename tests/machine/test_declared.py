"""Declared containers where not all is well: nothing is tried twice, nothing is lost, nobody's need is removed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.images import Image
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.declared import DECLARED, STAMP, Declare, seed, write
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT, shell_image
from tests.machine.shipped import APPLY, SETTLE, shipped_unit
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

GOOD = 'image = "seed.example/good:1"\n'
BAD = 'image = "seed.example/bad:1"\n[values]\nRESTART = "no"\n'
NOTHING = "everything is as declared; nothing to do\n"
NOWHERE = 'image = "127.0.0.1:5000/nowhere:1"\n'
STATIC = "[Service]\nType=forking\nPIDFile=$PIDFILE\nExecStart=$EXEC_START\nExecStopPost=-$EXEC_STOPPOST\n"


@pytest.fixture
def seeds(host: ThrowawayHost) -> None:
    seed(host, {"seed.example/good:1": shell_image(f"{PATIENT} # good"), "seed.example/bad:1": shell_image(FAILING)})


@pytest.fixture
def boot_units(host: ThrowawayHost) -> Iterator[None]:
    """The units that we ship, as an installation has them."""
    names = (APPLY, SETTLE)
    for name in names:
        host.path(f"/run/systemd/system/{name}").write_text(shipped_unit(name))
    host.run(["systemctl", "daemon-reload"])
    yield
    host.run(["systemctl", "stop", *names])
    host.run(["rm", *(f"/run/systemd/system/{name}" for name in names)])
    host.run(["systemctl", "daemon-reload"])


def pid(host: ThrowawayHost, name: str) -> str:
    return unit_property(host, f"{name}.service", "MainPID")


def test_what_did_not_come_up_is_not_tried_again_by_itself(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    syscontainer(host, "apply")
    declare("a", BAD)
    syscontainer(host, "apply", code=6)
    runs = pid(host, "a")
    again = syscontainer(host, "apply", code=6)
    assert "a: stays as it is, for what is declared did not come up when it was tried: " in again.stderr
    assert "hint: syscontainer apply --retry tries it again" in again.stderr
    assert pid(host, "a") == runs
    assert host.path(STAMP).exists()  # a boot would find nothing to do
    assert syscontainer(host, "apply", "--boot").stdout == ""
    assert "+image: seed.example/bad:1" in syscontainer(host, "apply", "--check", code=1).stdout
    syscontainer(host, "apply", "--retry", code=6)
    asked = pid(host, "a")
    assert asked != runs
    declare("a", f'{BAD}ENV = "X=1"\n')
    syscontainer(host, "apply", code=6)
    assert pid(host, "a") != asked
    declare("a", GOOD)
    assert syscontainer(host, "apply").stdout == NOTHING


def test_what_settle_left_is_not_tried_again_either(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    syscontainer(host, "apply")
    syscontainer(host, "stop", "a")
    declare("a", BAD)
    syscontainer(host, "apply", "--boot")
    assert "generation 0 runs again" in syscontainer(host, "settle").stdout
    runs = pid(host, "a")
    assert "a: stays as it is" in syscontainer(host, "apply", code=6).stderr
    assert (pid(host, "a"), show(host, "a")["generation"]) == (runs, 0)


def test_only_a_missing_image_is_fetched_again(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    syscontainer(host, "apply")
    declare("a", BAD)
    declare("later", NOWHERE)
    syscontainer(host, "apply", "--fetch", code=75)
    runs = pid(host, "a")
    syscontainer(host, "apply", "--fetch", code=75)
    assert pid(host, "a") == runs
    host.run(["rm", f"{DECLARED}/later.toml"])
    syscontainer(host, "apply", "--fetch", code=6)


def test_the_stamp_goes_before_anything_changes(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    syscontainer(host, "apply")
    assert host.path(STAMP).exists()
    declare("later", NOWHERE)
    done = host.run(["syscontainer", "apply"], check=False)
    assert done.returncode != 0
    assert not host.path(STAMP).exists()
    host.run(["rm", f"{DECLARED}/later.toml"])
    syscontainer(host, "apply")
    assert host.path(STAMP).exists()
    syscontainer(host, "apply", f"{DECLARED}/a.toml")
    assert not host.path(STAMP).exists()


def test_prune_leaves_what_others_need(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    declare("b", f'{GOOD}requires = ["a"]\n')
    declare("c", GOOD)
    syscontainer(host, "apply")
    host.run(["rm", f"{DECLARED}/a.toml", f"{DECLARED}/c.toml"])
    check = syscontainer(host, "apply", "--check", "--prune", code=1).stdout
    assert check == "--- present/c\n+++ /dev/null\n"
    done = syscontainer(host, "apply", "--prune", code=5)
    assert done.stdout == "c: uninstalled\n"
    assert "a: not uninstalled, because b needs it" in done.stderr
    assert [show(host, name)["state"] for name in "ab"] == ["running", "running"]


def test_a_circle_through_what_is_installed_is_refused(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    declare("b", f'{GOOD}requires = ["a"]\n')
    syscontainer(host, "apply")
    host.run(["rm", f"{DECLARED}/b.toml"])
    declare("a", f'{GOOD}requires = ["b"]\n')
    done = syscontainer(host, "apply", code=2)
    assert f"{DECLARED}/a.toml:2: requires makes a circle: a needs b needs a" in done.stderr


def only_files() -> Image:
    return shell_image(
        exports={"manifest.json": json.dumps({"noContainerService": True})},
        files={"exports/hostfs/etc/only-files.conf": "x\n"},
    )


def test_what_has_no_service_cannot_be_required(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/good:1": shell_image(), "seed.example/files:1": only_files()})
    declare("files", 'image = "seed.example/files:1"\n')
    declare("b", f'{GOOD}\nwants = ["files"]\n')
    done = syscontainer(host, "apply", code=2)
    assert f"{DECLARED}/b.toml:3: wants names 'files', which has no service that could be started" in done.stderr
    declare("b", f'{GOOD}\nafter = ["files"]\n')
    syscontainer(host, "apply")


def test_a_runtime_by_its_name_and_a_unit_that_nothing_enables_settle(host: ThrowawayHost, declare: Declare) -> None:
    seed(host, {"seed.example/static:1": shell_image(exports={"service.template": STATIC})})
    declare("a", 'image = "seed.example/static:1"\nruntime = "crun"\n')
    told = syscontainer(host, "apply").stdout
    assert told.endswith(", not started at boot, for its unit has no [Install] section, started\n")
    assert syscontainer(host, "apply").stdout == NOTHING
    assert syscontainer(host, "apply", "--check").stdout == ""


def test_the_report_is_not_lost_with_the_fetch_unit(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    declare("later", NOWHERE)
    mask = "/etc/systemd/system/syscontainers-fetch.service"
    host.run(["ln", "-sf", "/dev/null", mask])
    host.run(["systemctl", "daemon-reload"])
    try:
        done = syscontainer(host, "apply", "--boot", code=1)
    finally:
        host.run(["rm", mask])
        host.run(["systemctl", "daemon-reload"])
    assert done.stdout.startswith("a: installed from ")
    assert "syscontainers-fetch.service is masked" in done.stderr
    assert "nowhere:1: neither in the storage nor among the seeds" in done.stderr


def test_what_runs_is_not_called_not_started(host: ThrowawayHost, declare: Declare, seeds: None) -> None:
    declare("a", GOOD)
    declare("b", f'{GOOD}requires = ["a"]\n')
    syscontainer(host, "apply")
    declare("a", NOWHERE)
    done = host.run(["syscontainer", "apply"], check=False)
    assert done.returncode != 0
    assert "not started" not in done.stderr
    syscontainer(host, "stop", "b")
    assert "b: started\n" in host.run(["syscontainer", "apply"], check=False).stdout


def test_check_shows_the_others_and_errors_are_no_differences(
    host: ThrowawayHost, declare: Declare, seeds: None
) -> None:
    declare("a", GOOD)
    syscontainer(host, "apply")
    info = host.path("/var/lib/syscontainers/containers/a.0/info")
    kept = info.read_bytes()
    info.write_bytes(b"{")
    declare("b", GOOD)
    try:
        assert "+++ declared/b" in syscontainer(host, "apply", "--check", code=5).stdout
    finally:
        info.write_bytes(kept)
    declare("b", f'{GOOD}runtime = "/no/such/runtime"\n')
    syscontainer(host, "apply", "--check", code=2)  # what ends a plain apply with 1


def test_a_drop_in_that_is_no_text_is_nobodys(host: ThrowawayHost, declare: Declare) -> None:
    path = "/etc/systemd/system/alien.service.d/60-declared.conf"
    write(host, path, b"\xff\n")
    try:
        assert syscontainer(host, "apply", "--prune").stdout == NOTHING
    finally:
        host.run(["rm", "-r", path.rpartition("/")[0]])


def test_the_units_started_late_switch_and_judge_what_runs(
    host: ThrowawayHost, declare: Declare, seeds: None, boot_units: None
) -> None:
    declare("a", GOOD)
    syscontainer(host, "apply")
    declare("a", f'{GOOD}[values]\nENV = "LATE=yes"\n')
    host.run(["systemctl", "start", APPLY])
    trial = host.path("/var/lib/syscontainers/trials/a.json")
    wait_for(lambda: not trial.exists(), "nobody judges")
    assert (show(host, "a")["state"], show(host, "a")["generation"]) == ("running", 1)
    assert "LATE=yes" in host.run(["cat", f"/proc/{pid(host, 'a')}/environ"]).stdout.split("\0")
    assert unit_property(host, SETTLE, "Result") == "success"
