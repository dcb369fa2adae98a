"""``install --rootfs``: containers from a tree that somebody else made and keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost

pytestmark = [pytest.mark.machine, pytest.mark.root]

TREE = "/srv/tree"
SERVICE = """\
[Unit]
Description=$NAME of $TREE_SAYS

[Service]
Type=forking
PIDFile=$PIDFILE
ExecStart=$EXEC_START
ExecStopPost=-$EXEC_STOPPOST
"""


@pytest.fixture
def tree(host: ThrowawayHost, make_image: MakeImage) -> Iterator[str]:
    """An image of which the tree below /srv is a copy with one template of its own; its reference."""
    reference = make_image("trap 'exit 0' TERM; echo runs; sleep 1000000 & wait # tree")
    syscontainer(host, "pull", reference)
    manifest = json.dumps({"defaultValues": {"TREE_SAYS": "the tree"}})
    host.shell(f"""
        mkdir -p {TREE}/rootfs /mnt/look
        syscontainer mount {reference} /mnt/look
        cp -a /mnt/look/. {TREE}/rootfs/
        syscontainer unmount /mnt/look
        cd {TREE}/rootfs
        mkdir -p usr exports proc dev sys tmp run var/tmp
        touch etc/resolv.conf etc/hosts etc/localtime
    """)
    host.path(f"{TREE}/rootfs/exports/service.template").write_text(SERVICE)
    host.path(f"{TREE}/rootfs/exports/manifest.json").write_text(manifest)
    yield reference
    host.run(["rm", "-rf", TREE, "/mnt/look"])


def contents(host: ThrowawayHost) -> str:
    return host.shell(f"cd {TREE} && find . | sort | xargs stat --format='%n %a %Y %s'").stdout


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_a_tree_is_shared_and_left_as_it_is(host: ThrowawayHost, tree: str, runtime: str) -> None:
    before = contents(host)
    for name in ("one", "two"):
        syscontainer(host, "install", "--now", "--runtime", runtime, "--name", name, "--rootfs", TREE, tree)
        assert unit_property(host, f"{name}.service", "Description") == f"{name} of the tree"
        directory = f"/var/lib/syscontainers/containers/{name}.0"
        config = json.loads(host.path(f"{directory}/config.json").read_text())
        assert config["root"] == {"path": f"{TREE}/rootfs", "readonly": True}
        assert host.run(["readlink", f"{directory}/rootfs"]).stdout.strip() == f"{TREE}/rootfs"
        assert json.loads(host.path(f"{directory}/info").read_text())["remote"] == f"{TREE}/rootfs"
        assert f"{name}.0" not in host.run(["findmnt", "--list", "--output=TARGET"]).stdout
        assert syscontainer(host, "exec", name, "sh", "-c", "echo x >/new || echo refused").stdout == "refused\n"
    again = syscontainer(host, "install", "--name", "one", "--rootfs", f"{TREE}/rootfs", tree)
    assert again.stdout == "one already present\n"
    assert "another root" in syscontainer(host, "install", "--name", "one", tree, code=1).stderr
    assert "beside" in syscontainer(host, "run", "one", "echo", "beside").stdout
    for name in ("one", "two"):
        syscontainer(host, "uninstall", name)
    assert contents(host) == before


def test_updates_change_the_configuration_only(host: ThrowawayHost, tree: str) -> None:
    syscontainer(host, "install", "--now", "--name", "kept", "--rootfs", TREE, tree)
    same = syscontainer(host, "update", "kept")
    assert "only its configuration can change" in same.stderr
    assert "nothing to change" in same.stdout
    syscontainer(host, "update", "--set", "TREE_SAYS=somebody", "kept")
    assert unit_property(host, "kept.service", "Description") == "kept of somebody"
    assert (show(host, "kept")["generation"], show(host, "kept")["state"]) == (1, "running")
    syscontainer(host, "rollback", "kept")
    assert unit_property(host, "kept.service", "Description") == "kept of the tree"
    syscontainer(host, "update", "--set", "TREE_SAYS=third", "kept")
    assert show(host, "kept")["generations"] == [0, 1, 2]
    host.run(["mv", TREE, f"{TREE}.away"])
    assert "its root" in syscontainer(host, "update", "kept", code=4).stderr
    host.run(["mv", f"{TREE}.away", TREE])
    syscontainer(host, "uninstall", "kept")


def test_what_cannot_be_a_root_is_refused(host: ThrowawayHost, tree: str) -> None:
    host.run(["mkdir", "-p", "/srv/empty"])
    done = syscontainer(host, "install", "--name", "none", "--rootfs", "/srv/empty", tree, code=2)
    assert "is no root directory" in done.stderr
    done = syscontainer(host, "install", "--name", "none", "--rootfs", TREE, "--set", "READONLY=false", tree, code=5)
    assert "root.readonly must be true" in done.stderr
    host.run(["rmdir", "/srv/empty"])
