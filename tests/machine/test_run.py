"""``run`` and images that are run once: in the foreground, with the payload's exit status, leaving nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.images import Entry, build_image, layer, program, program_from, symlink
from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT
from tests.machine.state import difference, take_state
from tests.waiting import turns, wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

RUNS = "/var/lib/syscontainers/runs"
ONCE = {"Labels": {"atomic.run": "once"}}


@pytest.fixture
def clean(host: ThrowawayHost, skeleton: None, make_image: MakeImage) -> Callable[[], list[str]]:
    """What differs from now, but for images, once PID 1 has seen which mounts are gone."""
    syscontainer(host, "run", make_image("exit 0"))
    wait_for(lambda: not any("-runs-" in unit for unit in take_state(host).units), "its mount does not go")
    before = take_state(host)

    def compare() -> list[str]:
        return [line for line in difference(before, take_state(host)) if "/storage" not in line]

    def compare_at_rest() -> list[str]:
        any(not compare() for _ in turns())
        return compare()

    return compare_at_rest


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_an_image_runs_once_with_its_exit_status(
    host: ThrowawayHost, make_image: MakeImage, clean: Callable[[], list[str]], runtime: str
) -> None:
    reference = make_image("echo says:$1; cat; exit 7", run={"Cmd": ["hello"]})
    done = host.run(["syscontainer", "run", "--runtime", runtime, reference], stdin="typed\n", check=False)
    assert (done.stdout, done.returncode) == ("says:hello\ntyped\n", 7), done.stderr
    other = syscontainer(host, "run", "--runtime", runtime, reference, "sh", "-c", "echo --help; exit 3", code=3)
    assert other.stdout == "--help\n"
    assert clean() == []


def test_everything_of_it_runs_in_a_scope_of_its_own(host: ThrowawayHost, make_image: MakeImage) -> None:
    lines = syscontainer(host, "run", make_image("cat /proc/1/cgroup"), "cat", "/proc/self/cgroup").stdout
    groups = host.run(["cat", "/proc/self/cgroup"]).stdout
    assert "harness.slice" in groups
    assert "harness.slice" not in lines


def test_a_run_once_image_is_run_and_not_installed(
    host: ThrowawayHost, make_image: MakeImage, clean: Callable[[], list[str]]
) -> None:
    rules = "d $RUN_DIRECTORY/once 0755 root root -\nR $RUN_DIRECTORY/once - - - -\n"
    mount = {"type": "bind", "source": "$RUN_DIRECTORY/once", "destination": "/host", "options": ["rbind", "rw"]}
    process = {"args": ["/payload"], "cwd": "/", "env": ["PATH=/bin", "WORD=$WORD"]}
    config = {
        "ociVersion": "1.0.0",
        "process": process,
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, mount],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    }
    exports = {
        "config.json.template": json.dumps(config),
        "service.template": "this is not $LOOKED_AT",
        "tmpfiles.template": rules,
        "manifest.json": json.dumps({"defaultValues": {"WORD": "none"}}),
    }
    script = "echo written >/new && cat /new && echo $WORD && ls -d /host; exit 5"
    reference = make_image(script, exports=exports, run=ONCE)
    done = syscontainer(host, "install", "--name", "job", "--set", "WORD=given", reference, code=5)
    assert done.stdout == "written\ngiven\n/host\n"
    assert not host.path("/run/once").exists()
    assert json.loads(syscontainer(host, "list", "--json").stdout) == []
    assert clean() == []
    assert "runs once" in syscontainer(host, "install", "--now", "--name", "job", reference, code=2).stderr


def test_layers_lie_on_each_other_in_their_order(host: ThrowawayHost, make_image: MakeImage) -> None:
    busybox: dict[str, Entry | str | bytes] = {"bin/busybox": program_from("/bin/busybox")}
    busybox |= {f"bin/{name}": symlink("busybox") for name in ("sh", "cat", "ls")}
    layers = [
        layer(
            {**busybox, "file": "lowest\n", "gone": "still here\n", "run.sh": program("#!/bin/sh\ncat /file; ls /\n")}
        ),
        layer({"file": "middle\n", ".wh.gone": ""}),
        layer({"file": "top\n"}),
    ]
    image = build_image(layers, {"Entrypoint": ["/run.sh"], **ONCE})
    lines = syscontainer(host, "install", make_image(image=image, name="layered")).stdout.splitlines()
    assert lines[0] == "top"
    assert "gone" not in lines


def test_a_command_that_was_killed_leaves_nothing_that_the_next_does_not_sweep(
    host: ThrowawayHost, make_image: MakeImage, clean: Callable[[], list[str]]
) -> None:
    reference = make_image(f"{PATIENT} # killed")
    child = host.popen(["syscontainer", "run", reference])
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    host.run(["pkill", "-KILL", "-f", f"syscontainer run {reference}"])
    child.wait()
    assert list(host.path(RUNS).iterdir()) != []
    done = syscontainer(host, "prune")
    assert "clearing up" in done.stderr
    assert clean() == []


def test_the_image_of_what_runs_stays(host: ThrowawayHost, make_image: MakeImage) -> None:
    script = "trap 'cat /late; exit 0' TERM; echo up; sleep 1000000 & wait"
    busybox: dict[str, Entry | str | bytes] = {"bin/busybox": program_from("/bin/busybox")}
    busybox |= {f"bin/{name}": symlink("busybox") for name in ("sh", "cat", "sleep")}
    tree = {**busybox, "late": "still there\n", "run.sh": program(f"#!/bin/sh\n{script}\n")}
    reference = make_image(image=build_image([layer(tree)], {"Entrypoint": ["/run.sh"]}), name="late")
    child = host.popen(["syscontainer", "run", reference])
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    assert "about to be used" in syscontainer(host, "image", "rm", reference, code=1).stderr
    syscontainer(host, "prune", "--all")
    host.run(["pkill", "-TERM", "-f", f"syscontainer run {reference}"])
    assert (child.stdout.read(), child.wait()) == ("still there\n", 0)
    syscontainer(host, "image", "rm", reference)


def test_a_command_in_and_beside_a_container(
    host: ThrowawayHost, make_image: MakeImage, clean: Callable[[], list[str]]
) -> None:
    syscontainer(host, "install", "--name", "both", make_image(), "--set", "ENV=COLOUR=blue")
    beside = syscontainer(host, "run", "both", "sh", "-c", "echo $COLOUR; ps; exit 9", code=9).stdout
    assert beside.splitlines()[0] == "blue"
    assert "/payload" not in beside
    assert "not running" in syscontainer(host, "run", "--detach", "both", "true", code=2).stderr
    syscontainer(host, "run", "both")
    inside = syscontainer(host, "run", "both", "sh", "-c", "ps; exit 8", code=8).stdout
    assert "/payload" in inside
    syscontainer(host, "run", "--detach", "both", "sh", "-c", "exec >/dev/null 2>&1; echo later >/run/mark; sleep 1000")
    wait_for(lambda: syscontainer(host, "exec", "both", "cat", "/run/mark").stdout == "later\n", "it did not run")
    syscontainer(host, "uninstall", "both")
    assert clean() == []


def test_a_terminal_when_there_is_one(host: ThrowawayHost, make_image: MakeImage) -> None:
    reference = make_image("[ -t 0 ] && echo terminal || echo none")
    assert syscontainer(host, "run", reference).stdout == "none\n"
    command = ["script", "--quiet", "--return", "--command", f"syscontainer run {reference}", "/dev/null"]
    assert "terminal" in host.run(command).stdout


def test_a_slip_of_the_pen_is_not_pulled(host: ThrowawayHost) -> None:
    assert "no such container or image" in syscontainer(host, "run", "etdc", "true", code=4).stderr


def test_being_asked_to_end_is_passed_on(host: ThrowawayHost, make_image: MakeImage) -> None:
    reference = make_image("trap 'echo asked; exit 4' TERM; echo up; sleep 1000000 & wait")
    child = host.popen(["syscontainer", "run", reference])
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    host.run(["pkill", f"-{signal.SIGTERM.value}", "-f", f"syscontainer run {reference}"])
    assert (child.stdout.read(), child.wait()) == ("asked\n", 4)
