"""Images written in the style of Project Atomic's, for specs and runtimes of 2016 to 2018, run on today's runtimes.

The corpus beside this file was written for these tests; each image has its share of what those images have: a config
that is JSON only once rendered, data options on bind mounts, old spec versions, capabilities as a list, labels of
modules that are off, missing sources, parts that are not there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.root.exports_bundle import Bundle, copy_exports, make_bundle, make_busybox

pytestmark = pytest.mark.root
runtimes = pytest.mark.parametrize("runtime", ["runc", "crun"])
_PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
_DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
CORPUS = Path(__file__).parent / "exports_corpus"


def bundle_of(tmp_path: Path, image: str, runtime: str, values: dict[str, str] | None = None) -> Bundle:
    root = make_busybox(
        tmp_path / "image", {"usr/bin/etcd-env.sh": "env; ls -d /etc/etcd /extra; touch /var/lib/etcd/member"}
    )
    return make_bundle(tmp_path / "bundle", copy_exports(CORPUS / image, root), runtime, values, name=image)


def verify_unit(bundle: Bundle, directory: Path) -> None:
    assert bundle.composition.service is not None
    unit = directory / f"{bundle.composition.values['NAME']}.service"
    unit.write_text(bundle.composition.service)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@runtimes
def test_an_etcd_made_for_project_atomic_runs(tmp_path: Path, runtime: str) -> None:
    more = ', {"destination": "/extra", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "mode=755"]}'
    bundle = bundle_of(tmp_path, "etcd", runtime, {"ETCD_NAME": "node-1", "ADDTL_MOUNTS": more})
    output = bundle.output()
    assert {"ETCD_NAME=node-1", "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379", "NAME=etcd", "/extra"} <= set(
        output.split("\n")
    )
    assert (tmp_path / "bundle/host/state/etcd/member").exists()
    assert not bundle.composition.detached
    assert bundle.composition.values.origins()["STATE_DIRECTORY"] == "os"
    assert sum("mode=755 was dropped" in notice for notice in bundle.composition.notices) == 3
    assert "ociVersion 1.0.0-rc3 became 1.0.0" in bundle.composition.notices
    verify_unit(bundle, tmp_path)


@runtimes
def test_flannel(tmp_path: Path, runtime: str) -> None:
    bundle = bundle_of(tmp_path, "flannel", runtime)
    output = bundle.output()
    assert "flannel on http://127.0.0.1:2379 as flannel\n" in output
    assert "CapEff:\t0000000000203000\n" in output
    # Made by our rules, because the image brings none.
    assert (tmp_path / "bundle/host/run/flannel").is_dir()
    said = "\n".join(bundle.composition.notices)
    for part in (
        "0.6.0-dev",
        "plain list",
        "linux.rlimits moved",
        "hostname was dropped",
        "type rbind",
        "became names",
    ):
        assert part in said
    verify_unit(bundle, tmp_path)


@runtimes
def test_kubelet(tmp_path: Path, runtime: str) -> None:
    bundle = bundle_of(tmp_path, "kubelet", runtime)
    output = bundle.output(after="echo; echo On the host:; cat /proc/self/mountinfo")
    inside, _, on_host = output.partition("On the host:")
    assert "shared:" in next(line for line in inside.split("\n") if " /var/lib/kubelet " in line)
    assert f"{tmp_path}/bundle/host/state/kubelet/pods " in on_host  # what it mounts for pods reaches the host,
    assert len([line for line in on_host.split("\n") if str(tmp_path) in line]) == 2  # and nothing else but the root
    assert f"first process is {Path('/proc/1/comm').read_text()}" in output
    assert (tmp_path / "bundle/host/conf/kubernetes/kubelet.conf").is_file()
    assert (tmp_path / "bundle/host/state/kubelet").is_dir()
    said = "\n".join(bundle.composition.notices)
    for part in (
        "selinuxLabel was dropped",
        "mountLabel was dropped",
        "the SELinux context",
        "rslave became shared",
        "system.slice:runc:kubelet became",
    ):
        assert part in said
    verify_unit(bundle, tmp_path)


@runtimes
def test_a_container_engine_that_brings_only_a_config(tmp_path: Path, runtime: str) -> None:
    conf = tmp_path / "bundle/host/conf/app"
    conf.mkdir(parents=True)
    (conf / "conf").write_text("the host's own\n")
    bundle = bundle_of(tmp_path, "engine", runtime)
    assert "the host's own\n" in bundle.output()
    assert (tmp_path / "bundle/host/state/engine/made").exists()
    assert bundle.composition.detached  # because the unit is ours
    assert "process.terminal was switched off: a service has none" in bundle.composition.notices
    verify_unit(bundle, tmp_path)


@pytest.mark.parametrize(
    ("runtime", "change"),
    [
        ("runc", {"process": {"capabilities": ["CAP_KILL"]}}),
        ("crun", {"ociVersion": "0.6.0-dev"}),
        ("runc", {"hostname": "x"}),
        ("runc", {"process": {"terminal": True}}),
        ("crun", {"process": {"selinuxLabel": "system_u:system_r:container_t:s0"}}),
        (
            "crun",
            {"mounts": [{"destination": "/data", "type": "rbind", "source": "/usr", "options": ["ro"]}, _DEV, _PROC]},
        ),
        ("runc", {"mounts": [_PROC]}),
        ("crun", {"mounts": [_PROC]}),
        (
            "runc",
            {"mounts": [{"destination": "/data", "type": "rbind", "source": "/usr", "options": ["ro"]}, _DEV, _PROC]},
        ),
    ],
)
def test_every_repair_is_needed(tmp_path: Path, runtime: str, change: dict[str, object]) -> None:
    """Each of these breaks the runtime as it is, and runs once repaired."""
    config: dict[str, object] = {
        "ociVersion": "1.0.0",
        "process": {"args": ["/bin/busybox", "true"], "cwd": "/"},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [_PROC, _DEV],
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    for key, value in change.items():
        before = config.get(key)
        config[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    image = make_busybox(
        tmp_path / "image", {"exports/config.json": json.dumps(config), "data": None, "proc": None, "dev": None}
    )
    bundle = make_bundle(tmp_path / "bundle", image, runtime)
    assert bundle.run().returncode == 0
    repaired = dict(bundle.config)
    bundle.config.clear()
    bundle.config.update(config)
    assert bundle.run().returncode != 0, "the runtime takes it as it is: the repair is not needed"
    assert repaired != config
