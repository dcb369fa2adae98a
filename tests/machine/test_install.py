"""From a name in a registry to a supervised service and back, by the installed command on a real systemd."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT, STUBBORN, shell_image
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

REPORT = "env; echo args:$*; pwd; id -u; id -g; stat -c %u:%a /data; trap 'exit 0' USR1; sleep 1000000 & wait"


@pytest.fixture
def install(host: ThrowawayHost) -> Iterator[Callable[..., str]]:
    """Installs and starts an image under a name; uninstalls it at the end."""
    names: list[str] = []

    def run(reference: str, name: str, *words: str) -> str:
        names.append(name)
        return syscontainer(host, "install", "--now", "--name", name, *words, reference).stdout

    yield run
    for name in names:
        syscontainer(host, "uninstall", name)


def journal(host: ThrowawayHost, unit: str) -> str:
    return host.run(["journalctl", "--quiet", "--output=cat", f"--unit={unit}"]).stdout


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("tag", ["1", "plain"])
def test_etcd_runs_and_keeps_its_data(
    host: ThrowawayHost, etcd: str, install: Callable[..., str], runtime: str, tag: str
) -> None:
    name = f"etcd-{runtime}-{tag}"
    assert install(f"{etcd}:{tag}", name, "--runtime", runtime) == f"{name}: installed and running\n"
    put = ["exec", name, "etcdctl", "put", "key", f"value-{runtime}-{tag}"]
    wait_for(lambda: host.run(["syscontainer", *put], check=False).returncode == 0, "etcd does not answer")
    pid = int(unit_property(host, f"{name}.service", "MainPID"))
    assert host.run(["cat", f"/proc/{pid}/comm"]).stdout == "etcd\n"
    syscontainer(host, "stop", name)
    syscontainer(host, "start", name)
    get = ["exec", name, "etcdctl", "get", "--print-value-only", "key"]
    wait_for(lambda: host.run(["syscontainer", *get], check=False).returncode == 0, "etcd does not answer again")
    assert syscontainer(host, *get).stdout == f"value-{runtime}-{tag}\n"


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_image_config_is_honoured(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str], runtime: str
) -> None:
    reference = make_image(
        REPORT,
        run={
            "Cmd": ["one", "two words"],
            "Env": ["PATH=/bin", "COLOUR=blue"],
            "WorkingDir": "/etc",
            "User": "1234:5678",
            "StopSignal": "SIGUSR1",
            "Volumes": {"/data": {}},
        },
    )
    name = f"config-{runtime}"
    install(reference, name, "--runtime", runtime)
    wait_for(lambda: ":755" in journal(host, name), "the payload does not report")
    lines = journal(host, name).splitlines()
    assert "COLOUR=blue" in lines
    assert "args:one two words" in lines
    assert "/etc" in lines
    assert {"1234", "5678"} <= set(lines)
    assert unit_property(host, f"{name}.service", "KillSignal") == "10"


def test_nothing_but_the_payload_is_in_the_unit(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    install(make_image(), "alone")
    document = show(host, "alone")
    assert document["state"] == "running"
    groups = host.run(["cat", f"/proc/{document['pid']}/cgroup"]).stdout
    assert "/alone.service/payload" in groups
    assert unit_property(host, "alone.service", "ControlGroup").endswith("/alone.service")
    # PID 1 is the parent: no monitor, no shim, no runtime stays between them
    status = host.run(["grep", "PPid:", f"/proc/{document['pid']}/status"]).stdout
    assert status.split() == ["PPid:", "1"]
    assert host.run(["pgrep", "-x", "runc|crun|conmon|syscontainer|python3"], check=False).stdout == ""


def test_a_killed_payload_is_started_again(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    install(make_image(), "killed", "--set", "RESTART_SEC=100ms")
    before = show(host, "killed")["pid"]
    host.run(["kill", "-9", str(before)])
    wait_for(lambda: show(host, "killed")["pid"] not in (None, before), "it was not started again")
    assert show(host, "killed")["restarts"] == 1


def test_a_payload_that_ignores_the_signal_is_killed_after_the_timeout(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    install(make_image(STUBBORN), "stubborn", "--set", "STOP_TIMEOUT=1s")
    host.run(["systemctl", "stop", "stubborn"])
    assert unit_property(host, "stubborn.service", "Result") == "timeout"
    assert show(host, "stubborn")["pid"] is None


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_twenty_rounds_leak_nothing(host: ThrowawayHost, make_image: MakeImage, runtime: str, unchanged: None) -> None:
    reference = make_image(f"{PATIENT} # {runtime}")
    syscontainer(host, "pull", reference)
    name = f"rounds-{runtime}"
    syscontainer(host, "install", "--name", name, "--runtime", runtime, reference)
    for _ in range(20):
        host.run(["systemctl", "start", name])
        host.run(["systemctl", "stop", name])
    syscontainer(host, "uninstall", name)
    image = json.loads(syscontainer(host, "images", "--json").stdout)
    assert any(reference in row["names"] for row in image)
    remove_image(host, reference)


def remove_image(host: ThrowawayHost, reference: str) -> None:
    syscontainer(host, "image", "rm", reference)
    syscontainer(host, "prune")


def test_a_service_that_fails_at_once_is_not_installed(
    host: ThrowawayHost, make_image: MakeImage, unchanged: None
) -> None:
    done = syscontainer(host, "install", "--now", "--name", "failing", make_image(f"{FAILING} # only here"), code=6)
    # Whether it has started by then is a race between the payload's end and systemd reading the PID file.
    assert re.search("failing did not (keep running|start): (exit status 3|it ended before)", done.stderr)
    assert "    about to fail\n" in done.stderr
    assert "hint: journalctl -u failing.service" in done.stderr


def test_a_failed_install_leaves_the_names_of_images_as_they_were(
    host: ThrowawayHost, make_image: MakeImage, unchanged: None
) -> None:
    image = shell_image(f"{FAILING} # has names")
    one, two = (make_image(image=image, name=name) for name in ("named-one", "named-two"))
    # An image of its own: another test's would remember the name.
    moved = make_image(f"{PATIENT} # is moved", name="named-three")
    syscontainer(host, "pull", one)
    syscontainer(host, "pull", moved)
    names = [row["names"] for row in json.loads(syscontainer(host, "images", "--json").stdout)]
    syscontainer(host, "install", "--now", "--name", "nameless", two, code=6)  # the image is here by another name
    make_image(image=image, name="named-three")
    syscontainer(host, "install", "--now", "--pull", "always", "--name", "nameless", moved, code=6)
    assert [row["names"] for row in json.loads(syscontainer(host, "images", "--json").stdout)] == names
    syscontainer(host, "image", "rm", one, moved)
    syscontainer(host, "prune")


def test_installing_the_same_again_is_nothing_to_do(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    reference = make_image()
    install(reference, "same")
    assert syscontainer(host, "install", "--name", "same", reference).stdout == "same already present\n"
    other = syscontainer(host, "install", "--name", "same", make_image(), code=1)
    assert "already installed, from" in other.stderr


def test_a_dry_run_changes_nothing(host: ThrowawayHost, make_image: MakeImage) -> None:
    from tests.machine.state import difference, take_state

    reference = make_image()
    syscontainer(host, "pull", reference)
    before = take_state(host)
    done = syscontainer(host, "install", "--dry-run", "--name", "dry", reference)
    assert "/start /usr/sbin/runc dry /usr/sbin/runc run --detach" in done.stdout
    assert difference(before, take_state(host)) == []
    remove_image(host, reference)


def test_exec_passes_exit_code_and_arguments(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    install(make_image(), "exec")
    assert syscontainer(host, "exec", "exec", "sh", "-c", "exit 42", code=42).stdout == ""
    assert syscontainer(host, "exec", "exec", "echo", "a  b", "--help").stdout == "a  b --help\n"
    assert syscontainer(host, "exec", "-e", "X=1", "exec", "sh", "-c", "echo $X").stdout == "1\n"
    syscontainer(host, "stop", "exec")
    assert "exec is not running" in syscontainer(host, "exec", "exec", "true", code=1).stderr


def test_a_unit_of_the_os_is_only_shadowed_on_request(
    host: ThrowawayHost, make_image: MakeImage, unchanged: None
) -> None:
    reference = make_image(f"{PATIENT} # in place of the OS's")
    vendor = host.path("/usr/lib/systemd/system/ours-too.service")
    vendor.write_text("[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    install = ("install", "--now", "--name", "ours-too", reference)
    try:
        refused = syscontainer(host, *install, code=1).stderr
        assert "the host has a unit ours-too.service already (/lib/systemd/system/ours-too.service)" in refused
        host.run(["systemctl", "enable", "ours-too"])
        syscontainer(host, *install, "--shadow", code=1)  # somebody wants it
        host.run(["systemctl", "disable", "ours-too"])
        assert "stands in for" in syscontainer(host, *install, "--shadow").stderr
        assert unit_property(host, "ours-too", "FragmentPath") == "/etc/systemd/system/ours-too.service"
        syscontainer(host, "uninstall", "ours-too")
        assert unit_property(host, "ours-too", "FragmentPath") == "/lib/systemd/system/ours-too.service"
        assert unit_property(host, "ours-too", "UnitFileState") == "disabled"
    finally:
        vendor.unlink()
        host.run(["systemctl", "daemon-reload"])
    remove_image(host, reference)


def test_logs_show_what_it_wrote(host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]) -> None:
    install(make_image(), "talks")
    wait_for(lambda: "up" in syscontainer(host, "logs", "--output", "cat", "talks").stdout, "no line in the journal")


def values_said(host: ThrowawayHost, name: str) -> list[str]:
    """In order; systemd's own words on the service may come before or after them."""
    return re.findall("value:.", journal(host, name))


def test_update_and_rollback_switch_generations(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    script = "trap 'exit 0' TERM; echo value:$VALUE; sleep 1000000 & wait"
    reference = make_image(script)
    install(reference, "moves", "--set", "ENV=VALUE=1")
    assert syscontainer(host, "update", "moves").stdout == "moves: nothing to change\n"
    assert "+ENV=" in syscontainer(host, "diff", "--set", "ENV=VALUE=2", "moves").stdout
    syscontainer(host, "update", "--set", "ENV=VALUE=2", "moves")
    wait_for(lambda: "value:2" in journal(host, "moves"), "the new value did not arrive")
    assert show(host, "moves")["generation"] == 1
    syscontainer(host, "rollback", "moves")
    document = show(host, "moves")
    assert (document["generation"], document["state"]) == (0, "running")
    syscontainer(host, "rollback", "moves")
    assert show(host, "moves")["generation"] == 1
    wait_for(lambda: values_said(host, "moves")[-1] == "value:2", "the value did not come back")


def test_an_update_that_fails_is_taken_back(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    install(make_image(), "safe")
    before = show(host, "safe")
    done = syscontainer(host, "update", "--image", make_image(FAILING), "safe", code=6)
    assert "about to fail" in done.stderr
    after = show(host, "safe")
    assert (after["generation"], after["state"], after["digest"]) == (0, "running", before["digest"])
    assert after["generations"] == [0]


def test_a_declared_health_check_decides(
    host: ThrowawayHost, make_image: MakeImage, install: Callable[..., str]
) -> None:
    script = "trap 'exit 0' TERM; sleep 1; touch /run/ready; sleep 1000000 & wait"
    manifest = {"health": {"command": ["stat", "/run/ready"], "timeout": 20, "interval": 0.2}}
    install(make_image(script, exports={"manifest.json": json.dumps(manifest)}), "asked")
    # What it has answered is told, not that there was no time for another answer.
    check = "[ ! -e /run/asked ] || sleep 1000; touch /run/asked; exit 3"
    never = {"health": {"command": ["sh", "-c", check], "timeout": 3, "interval": 0.2}}
    worse = make_image(script, exports={"manifest.json": json.dumps(never)})
    done = syscontainer(host, "update", "--image", worse, "asked", code=6)
    assert f"asked did not become healthy within 3 seconds: sh -c {check}: exit status 3" in done.stderr
    document = show(host, "asked")
    assert (document["generation"], document["state"]) == (0, "running")
