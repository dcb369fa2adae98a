"""Files that an image brings for the host, through install, update, rollback and uninstall."""

from __future__ import annotations

import json

import pytest

from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT

pytestmark = [pytest.mark.machine, pytest.mark.root]

CONF = "/etc/brought/tool.conf"


def exports(version: str, **manifest: object) -> dict[str, str]:
    document = {"defaultValues": {"VERSION": version}, "installedFilesTemplate": [CONF], **manifest}
    return {"hostfs/etc/brought/tool.conf": "version=$VERSION\n", "manifest.json": json.dumps(document)}


def test_host_files_follow_the_generation(host: ThrowawayHost, make_image: MakeImage, unchanged: None) -> None:
    one = make_image(f"{PATIENT} # brought 1", exports=exports("1"))
    two = make_image(f"{PATIENT} # brought 2", exports=exports("2"))
    broken = make_image(f"{FAILING} # brought 3", exports=exports("3"))
    syscontainer(host, "install", "--now", "--name", "brought", one)
    assert host.path(CONF).read_text() == "version=1\n"
    syscontainer(host, "update", "--image", two, "brought")
    assert host.path(CONF).read_text() == "version=2\n"
    syscontainer(host, "update", "--image", broken, "brought", code=6)
    assert host.path(CONF).read_text() == "version=2\n"
    syscontainer(host, "rollback", "brought")
    assert host.path(CONF).read_text() == "version=1\n"
    host.path(CONF).write_text("version=mine\n")
    assert "manually modified" in syscontainer(host, "rollback", "brought").stderr
    syscontainer(host, "uninstall", "brought")
    assert host.path(CONF).read_text() == "version=mine\n"
    host.run(["rm", "-r", "/etc/brought"])
    syscontainer(host, "image", "rm", one, two, broken)
    syscontainer(host, "prune")


def test_an_image_with_nothing_but_host_files(host: ThrowawayHost, make_image: MakeImage, unchanged: None) -> None:
    reference = make_image(f"{PATIENT} # only", exports=exports("1", noContainerService=True))
    syscontainer(host, "install", "--now", "--name", "only", reference)
    assert host.path(CONF).read_text() == "version=1\n"
    rows = json.loads(syscontainer(host, "list", "--json").stdout)
    assert [row["state"] for row in rows if row["name"] == "only"] == ["no service"]
    syscontainer(host, "uninstall", "only")
    assert not host.path("/etc/brought").exists()
    syscontainer(host, "image", "rm", reference)
    syscontainer(host, "prune")
