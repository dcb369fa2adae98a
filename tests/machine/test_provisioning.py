"""Provisioning scripts in the ancestor's style, unchanged, against images in its style; then the state of the machine.

The scripts are in ``provisioning``, each image's exports beside them. One machine for all, in the order of the file:
flannel needs the etcd that runs from before, as it would on a real host.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.ancestor import APP, PROVISIONING, ancestor_image, leave_deployment, needy_template
from tests.machine.command import show, unit_property
from tests.machine.host import ThrowawayHost
from tests.machine.registry import ADDRESS, FAILING, FILES, PATIENT, push_image, shell_image, start_registry

pytestmark = [pytest.mark.machine, pytest.mark.root]

PARAMETERS = f"""\
CONTAINER_INFRA_PREFIX="{ADDRESS}/openshift3/"
ETCD_IMAGE=http:{ADDRESS}/openshift3/etcd:v3.1
ETCD_NEW_IMAGE=http:{ADDRESS}/openshift3/etcd:v3.2
ETCD_NEEDY_IMAGE=http:{ADDRESS}/openshift3/etcd:v3.3
ETCD_NAME=master-0
ENGINE_IMAGE={ADDRESS}/openshift3/container-engine
ARCHIVE=/var/tmp/saved.tar
BUILT_IMAGE=built:v1
ONCE_IMAGE={ADDRESS}/openshift3/once
LOCAL_IMAGE={ADDRESS}/local:1
APP_IMAGE={ADDRESS}/openshift3/app
GOOD_IMAGE={ADDRESS}/openshift3/good
BAD_IMAGE={ADDRESS}/openshift3/bad
"""
HEAT = f"""\
CONTAINER_INFRA_PREFIX="{ADDRESS}/openstackmagnum/"
KUBE_TAG=v1.9.3
new_kube_tag=v1.10.0
KUBE_MASTER_IP=10.0.0.4
"""
ONCE = {
    "manifest.json": '{"version": "1.0", "defaultValues": {"MESSAGE": "hello"}}',
    "config.json.template": """{
        "ociVersion": "1.0.0",
        "process": {"args": ["/bin/sh", "-c", "echo ran once with $MESSAGE"], "env": ["PATH=/bin"], "cwd": "/"},
        "root": {"path": "rootfs", "readonly": false},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "mount"}]}
    }""",
}
SLEEP = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
UNITS = {
    "/etc/systemd/system/etcd.service": SLEEP,  # an administrator's
    "/usr/lib/systemd/system/kubelet.service": SLEEP,  # the OS's, not enabled
}


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    """A machine with the registry, the ancestor's images in it, and our command by the ancestor's name."""
    files = {**FILES, "/etc/sysconfig/provisioning": PARAMETERS, "/etc/sysconfig/heat-params": HEAT}
    with ThrowawayHost(files={**files, **UNITS}) as machine:
        start_registry(machine)
        push_images(machine)
        ours = Path(sys.executable).with_name("syscontainer")
        machine.run(["ln", "-s", ours, "/usr/local/bin/atomic"])
        yield machine


def push_images(machine: ThrowawayHost) -> None:
    for tag, extra in (("v3.1", {}), ("v3.2", {"etc/etcd-image": "new\n"}), ("v3.3", needy_template())):
        push_image(machine, ancestor_image("etcd", extra=extra), "openshift3/etcd", tag)
    push_image(machine, ancestor_image("flannel"), "openshift3/flannel", "v0.9")
    push_image(machine, ancestor_image("engine"), "openshift3/container-engine")
    for tag in ("v1.9.3", "v1.10.0"):
        image = ancestor_image("kubelet", extra={"etc/kubelet-version": f"{tag}\n"})
        push_image(machine, image, "openstackmagnum/kubernetes-kubelet", tag)
    labels, made = {"Labels": {"Name": "test/local", "Version": "7"}}, {"etc/made": "by docker\n"}
    exports = {"manifest.json": '{"version": "1.0", "defaultValues": {"NAME_OF_INSTANCE": ""}}'}
    push_image(machine, shell_image(exports=exports, run=labels, files=made), "local", "1")
    once = {"Labels": {"atomic.type": "system", "atomic.run": "once"}}
    push_image(machine, shell_image(exports=ONCE, run=once), "openshift3/once")


def provision(host: ThrowawayHost, script: str) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts; what it wrote when it fails."""
    done = host.run(["timeout", "110", PROVISIONING / script], check=False)
    journal = host.run(["journalctl", "--lines=40", "--no-pager"]).stdout if done.returncode else ""
    assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}{journal}"
    return done


def test_the_script_for_etcd_works_unchanged(host: ThrowawayHost) -> None:
    host.run(["systemctl", "start", "etcd.service"])  # which the script stops and deletes
    done = provision(host, "etcd.sh")
    said = done.stdout + done.stderr
    assert "changed: pre-pull etcd image" in said
    assert "changed: etcd is installed" in said
    assert "127.0.0.1:2379 is healthy" in said
    document = show(host, "etcd")
    assert (document["state"], document["generation"], document["enabled"]) == ("running", 0, True)
    assert document["image"] == f"{ADDRESS}/openshift3/etcd:v3.1"
    assert "/etcd.service/payload" in host.run(["sh", "-c", "cat /proc/$(pgrep -x etcd)/cgroup"]).stdout
    assert (
        "ETCD_HEARTBEAT_INTERVAL=150"
        in host.run(["sh", "-c", "cat /proc/$(pgrep -x etcd)/environ | tr '\\0' '\\n'"]).stdout
    )
    assert host.path("/var/lib/etcd/member").is_dir()
    # some reach into the root by its path
    assert host.path("/var/lib/syscontainers/containers/etcd.0/rootfs/usr/bin/etcd").exists()
    # the unit is the image's own text, rendered
    assert "Description=Etcd Server\n" in host.path("/etc/systemd/system/etcd.service").read_text()


def test_etcd_upgrade_and_back(host: ThrowawayHost) -> None:
    host.run(["atomic", "run", "etcd", "etcdctl", "put", "kept", "yes"])
    said = provision(host, "etcd-upgrade.sh").stdout
    assert "changed: values" in said
    assert "changed: rolled back" in said
    document = show(host, "etcd")
    assert (document["state"], document["generation"]) == ("running", 1)
    assert document["values"]["ETCD_LISTEN_CLIENT_URLS"].endswith(":4001")
    assert host.run(["atomic", "run", "etcd", "etcdctl", "get", "--print-value-only", "kept"]).stdout == "yes\n"


def test_flannel(host: ThrowawayHost) -> None:
    said = provision(host, "flannel.sh").stdout
    assert "FLANNEL_NETWORK=10.5.0.0/16" in said
    document = show(host, "flanneld")
    assert (document["state"], document["sub_state"]) == ("running", "running")
    assert unit_property(host, "flanneld.service", "Type") == "notify"
    assert document["enabled"] is False  # it has no [Install]
    assert host.path("/run/flannel/subnet.env").exists()


def test_kubelet(host: ThrowawayHost) -> None:
    provision(host, "kubelet.sh")
    assert show(host, "kubelet")["state"] == "running"
    arguments = "--master=https://10.0.0.4:6443 --pod-manifest-path=/etc/kubernetes/manifests --cadvisor-port=0"
    assert host.path("/var/lib/kubelet/started-with").read_text() == f"kubelet v1.9.3 {arguments}\n"
    assert unit_property(host, "kubelet.service", "FragmentPath") == "/etc/systemd/system/kubelet.service"
    # the volume that it mounted is there on the host
    assert (
        "tmpfs" in host.run(["findmnt", "--noheadings", "--output=FSTYPE", "/var/lib/kubelet/pods/one/volume"]).stdout
    )


def test_kubelet_upgrade_keeps_edited_files(host: ThrowawayHost) -> None:
    said = provision(host, "kubelet-upgrade.sh")
    assert "Will not delete /etc/kubernetes/kubelet as it was manually modified." in said.stdout + said.stderr
    document = show(host, "kubelet")
    assert (document["state"], document["generation"]) == ("running", 1)
    assert document["image"] == f"{ADDRESS}/openstackmagnum/kubernetes-kubelet:v1.10.0"
    assert (
        host.path("/var/lib/kubelet/started-with").read_text().startswith("kubelet v1.10.0 --master=https://10.0.0.4")
    )
    names = host.run(["atomic", "images", "list", "-n", "-f", "repo=kubelet"]).stdout
    assert (names.count("v1.10.0"), names.count("v1.9.3")) == (1, 0)


def test_engine(host: ThrowawayHost) -> None:
    said = provision(host, "engine.sh").stdout
    assert "unix:///run/container-engine.sock" in said
    assert show(host, "container-engine")["state"] == "running"
    state = host.path("/var/lib/container-engine")
    assert (state / "configuration").read_text() == '{"storage-driver": "devicemapper", "group": "$GROUP"}\n'
    assert int((state / "capabilities").read_text(), 16) & (1 << 21)  # CAP_SYS_ADMIN
    # its storage is a mount that the host sees, because the image's own ExecStartPre= ran from its root on the host
    assert "engine-storage" in host.run(["findmnt", "--noheadings", "/var/lib/container-engine/overlay2"]).stdout
    started = host.path("/run/container-engine.started").read_text().strip()
    assert started == unit_property(host, "container-engine.service", "MainPID")


def test_images_that_are_not_in_a_registry(host: ThrowawayHost) -> None:
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", f"docker://{ADDRESS}/local:1"]
    host.run([*copy, "docker-archive:/var/tmp/saved.tar:example/saved:1"])
    host.run([*copy, "containers-storage:localhost/built:v1"])
    provision(host, "local-images.sh")
    assert [
        name for name in ("saved", "built", "once") if host.path(f"/etc/systemd/system/{name}.service").exists()
    ] == []


def test_looking_into_images_and_sharing_a_tree(host: ThrowawayHost) -> None:
    host.run(["syscontainer", "pull", f"{ADDRESS}/local:1"])
    provision(host, "inspect.sh")
    assert host.run(["findmnt", "--noheadings", "/mnt/image"], check=False).stdout == ""


def test_housekeeping_of_images(host: ThrowawayHost) -> None:
    provision(host, "images.sh")


def test_updating_everything_spares_what_fails(host: ThrowawayHost) -> None:
    references = {name: push_version(host, name, "old", PATIENT) for name in ("good", "bad")}
    for name, reference in references.items():
        host.run(["atomic", "install", "--system", "--name", name, reference])
        host.run(["systemctl", "start", name])
    push_version(host, "good", "new", PATIENT)
    push_version(host, "bad", "new", FAILING)
    said = provision(host, "update-all.sh")
    assert "about to fail" in said.stderr
    assert [show(host, name)["state"] for name in ("etcd", "flanneld", "kubelet")] == ["running"] * 3


def push_version(host: ThrowawayHost, name: str, version: str, script: str) -> str:
    return push_image(host, shell_image(script, files={"etc/version": f"{version}\n"}), f"openshift3/{name}")


def test_the_documented_way_from_the_ancestors_own_container(host: ThrowawayHost) -> None:
    reference = push_image(host, shell_image(exports={"config.json.template": APP}), "openshift3/app")
    leave_deployment(host, reference)
    log = host.path("/var/lib/app/log")
    assert log.read_text() == "hello\n"
    provision(host, "migrate.sh")
    assert show(host, "app")["state"] == "running"
    assert log.read_text() == "hello\n" * 2  # the data is where it was
    assert "GREETING" in host.path("/root/app.info").read_text()
    assert not host.path("/var/lib/containers/atomic/app.0").exists()


def test_etcd_removal_leaves_the_data(host: ThrowawayHost) -> None:
    provision(host, "etcd-remove.sh")
    assert unit_property(host, "etcd.service", "LoadState") == "not-found"
    assert not host.path("/etc/tmpfiles.d/etcd.conf").exists()
    assert host.path("/var/lib/etcd/member").is_dir()
    assert "etcd" not in host.run(["atomic", "images", "list"]).stdout


def test_everything_goes(host: ThrowawayHost) -> None:
    provision(host, "engine-remove.sh")
    assert host.run(["atomic", "containers", "list", "--all"]).stdout == ""
    assert not list(host.path("/var/lib/syscontainers/containers").iterdir())
    assert "rootfs" not in host.run(["findmnt", "--list", "--noheadings", "--output=TARGET"]).stdout
    # edited, so it is somebody's own by now; the other went with the container
    assert "--pod-manifest-path" in host.path("/etc/kubernetes/kubelet").read_text()
    assert not host.path("/etc/container-engine").exists()
