"""``mount`` and ``unmount``: the files of images and containers, read-only, where the user says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT

pytestmark = [pytest.mark.machine, pytest.mark.root]

PLACE = "/mnt/place"


@pytest.fixture
def place(host: ThrowawayHost) -> Iterator[str]:
    host.run(["mkdir", "-p", PLACE])
    yield PLACE
    assert host.run(["findmnt", PLACE], check=False).stdout == ""
    host.run(["rmdir", PLACE])


def test_an_image_is_seen_read_only_and_keeps_its_layers(
    host: ThrowawayHost, make_image: MakeImage, place: str
) -> None:
    reference = make_image(f"{PATIENT} # mounted")
    syscontainer(host, "pull", reference)
    syscontainer(host, "mount", reference, place)
    assert "# mounted" in host.path(f"{place}/payload").read_text()
    assert "Read-only" in host.run(["touch", f"{place}/x"], check=False).stderr
    assert "something is mounted" in syscontainer(host, "mount", reference, place, code=1).stderr
    syscontainer(host, "image", "rm", reference)
    syscontainer(host, "prune")
    host.shell("echo 3 >/proc/sys/vm/drop_caches")
    assert "# mounted" in host.path(f"{place}/payload").read_text()
    syscontainer(host, "unmount", place)
    assert "layer" in syscontainer(host, "prune").stdout


def test_a_container_is_seen_stopped_and_running(host: ThrowawayHost, make_image: MakeImage, place: str) -> None:
    syscontainer(host, "install", "--name", "writes", "--set", "READONLY=false", make_image())
    syscontainer(host, "mount", "writes", place)
    assert host.path(f"{place}/payload").exists()
    syscontainer(host, "unmount", place)
    syscontainer(host, "start", "writes")
    syscontainer(host, "mount", "writes", place)
    syscontainer(host, "exec", "writes", "sh", "-c", "echo live >/new")
    assert host.path(f"{place}/new").read_text() == "live\n"
    assert "Read-only" in host.run(["touch", f"{place}/x"], check=False).stderr
    syscontainer(host, "unmount", place)
    syscontainer(host, "stop", "writes")
    syscontainer(host, "mount", "writes", place)
    assert host.path(f"{place}/new").read_text() == "live\n"
    syscontainer(host, "unmount", place)
    syscontainer(host, "uninstall", "writes")


def test_only_what_was_mounted_so_is_unmounted(host: ThrowawayHost, place: str) -> None:
    host.run(["mount", "-t", "tmpfs", "tmpfs", place])
    assert "nothing that syscontainer mount" in syscontainer(host, "unmount", place, code=4).stderr
    host.run(["umount", place])
    assert "no such image" in syscontainer(host, "mount", "nobody", place, code=4).stderr
    assert "no such directory" in syscontainer(host, "mount", "nobody", "/mnt/nowhere", code=4).stderr
