"""``verify``: clean, or what differs, in each of the places that make up a container."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT

pytestmark = [pytest.mark.machine, pytest.mark.root]

DIRECTORY = "/var/lib/syscontainers/containers"
UNITS = "/etc/systemd/system"
# What is done, and what is found; {top} is the image's topmost layer.
DAMAGE = {
    f"echo x >>{DIRECTORY}/checked.1/config.json": f"{DIRECTORY}/checked.1/config.json: not as it was written",
    f"rm {DIRECTORY}/checked.0/checked.service": f"{DIRECTORY}/checked.0/checked.service: missing",
    f"echo '# mine' >>{UNITS}/checked.service": f"{UNITS}/checked.service: not as it was published",
    f"rm {UNITS}/checked.service.d/50-syscontainers.conf": "50-syscontainers.conf: missing",
    "echo edited >/etc/checked.conf": "/etc/checked.conf: was modified",
    "rm /etc/checked.conf": "/etc/checked.conf: missing",
    "echo x >>{top}/payload": "payload: ",
    "rm {top}/payload": "payload: ",
}


@pytest.fixture(scope="module")
def checked(host: ThrowawayHost, make_image: MakeImage) -> Iterator[str]:
    """A container with two generations; the directory of its topmost layer."""
    reference = make_image(f"{PATIENT} # checked", exports={"hostfs/etc/checked.conf": "as it came\n"})
    syscontainer(host, "install", "--now", "--name", "checked", reference)
    syscontainer(host, "update", "--set", "DESCRIPTION=second", "checked")
    info = json.loads(host.path(f"{DIRECTORY}/checked.1/info").read_text())
    yield f"/var/lib/syscontainers/storage/overlay/{info['layers'][-1]}/diff"
    syscontainer(host, "uninstall", "checked")


def test_what_is_whole_is_clean(host: ThrowawayHost, checked: str) -> None:
    assert syscontainer(host, "verify", "checked").stdout == "checked: ok\n"
    assert json.loads(syscontainer(host, "verify", "--json").stdout) == {"checked": []}
    assert "no such container" in syscontainer(host, "verify", "nobody", code=4).stderr


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_differs_is_found(host: ThrowawayHost, checked: str, damage: str) -> None:
    places = f"/etc/checked.conf {DIRECTORY}/checked.? {UNITS}/checked.service* {checked}/payload"
    host.shell(f"tar --create --file /root/saved.tar --exclude=rootfs {places} 2>/dev/null")
    host.shell(damage.format(top=checked))
    done = syscontainer(host, "verify", "checked", code=5)
    assert DAMAGE[damage] in done.stdout
    host.shell("tar --extract --file /root/saved.tar --directory / --overwrite && systemctl daemon-reload")
    assert syscontainer(host, "verify", "--quick", "checked").stdout == "checked: ok\n"
