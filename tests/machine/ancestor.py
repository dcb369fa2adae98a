"""Images in the ancestor's style, from the trees beside the scripts in ``provisioning``, and what their host has."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path
from string import Template

from examples.etcd.build import build_layout
from syscontainers.typed import Document
from tests.images import Entry, Image, Layer, Tree, build_image, layer, program_from, symlink
from tests.machine.host import ThrowawayHost
from tests.waiting import wait_for

PROVISIONING = Path(__file__).parent / "provisioning"
_APPLETS = (
    "awk",
    "base64",
    "cat",
    "echo",
    "grep",
    "ls",
    "mkdir",
    "mount",
    "sed",
    "sh",
    "sleep",
    "touch",
    "umount",
    "wget",
)
APP = """{
    "ociVersion": "1.0.0",
    "process": {"args": ["/bin/sh", "-c", "echo $GREETING >>/data/log; while :; do sleep 0.2; done"],
                "env": ["PATH=/bin"], "cwd": "/"},
    "root": {"path": "rootfs", "readonly": true},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "bind", "source": "$STATE_DIRECTORY/$NAME", "options": ["rbind", "rw"]}
    ],
    "linux": {"namespaces": [{"type": "mount"}]}
}"""
"""The config template of an image that the ancestor has installed as ``app``."""
APP_UNIT = """\
[Service]
ExecStart=/usr/sbin/runc run app
ExecStop=/usr/sbin/runc kill app
WorkingDirectory=/var/lib/containers/atomic/app.0

[Install]
WantedBy=multi-user.target
"""


def ancestor_image(name: str, *, extra: Tree | None = None) -> Image:
    """The image of ``provisioning/NAME``: busybox, or what etcd needs, below its own files."""
    base = etcd_layers() if name == "etcd" else (busybox_layer(), perl_layer())
    return build_image([*base, layer({**_read_tree(PROVISIONING / name), **(extra or {})})], {"Labels": _labels(name)})


def _labels(name: str) -> dict[str, str]:
    return {"atomic.type": "system", "Name": f"test/{name}", "Version": "1"}


def _read_tree(directory: Path) -> dict[str, Entry | str | bytes]:
    """``exports`` and what is below ``root``, with the modes of the checkout."""
    found: dict[str, Entry | str | bytes] = {}
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        inside = str(file.relative_to(directory)).removeprefix("root/")
        found[inside] = Entry(file.read_bytes(), mode=0o755 if file.suffix == ".sh" else 0o644)
    return found


def etcd_layers() -> tuple[Layer, ...]:
    """Those of the real etcd that the example builds."""
    layout = build_layout()
    index = Document.parse((layout / "index.json").read_bytes(), "index.json")
    (entry,) = [
        each for each in index.get_objects("manifests") if "plain" in each.get_string_map("annotations").values()
    ]
    manifest = Document.parse(_blob(layout, entry.get_str("digest")), "manifest")
    blobs = [_blob(layout, each.get_str("digest")) for each in manifest.get_objects("layers")]
    return tuple(Layer(gzip.decompress(blob), blob, "gzip") for blob in blobs)


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def busybox_layer() -> Layer:
    """A shell and its tools."""
    links = {f"usr/bin/{name}": symlink("busybox") for name in _APPLETS}
    return layer({"bin": symlink("usr/bin"), "usr/bin/busybox": program_from("/bin/busybox"), **links})


def perl_layer() -> Layer:
    """Perl without its modules: the one program of every Debian that can send to a datagram socket."""
    tree: dict[str, Entry | str | bytes] = {"usr/bin/perl": program_from("/usr/bin/perl")}
    said = subprocess.run(["ldd", "/usr/bin/perl"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(?:=> )?(/\S+) \(0x", said):
        tree[library.lstrip("/")] = program_from(library)
    tree["usr/bin/notify.pl"] = (PROVISIONING / "notify.pl").read_bytes()
    return layer(tree)


def needy_template() -> dict[str, Entry | str | bytes]:
    """etcd's config with a variable that neither its manifest nor anybody else gives."""
    template = (PROVISIONING / "etcd/exports/config.json.template").read_text()
    return {
        "exports/config.json.template": template.replace('"TERM=xterm"', '"ETCD_CIPHER_SUITES=$ETCD_CIPHER_SUITES"'),
    }


def leave_deployment(host: ThrowawayHost, reference: str) -> None:
    """What ``atomic install`` itself left on the host when it installed ``reference`` as ``app``, running."""
    values = {"GREETING": "hello", "NAME": "app", "STATE_DIRECTORY": "/var/lib"}
    deployment = "/var/lib/containers/atomic/app.0"
    host.run(["mkdir", "-p", deployment, "/var/lib/app", "/mnt/app"])
    host.shell(f"syscontainer pull {reference} && syscontainer mount {reference} /mnt/app")
    host.shell(f"cp -a /mnt/app {deployment}/rootfs && syscontainer unmount /mnt/app")
    host.shell(f"mkdir -p {deployment}/rootfs/proc {deployment}/rootfs/data && ln -s {deployment} {deployment[:-2]}")
    written = {
        f"{deployment}/config.json": Template(APP).substitute(values),
        f"{deployment}/info": json.dumps({"image": reference, "values": values}, indent=4) + "\n",
        "/etc/tmpfiles.d/app.conf": "d /var/lib/app 0700 0 0 - -\n",
        "/etc/systemd/system/app.service": APP_UNIT,
    }
    for path, text in written.items():
        host.path(path).write_text(text)
    host.shell("systemctl daemon-reload && systemctl enable --now app")
    log = host.path("/var/lib/app/log")
    wait_for(lambda: log.exists() and log.stat().st_size > 0, "it writes no log")
