"""Two commands at once: on one container the second waits and says for whom, on different ones neither waits."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.gate import GatedUpdate, gated_update
from tests.machine.host import ThrowawayHost

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "shared"


@pytest.fixture
def update(host: ThrowawayHost, make_image: MakeImage, unchanged: None) -> Iterator[GatedUpdate]:
    with gated_update(host, make_image, NAME) as under_way:
        yield under_way


def start_second(update: GatedUpdate, *words: str) -> subprocess.Popen[str]:
    """Another command on the same container, which has said that it waits for the update."""
    process = update.host.popen(["syscontainer", *words, NAME])
    assert process.stderr is not None
    assert process.stderr.readline() == f"{NAME}: waiting for syscontainer update (pid {update.pid})\n"
    assert update.is_under_way()
    return process


def end(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.parametrize("verb", ["stop", "disable", "uninstall"])
def test_the_second_waits_for_the_first(update: GatedUpdate, verb: str) -> None:
    second = start_second(update, verb)
    assert second.poll() is None
    update.open_gate()
    assert update.end()[0] == 0  # a stop in its midst would have made it fail
    assert end(second) == 0
    if verb == "uninstall":
        assert not update.host.path(f"/var/lib/syscontainers/containers/{NAME}").is_symlink()
        return
    document = show(update.host, NAME)
    assert (document["generation"], document["state"]) == (1, "inactive" if verb == "stop" else "running")
    # Not the property: PID 1 remembers until the next reload what it was asked between two changes of links.
    enabled = update.host.run(["systemctl", "is-enabled", f"{NAME}.service"], check=False).stdout.strip()
    assert enabled == ("disabled" if verb == "disable" else "enabled")


def test_an_update_that_hangs_is_interrupted_and_the_stop_goes_on(update: GatedUpdate) -> None:
    second = start_second(update, "stop")
    update.signal(signal.SIGINT)
    assert update.end()[0] == 130
    assert end(second) == 0
    document = show(update.host, NAME)
    assert (document["generation"], document["state"], document["generations"]) == (0, "inactive", [0])
    assert syscontainer(update.host, "recover").stdout == ""


def test_who_waits_can_be_interrupted_and_the_other_goes_on(update: GatedUpdate) -> None:
    second = start_second(update, "stop")
    update.host.run(["pkill", "-INT", "-f", f"syscontainer stop {NAME}"])
    assert end(second) == 130
    update.open_gate()
    assert update.end()[0] == 0
    assert show(update.host, NAME)["state"] == "running"


def test_systemctl_stop_waits_for_nobody(update: GatedUpdate) -> None:
    update.host.run(["systemctl", "stop", f"{NAME}.service"])
    code, errors = update.end()
    assert (code, "did not keep running" in errors or "did not become healthy" in errors) == (6, True)
    assert (show(update.host, NAME)["generation"], show(update.host, NAME)["state"]) == (0, "running")


def test_another_container_is_changed_meanwhile(update: GatedUpdate, make_image: MakeImage) -> None:
    host, one, two = update.host, make_image(), make_image()
    for words in (
        ("install", "--now", "--name", "other", one),
        ("update", "--image", two, "other"),
        ("rollback", "other"),
        ("restart", "other"),
        ("stop", "other"),
        ("uninstall", "other"),
    ):
        assert "waiting" not in syscontainer(host, *words).stderr
        assert update.is_under_way()
    syscontainer(host, "image", "rm", one, two)
    update.open_gate()
    assert update.end()[0] == 0


def test_two_updates_hang_side_by_side(update: GatedUpdate, host: ThrowawayHost, make_image: MakeImage) -> None:
    with gated_update(host, make_image, "beside") as other:
        threads = [threading.Thread(target=each.open_gate) for each in (other, update)]
        assert update.is_under_way()
        assert other.is_under_way()
        for thread in threads:
            thread.start()
        assert (other.end()[0], update.end()[0]) == (0, 0)
        for thread in threads:
            thread.join()


def test_what_an_operator_mends_meanwhile_is_kept_aside(update: GatedUpdate) -> None:
    unit = update.host.path(f"/etc/systemd/system/{NAME}.service")
    ours = unit.read_text()
    unit.write_text(f"# mended at night\n{ours}")
    update.signal(signal.SIGTERM)
    code, errors = update.end()
    aside = f"/etc/systemd/system/{NAME}.service.edited"
    assert (code, f"kept as {aside}" in errors) == (130, True)
    assert "mended" not in unit.read_text()
    assert update.host.path(aside).read_text() == f"# mended at night\n{ours}"
    update.host.path(aside).unlink()
