"""What a small cluster node boots with: etcd, a client of it, and a service that mounts into the host.

etcd is the example's, from Debian's packages. The apiserver writes into it and goes on only when that worked. The
kubelet sees the host's processes, and what it mounts below /var/lib/kubelet the host sees too, as a kubelet does with
the volumes of pods. All lie as seeds in one OCI layout, next to the declarations that ask for them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from examples.debian import Tree, download_packages
from examples.etcd.build import BASE_PACKAGES, ETCD_PACKAGES, image_config, make_base, make_etcd, make_version
from examples.layout import Layer, Layout
from examples.locked import locked
from tests.vm.golden import CACHE, CHECKOUT

NAMES = ("etcd", "apiserver", "kubelet")
DECLARED = "etc/syscontainers/containers.d"
SEEDS = "usr/share/syscontainers/seeds/chain"
UNITS = "etc/systemd/system"
BOOT_UNITS = ("syscontainers-recover", "syscontainers-apply", "syscontainers-roots", "syscontainers-settle")

APISERVER = """\
#!/bin/sh
trap 'echo "stopping, version VERSION"; exit 0' TERM
until etcdctl put /registry/apiserver "version VERSION"; do sleep 1; done
echo "apiserver version VERSION has registered"
while :; do sleep 1; done
"""
KUBELET = """\
#!/bin/sh
trap 'umount /var/lib/kubelet/pods; exit 0' TERM
read -r init </proc/1/comm
mkdir -p /var/lib/kubelet/pods
mount -t tmpfs volume /var/lib/kubelet/pods
echo "process 1 is $init" >/var/lib/kubelet/pods/report
echo "kubelet is up, process 1 is $init"
while :; do sleep 1; done
"""
KUBELET_CONFIG = """\
{
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/payload"],
        "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"],
        "cwd": "/",
        "capabilities": {
            "bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"]
        }
    },
    "root": {"path": "rootfs", "readonly": true},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=755"]},
        {
            "destination": "/var/lib/kubelet", "type": "bind", "source": "$STATE_DIRECTORY/$NAME",
            "options": ["rbind", "rshared", "rw"]
        }
    ],
    "linux": {
        "rootfsPropagation": "rshared",
        "namespaces": [{"type": "mount"}]
    }
}
"""
KUBELET_TMPFILES = "d $STATE_DIRECTORY/$NAME 0755 0 0 - -\n"
DECLARATIONS = {
    "etcd": 'image = "seed.example/etcd:1"\n[limits]\nMemoryMax = "512M"\n',
    "apiserver": 'image = "seed.example/apiserver:1"\nrequires = ["etcd"]\n[limits]\nTasksMax = 500\n',
    "kubelet": 'image = "seed.example/kubelet:1"\nrequires = ["apiserver"]\n',
}
# Emulated, and with the rest of a test run beside it, etcd takes longer than its author could think of.
PATIENCE = "[Service]\nTimeoutStartSec=300\nTimeoutStopSec=60\n"


def build_seeds() -> Path:
    """The layout with two versions of each image, built once for its sources."""
    sources = [Path(__file__), *(CHECKOUT / "examples").rglob("*.py"), *(CHECKOUT / "examples/etcd/exports").iterdir()]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()[:16]
    directory = CACHE / f"seeds-{key}"
    with locked(CACHE / "seeds.lock"):
        if not directory.exists():
            building = directory.with_suffix(".new")
            shutil.rmtree(building, ignore_errors=True)
            _build(Layout(building))
            building.rename(directory)
    return directory


def _build(layout: Layout) -> None:
    packages = [download_packages(names, CACHE.parent / "debs") for names in (BASE_PACKAGES, ETCD_PACKAGES)]
    base, etcd = layout.add_layer(make_base(packages[0]).tar()), layout.add_layer(make_etcd(packages[1]).tar())
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    for version in ("1", "2"):
        images: dict[str, tuple[list[Layer], Tree, Mapping[str, object]]] = {
            "etcd": ([base, etcd], make_version(version), image_config(version)),
            "apiserver": ([base, etcd], _payload(APISERVER.replace("VERSION", version)), _APISERVER_RUN),
            "kubelet": ([base], _kubelet(version), {}),
        }
        for name, (below, own, run) in images.items():
            layers = [*below, layout.add_layer(own.tar())]
            layout.add_image(f"seed.example/{name}:{version}", layers, architecture.stdout.strip(), run)
    broken = [base, layout.add_layer(_payload("#!/bin/sh\necho cannot work; exit 7\n").tar())]
    layout.add_image("seed.example/apiserver:broken", broken, architecture.stdout.strip(), _APISERVER_RUN)
    layout.write_index()


_APISERVER_RUN = {"Entrypoint": ["/payload"], "Env": ["PATH=/usr/bin:/bin", "ETCDCTL_API=3"]}


def _payload(script: str) -> Tree:
    tree = Tree()
    tree.write("payload", script, 0o755)
    return tree


def _kubelet(version: str) -> Tree:
    tree = _payload(KUBELET.replace("kubelet is", f"kubelet {version} is"))
    tree.make_directory("var/lib/kubelet")
    tree.link("usr/bin/umount", "busybox")
    tree.link("usr/bin/mkdir", "busybox")
    tree.make_directory("exports")
    tree.write("exports/config.json.template", KUBELET_CONFIG)
    tree.write("exports/tmpfiles.template", KUBELET_TMPFILES)
    return tree


def make_node(root: Path, declarations: Mapping[str, str] = DECLARATIONS, *, seeds: bool = True) -> Path:
    """The tree of files that makes an operating system this node: only files, no command was ever run in it."""
    for name, text in declarations.items():
        write(root / DECLARED / f"{name}.toml", text)
        write(root / UNITS / f"{name}.service.d" / "90-patience.conf", PATIENCE)
    wants = root / UNITS / "multi-user.target.wants"
    wants.mkdir(parents=True)
    for unit in BOOT_UNITS:
        (wants / f"{unit}.service").symlink_to(f"/usr/lib/systemd/system/{unit}.service")
    if seeds:
        shutil.copytree(build_seeds(), root / SEEDS)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
