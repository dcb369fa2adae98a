"""Images whose payload says itself when it is ready: `Type=notify` in their own template, under both runtimes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images import Entry, Image, build_image, layer, program, program_from, symlink
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]
runtimes = pytest.mark.parametrize("runtime", ["runc", "crun"])

NOTIFY = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int count, char **words) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    return sendto(fd, words[1], strlen(words[1]), 0, (struct sockaddr *) &to, sizeof to) < 0;
}
"""
TEMPLATE = """\
[Service]
Type=notify
NotifyAccess=all
PIDFile=$PIDFILE
ExecStart=$EXEC_START
ExecStopPost=-$EXEC_STOPPOST
KillMode=mixed
TimeoutStartSec=$PATIENCE
TimeoutStopSec=$PATIENCE
Restart=on-failure
RestartSec=100ms

[Install]
WantedBy=multi-user.target
"""
READY_WHEN_TOLD = """
trap 'echo asked to go; sleep 1; echo gone; exit 0' TERM
echo up
until [ -e /run/open ]; do sleep 0.1; done
notify READY=1
echo ready
sleep 1000000 & wait
"""
READY_AT_ONCE = "trap 'sleep 0.3; echo gone; exit 0' TERM; notify READY=1; echo up; sleep 1000000 & wait"
DIES_BEFORE = "echo about to fail; sleep 0.3; exit 7"
NEVER_READY = "echo no hurry; sleep 1000000 & wait"


@pytest.fixture(scope="module")
def notify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that sends one word to the notification socket."""
    directory = tmp_path_factory.mktemp("notify")
    (directory / "notify.c").write_text(NOTIFY)
    subprocess.run(["gcc", "-static", "-o", directory / "notify", directory / "notify.c"], check=True)
    return directory / "notify"


@pytest.fixture
def image_of(notify: Path) -> Callable[[str], Image]:
    def build(script: str) -> Image:
        applets = {f"bin/{name}": symlink("busybox") for name in ("echo", "sh", "sleep", "touch", "stat")}
        base = {"bin/busybox": program_from("/bin/busybox"), "bin/notify": program_from(notify), **applets}
        own: dict[str, Entry | str | bytes] = {
            "payload": program(f"#!/bin/sh\n{script}"),
            "exports/service.template": TEMPLATE,
        }
        own |= {"exports/manifest.json": json.dumps({"defaultValues": {"PATIENCE": "20"}})}
        return build_image([layer(base), layer(own)], {"Entrypoint": ["/payload"], "Env": ["PATH=/bin"]})

    return build


@pytest.fixture
def installed(host: ThrowawayHost) -> Iterator[None]:
    yield
    syscontainer(host, "uninstall", "ready")


def journal(host: ThrowawayHost, run: str) -> str:
    """What one run of the service wrote, and what systemd said about it."""
    fields = (f"_SYSTEMD_INVOCATION_ID={run}", "+", f"INVOCATION_ID={run}")
    return host.run(["journalctl", "--quiet", "--output=cat", *fields]).stdout


def stop(host: ThrowawayHost) -> str:
    """Stop it; what there is to read about the whole run."""
    run = unit_property(host, "ready.service", "InvocationID")
    host.run(["systemctl", "stop", "ready.service"])
    return journal(host, run)


def comm(host: ThrowawayHost, pid: str) -> str:
    return host.path(f"/proc/{pid}/comm").read_text().strip()


@runtimes
def test_started_means_ready_and_a_stop_is_graceful(
    host: ThrowawayHost, make_image: MakeImage, image_of: Callable[[str], Image], installed: None, runtime: str
) -> None:
    syscontainer(host, "install", "--name", "ready", "--runtime", runtime, make_image(image=image_of(READY_WHEN_TOLD)))
    start = host.popen(["syscontainer", "start", "ready"])
    wait_for(lambda: host.run([runtime, "exec", "ready", "touch", "/run/open"], check=False).returncode == 0, "no exec")
    _, errors = start.communicate(timeout=60)
    assert (start.returncode, errors) == (0, "")
    assert "ready" in journal(host, unit_property(host, "ready.service", "InvocationID")).splitlines()
    pid = unit_property(host, "ready.service", "MainPID")
    assert comm(host, pid) == "payload"
    assert unit_property(host, "ready.service", "NotifyAccess") == "main"
    assert host.run(["pgrep", "-f", "systemd-notify|flock|ready.0/notify"], check=False).stdout == ""
    said = stop(host)
    assert "gone" in said.splitlines()
    assert "Deactivated successfully" in said
    assert "not our child" not in said


@runtimes
def test_the_payload_is_never_taken_for_somebody_elses(
    host: ThrowawayHost, make_image: MakeImage, image_of: Callable[[str], Image], installed: None, runtime: str
) -> None:
    reference = make_image(image=image_of(READY_AT_ONCE))
    syscontainer(host, "install", "--now", "--name", "ready", "--runtime", runtime, reference)
    for _ in range(4):
        said = stop(host)
        assert "not our child" not in said
        assert "gone" in said.splitlines()
        host.run(["systemctl", "start", "ready.service"])
    before = unit_property(host, "ready.service", "MainPID")
    host.run(["kill", "-KILL", before])
    wait_for(lambda: unit_property(host, "ready.service", "NRestarts") == "1", "not started again")
    wait_for(lambda: unit_property(host, "ready.service", "ActiveState") == "active", "not ready again")
    assert comm(host, unit_property(host, "ready.service", "MainPID")) == "payload"


@runtimes
@pytest.mark.parametrize(
    ("script", "patience", "reasons"),
    [
        # The latter where systemd found the PID file before the payload ended, and whose child that is not.
        (DIES_BEFORE, 20, ("exit status", "it did not report readiness")),
        (NEVER_READY, 3, ("a time limit was hit",)),
    ],
    ids=["dies before", "never ready"],
)
def test_an_update_to_one_that_never_gets_ready_is_taken_back(
    host: ThrowawayHost,
    make_image: MakeImage,
    image_of: Callable[[str], Image],
    installed: None,
    runtime: str,
    script: str,
    patience: int,
    reasons: tuple[str, ...],
) -> None:
    good, bad = (make_image(image=image_of(each)) for each in (READY_AT_ONCE, script))
    syscontainer(host, "install", "--now", "--name", "ready", "--runtime", runtime, good)
    done = syscontainer(host, "update", "--set", f"PATIENCE={patience}", "--image", bad, "ready", code=6)
    assert any(f"ready did not start: {reason}" in done.stderr for reason in reasons), done.stderr
    document = show(host, "ready")
    assert (document["generation"], document["state"], document["generations"]) == (0, "running", [0])
