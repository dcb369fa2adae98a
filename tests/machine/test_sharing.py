"""Storage that podman and we share, on one host: its images as our services, ours in its lists."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import PATIENT

pytestmark = [pytest.mark.machine, pytest.mark.root]

DECLARATION = "/etc/syscontainers/containers.d/declared.toml"
STORE = "/var/lib/syscontainers/storage"


def podman(host: ThrowawayHost, *words: str, check: bool = True) -> str:
    # The machine's control groups and journal are systemd's, which podman would ask over a bus that is not there.
    done = host.run(["podman", "--cgroup-manager=cgroupfs", "--events-backend=file", *words], check=check)
    return done.stdout if check else done.stdout + done.stderr


def build(host: ThrowawayHost, name: str, base: str, *lines: str) -> None:
    """Build on ``base`` without running anything."""
    host.path("/build").mkdir(exist_ok=True)
    host.path("/build/Containerfile").write_text("\n".join([f"FROM {base}", *lines, ""]))
    podman(host, "build", "--quiet", "--tls-verify=false", "--tag", name, "/build")


@pytest.fixture
def clean(host: ThrowawayHost) -> Iterator[None]:
    """Afterwards neither has anything."""
    yield
    for row in json.loads(syscontainer(host, "list", "--json").stdout):
        syscontainer(host, "uninstall", row["name"])
    syscontainer(host, "prune", "--all")
    podman(host, "rmi", "--all", "--force")
    host.run(["rm", "-rf", "/etc/containers/storage.conf", DECLARATION])


def test_what_podman_built_becomes_a_service(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    build(host, "app", make_image(PATIENT), "LABEL version=1")
    syscontainer(host, "install", "--now", "containers-storage:app")
    document = show(host, "app")
    assert document["state"] == "running"
    image = json.loads(podman(host, "image", "inspect", "localhost/app"))[0]
    assert document["digest"] == image["Digest"]
    for layer in host.path(f"{STORE}/overlay").glob("*/diff"):
        theirs = host.path(f"/var/lib/containers/storage/overlay/{layer.parent.name}/diff")
        assert [path.stat().st_nlink for path in theirs.rglob("*") if path.is_file() and not path.is_symlink()]
    # Nothing has changed there: nothing to do. podman drops it: the service does not care.
    assert "already installed" in syscontainer(host, "update", "app").stdout
    podman(host, "rmi", "--all", "--force")
    syscontainer(host, "restart", "app")
    assert show(host, "app")["state"] == "running"
    assert "not in /var/lib/containers/storage" in syscontainer(host, "update", "app", code=4).stderr
    assert "ok" in syscontainer(host, "image", "verify", "localhost/app").stdout


def test_an_update_takes_what_podman_built_anew(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    base = make_image(PATIENT)
    build(host, "app", base, "LABEL version=1")
    syscontainer(host, "install", "--now", "containers-storage:app")
    before = show(host, "app")["digest"]
    build(host, "app", base, "LABEL version=2")
    syscontainer(host, "update", "app")
    document = show(host, "app")
    assert (document["generation"], document["state"]) == (1, "running")
    assert document["digest"] != before


def test_declared(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    base = make_image(PATIENT)
    build(host, "app", base, "LABEL version=1")
    path = host.path(DECLARATION)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('image = "containers-storage:app"\n')
    syscontainer(host, "apply")
    first = show(host, "declared")["digest"]
    assert syscontainer(host, "apply", "--check").stdout == ""
    build(host, "app", base, "LABEL version=2")
    syscontainer(host, "apply")
    assert show(host, "declared")["digest"] != first
    path.unlink()
    syscontainer(host, "apply", "--prune")


def test_declared_files_get_names_that_podman_can_read(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    podman(host, "pull", "--quiet", "--tls-verify=false", reference := make_image(PATIENT))
    podman(host, "save", "--quiet", "--format=oci-archive", "--output=/build.tar", reference)
    podman(host, "rmi", reference)
    path = host.path(DECLARATION)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('image = "oci-archive:/build.tar"\n')
    syscontainer(host, "apply")
    assert syscontainer(host, "apply", "--check").stdout == ""
    rows = json.loads(podman(host, "--storage-opt", f"additionalimagestore={STORE}", "images", "--format", "json"))
    assert any(name.startswith("localhost/build.") for row in rows for name in row["Names"])
    path.unlink()
    syscontainer(host, "apply", "--prune")
