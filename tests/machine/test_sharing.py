"""Storage that podman and we share, on one host: its images as our services, ours in its lists."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import ADDRESS, PATIENT, UNIT, start_registry

pytestmark = [pytest.mark.machine, pytest.mark.root]

DECLARATION = "/etc/syscontainers/containers.d/declared.toml"
STORE = "/var/lib/syscontainers/storage"
PRIMARY = "/var/lib/containers/storage"


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
    """Before, we have no image that nobody uses; afterwards podman has none either."""
    syscontainer(host, "prune", "--all")
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
    # Nothing has changed there: nothing to do. podman drops it: the service does not care.
    assert "nothing to change" in syscontainer(host, "update", "app").stdout
    podman(host, "rmi", "--all", "--force")
    syscontainer(host, "restart", "app")
    assert show(host, "app")["state"] == "running"
    assert "not in /var/lib/containers/storage" in syscontainer(host, "update", "app", code=4).stderr
    assert "ok" in syscontainer(host, "image", "verify", "localhost/app").stdout


def test_nothing_is_downloaded_or_copied(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    beside = "/var/lib/containers/beside"  # link(2) does not cross mount points, and this machine has two there
    build(host, "app", make_image(PATIENT), "LABEL version=1")
    host.run(["systemctl", "stop", UNIT])
    try:
        syscontainer(host, "pull", "--storage", beside, "containers-storage:app")
    finally:
        start_registry(host)
    top = host.path(f"{PRIMARY}/overlay")
    files = [path for path in top.glob("*/diff/**/*") if path.is_file()]
    assert files
    for path in files:
        assert path.samefile(host.path(f"{beside}/overlay/{path.relative_to(top)}"))
    host.run(["rm", "-rf", beside, "/var/lib/containers/.syscontainers-staging"])


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


# storage export


CONF = "/etc/containers/storage.conf"
USERS_CONF = """\
# Our own storage.conf.
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"   # on the big disk

[storage.options]
size = ""  # none
"""


def read_only_images(host: ThrowawayHost) -> list[str]:
    rows = json.loads(podman(host, "images", "--no-trunc", "--format", "json"))
    return [row["Id"] for row in rows if row.get("ReadOnly")]


@pytest.mark.parametrize("before", [None, USERS_CONF], ids=["no file", "a file of the user's"])
def test_exported_and_taken_back(host: ThrowawayHost, make_image: MakeImage, clean: None, before: str | None) -> None:
    conf = host.path(CONF)
    if before is not None:
        conf.write_text(before)
    syscontainer(host, "pull", make_image(PATIENT))
    (image,) = json.loads(syscontainer(host, "images", "--json").stdout)
    shown = syscontainer(host, "storage", "export", "--dry-run").stdout
    assert f'+additionalimagestores = ["{STORE}"]' in shown
    assert (conf.read_text() if conf.exists() else None) == before

    assert syscontainer(host, "storage", "export").stdout == f"{STORE}: added to {CONF}\n"
    assert read_only_images(host) == [image["id"]]
    if before is not None:
        assert conf.read_text() == before.replace(
            "[storage.options]\n", f'[storage.options]\nadditionalimagestores = ["{STORE}"]\n'
        )
    assert "nothing to do" in syscontainer(host, "storage", "export").stdout

    assert syscontainer(host, "storage", "export", "--undo").stdout == f"{STORE}: taken out of {CONF}\n"
    assert (conf.read_text() if conf.exists() else None) == before
    assert read_only_images(host) == []
    syscontainer(host, "storage", "export", "--undo", code=4)


def test_every_command_of_podman_on_our_root(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    """Through storage.conf as ``storage export`` leaves it, with no option for podman or skopeo."""
    # Pushing compresses anew, so what is compared was pushed by podman before.
    podman(host, "pull", "--quiet", "--tls-verify=false", source := make_image(PATIENT))
    pushed, again = f"{ADDRESS}/pushed:1", f"{ADDRESS}/again:1"
    podman(host, "push", "--quiet", "--tls-verify=false", source, pushed)
    podman(host, "rmi", "--all", "--force")
    digest = syscontainer(host, "pull", pushed).stdout.strip()
    syscontainer(host, "storage", "export")

    assert json.loads(podman(host, "inspect", pushed))[0]["Digest"] == digest
    assert len(json.loads(podman(host, "history", "--format=json", pushed))) >= 1
    limits = ("--ulimit=nofile=256:256", "--ulimit=nproc=256:256", "--network=none")
    command = ("--entrypoint=/bin/cat", pushed, "/etc/passwd")
    assert podman(host, "run", "--rm", *limits, *command).startswith("root:x:0:0")
    podman(host, "create", "--name", "made", *limits, *command)
    assert podman(host, "start", "--attach", "made").startswith("root:x:0:0")
    podman(host, "rm", "made")
    podman(host, "save", "--quiet", "--format=oci-archive", "--output=/saved.tar", pushed)
    podman(host, "push", "--quiet", "--tls-verify=false", "--digestfile=/digest", pushed, again)
    assert host.path("/digest").read_text() == digest
    host.run(["skopeo", "copy", "--quiet", f"containers-storage:{pushed}", "dir:/copied"])
    host.path("/build").mkdir(exist_ok=True)
    host.path("/build/Containerfile").write_text(f'FROM {pushed}\nRUN ["/bin/touch", "/made"]\n')
    podman(host, "build", "--quiet", *limits, "--tag=built", "/build")
    assert podman(host, "run", "--rm", *limits, "--entrypoint=/bin/ls", "built", "/made") == "/made\n"
    podman(host, "rmi", "built")

    # What podman pulls of it is there: no layer comes into its own store.
    podman(host, "pull", "--quiet", "--tls-verify=false", pushed)
    assert list(host.path(f"{PRIMARY}/overlay").glob("*/diff")) == []
    podman(host, "rmi", pushed)
    host.run(["rm", "-rf", "/saved.tar", "/copied", "/digest"])
    syscontainer(host, "storage", "export", "--undo")


def test_what_was_edited_since_loses_only_our_entry(host: ThrowawayHost, clean: None) -> None:
    syscontainer(host, "storage", "export")
    conf = host.path(CONF)
    conf.write_text(conf.read_text().replace('driver = "overlay"', 'driver = "overlay" # checked by me'))
    syscontainer(host, "storage", "export", "--undo")
    assert "checked by me" in conf.read_text()
    assert STORE not in conf.read_text()
    podman(host, "images")


def test_not_taken_back_while_podman_leans_on_it(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    reference = make_image(PATIENT)
    syscontainer(host, "pull", reference)
    syscontainer(host, "storage", "export")
    build(host, "child", reference, "LABEL a=b", "COPY Containerfile /made")
    assert "layers of ours" in syscontainer(host, "storage", "export", "--undo", code=1).stderr
    # Nor does what it leans on go.
    syscontainer(host, "image", "rm", reference)
    syscontainer(host, "prune", "--all")
    assert "child" in podman(host, "images")
    podman(host, "rmi", "child")
    assert "layer " in syscontainer(host, "prune").stdout
    syscontainer(host, "storage", "export", "--undo")


def test_a_podman_that_then_fails_gets_its_file_back(host: ThrowawayHost, clean: None) -> None:
    # The environment has the last word on the options, so the entry does nothing.
    host.path(CONF).write_text(USERS_CONF)
    environment = {"STORAGE_DRIVER": "overlay", "STORAGE_OPTS": "overlay.mountopt=nodev"}
    done = host.run(["syscontainer", "storage", "export"], env=environment, check=False)
    assert done.returncode == 1
    assert "podman does not show" in done.stderr
    assert host.path(CONF).read_text() == USERS_CONF
    syscontainer(host, "storage", "export", "--undo", code=4)


def test_taken_back_though_the_storage_is_gone(host: ThrowawayHost, clean: None) -> None:
    syscontainer(host, "storage", "export")
    host.run(["mv", STORE, f"{STORE}.gone"])
    try:
        assert "can't stat" in podman(host, "images", check=False)
        syscontainer(host, "storage", "export", "--undo")
        podman(host, "images")
    finally:
        host.run(["rm", "-rf", STORE])
        host.run(["mv", f"{STORE}.gone", STORE])


def test_check_names_the_damaged_file(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    reference = make_image(PATIENT)
    syscontainer(host, "pull", reference)
    assert syscontainer(host, "storage", "check").stdout == "1 images, 2 layers: ok\n"
    assert json.loads(syscontainer(host, "storage", "check", "--json").stdout) == {"storage": STORE, "findings": []}
    (payload,) = host.path(f"{STORE}/overlay").glob("*/diff/payload")
    times = (payload.stat().st_atime_ns, payload.stat().st_mtime_ns)
    payload.write_text(payload.read_text().replace("sh", "zz", 1))
    os.utime(payload, ns=times)
    (finding,) = json.loads(syscontainer(host, "storage", "check", "--json", code=5).stdout)["findings"]
    assert (finding["path"], finding["problem"]) == ("payload", "has other contents")
    for words in (("storage", "check"), ("image", "verify", reference), ("image", "verify", "--all")):
        assert "payload: has other contents" in syscontainer(host, *words, code=5).stdout
    assert syscontainer(host, "storage", "check", "--quick").stdout == "1 images, 2 layers: ok\n"
    syscontainer(host, "image", "verify", code=2)


# podman's own storage as ours


def test_podmans_own_storage_as_ours(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    reference = make_image(PATIENT)
    syscontainer(host, "install", "--storage", PRIMARY, "--now", "--name", "shared", reference)
    (row,) = json.loads(podman(host, "images", "--format", "json"))
    assert row["Names"] == [reference]
    limits = ("--ulimit=nofile=256:256", "--ulimit=nproc=256:256", "--network=none", "--rm")
    assert podman(host, "run", *limits, "--entrypoint=/bin/cat", reference, "/etc/passwd").startswith("root:x:0:0")
    assert not host.path(f"{STORE}/overlay-images/images.json").exists() or not json.loads(
        syscontainer(host, "images", "--json").stdout
    )

    # Neither takes the service's root away, asked for everything that is not used.
    podman(host, "image", "prune", "--all", "--force")
    podman(host, "system", "prune", "--all", "--force")
    assert "in use by a container" in podman(host, "rmi", reference, check=False)
    syscontainer(host, "--storage", PRIMARY, "prune", "--all")
    assert syscontainer(host, f"--storage={PRIMARY}", "storage", "check").stdout == "1 images, 3 layers: ok\n"
    syscontainer(host, "restart", "shared")
    assert show(host, "shared")["state"] == "running"

    # Two generations hold it, then one; without any it is podman's again to remove.
    syscontainer(host, "update", "--storage", PRIMARY, "shared", "--set", "ENV=A=1")
    assert len(held(host)) == 2
    syscontainer(host, "uninstall", "shared")
    assert held(host) == []
    podman(host, "image", "prune", "--all", "--force")
    assert json.loads(podman(host, "images", "--format", "json")) == []


def held(host: ThrowawayHost) -> list[str]:
    rows = json.loads(podman(host, "ps", "--all", "--external", "--format", "json"))
    return [name for row in rows for name in row["Names"]]


def test_a_hold_that_podman_was_made_to_drop_comes_back(
    host: ThrowawayHost, make_image: MakeImage, clean: None
) -> None:
    reference = make_image(PATIENT)
    syscontainer(host, "--storage", PRIMARY, "install", "--name", "shared", reference)
    podman(host, "rm", "syscontainers-shared.0")
    assert held(host) == []
    syscontainer(host, "--storage", PRIMARY, "prune", "--all")
    assert held(host) == ["syscontainers-shared.0"]
    podman(host, "image", "prune", "--all", "--force")
    syscontainer(host, "start", "shared")
    syscontainer(host, "uninstall", "shared")


def test_an_install_that_fails_holds_nothing(host: ThrowawayHost, make_image: MakeImage, clean: None) -> None:
    reference = make_image("exit 3")
    syscontainer(host, "install", "--storage", PRIMARY, "--now", "--name", "failing", reference, code=6)
    assert held(host) == []
    assert json.loads(podman(host, "images", "--format", "json")) == []


def test_prune_in_podmans_storage_counts_its_containers(
    host: ThrowawayHost, make_image: MakeImage, clean: None
) -> None:
    used, unused = make_image(PATIENT), make_image(PATIENT + "; true")
    for reference in (used, unused):
        podman(host, "pull", "--quiet", "--tls-verify=false", reference)
    podman(host, "create", "--name", "theirs", "--network=none", used)
    freed = json.loads(syscontainer(host, "--storage", PRIMARY, "prune", "--all", "--json").stdout)
    assert len(freed["images"]) == 1
    (row,) = json.loads(syscontainer(host, "--storage", PRIMARY, "images", "--json").stdout)
    assert (row["names"], row["used_by"]) == ([used], ["theirs"])
    assert "used by container" in syscontainer(host, "--storage", PRIMARY, "image", "rm", used, code=1).stderr
    podman(host, "rm", "theirs")
