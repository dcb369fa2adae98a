"""Build the etcd image from Debian's packages and push it to a registry.

::

    python -m examples.etcd.build                                 # only build; prints where the layout is
    python -m examples.etcd.build --push 127.0.0.1:5000/etcd      # build and push every tag

Three layers: a small Debian that all tags share, etcd's two programs, and what makes a tag. ``1`` and ``2`` carry
``/exports`` (the files in ``exports/`` beside this one) and differ in nothing else than their version; ``plain`` has
no ``/exports``, as an image not made for syscontainers. Nothing is installed on this machine, and the same packages
give the same digests.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from examples.debian import Tree, add_accounts, add_usr_links, download_packages, unpack_packages
from examples.layout import Layout
from examples.locked import locked

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache"
BASE_PACKAGES = ("base-files", "busybox-static", "libc6")
ETCD_PACKAGES = ("etcd-client", "etcd-server")
TAGS = ("1", "2", "plain")
ETCD_USER = 2379
APPLETS = ("cat", "date", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls", "mount", "ps", "sh")
LIBRARIES = ("usr/bin/busybox", "usr/lib/x86_64-linux-gnu/", "usr/lib/aarch64-linux-gnu/", "usr/lib64/", "usr/lib/ld")


def make_base(packages: Sequence[Path]) -> Tree:
    """A Debian with a shell and the C library: enough for any program that needs no more."""
    tree = Tree()
    for directory in ("dev", "etc", "proc", "root", "run", "sys", "usr", "usr/bin", "var", "var/lib"):
        tree.make_directory(directory)
    tree.make_directory("tmp", 0o1777)
    add_usr_links(tree)
    unpack_packages(tree, packages, keep=(*LIBRARIES, "usr/lib/os-release", "etc/os-release", "etc/debian_version"))
    for applet in APPLETS:
        tree.link(f"usr/bin/{applet}", "busybox")
    add_accounts(tree, {"etcd": ETCD_USER})
    return tree


def make_etcd(packages: Sequence[Path]) -> Tree:
    """The programs etcd and etcdctl, and where etcd keeps its data."""
    tree = Tree()
    unpack_packages(tree, packages, keep=("usr/bin/",))
    tree.make_directory("var/lib/etcd", 0o700)
    tree.own("var/lib/etcd", ETCD_USER, ETCD_USER)
    return tree


def make_version(tag: str) -> Tree:
    """What tells the tags apart: a version, and how syscontainers is to run it."""
    tree = Tree()
    tree.write("etc/etcd-image", f"version {tag}\n")
    if tag != "plain":
        tree.make_directory("exports")
        for file in sorted((HERE / "exports").iterdir()):
            tree.write(f"exports/{file.name}", file.read_bytes())
    return tree


def image_config(tag: str) -> dict[str, Any]:
    """What every other container engine goes by."""
    return {
        "Entrypoint": ["/usr/bin/etcd"],
        "Cmd": ["--name=default"],
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "ETCD_DATA_DIR=/var/lib/etcd", "ETCDCTL_API=3"],
        "User": "etcd",
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
        "Volumes": {"/var/lib/etcd": {}},
        "ExposedPorts": {"2379/tcp": {}, "2380/tcp": {}},
        "Labels": {"org.opencontainers.image.title": "etcd", "org.opencontainers.image.version": tag},
    }


def _fingerprint(files: Iterable[Path]) -> str:
    """Changes when any of ``files`` does; packages, which never change under one name, go by name."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() if path.suffix == ".deb" else path.read_bytes())
    return digest.hexdigest()[:16]


def build_layout(cache: Path = CACHE) -> Path:
    """The OCI layout with every tag, built unless ``cache`` has it for these very packages and files."""
    base = download_packages(BASE_PACKAGES, cache / "debs")
    etcd = download_packages(ETCD_PACKAGES, cache / "debs")
    sources = [*HERE.glob("*.py"), *HERE.parent.glob("*.py"), *(HERE / "exports").iterdir()]
    directory = cache / "etcd" / _fingerprint([*base, *etcd, *sources])
    with locked(cache / "etcd.lock"):
        if not directory.exists():
            # One that is killed must not be taken for a whole one.
            building = directory.with_suffix(".new")
            shutil.rmtree(building, ignore_errors=True)
            _build(Layout(building), make_base(base), make_etcd(etcd))
            building.rename(directory)
    return directory


def _build(layout: Layout, base: Tree, etcd: Tree) -> None:
    shared = [layout.add_layer(base.tar()), layout.add_layer(etcd.tar())]
    command = ["dpkg", "--print-architecture"]
    architecture = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    for tag in TAGS:
        own = layout.add_layer(make_version(tag).tar())
        layout.add_image(tag, [*shared, own], architecture, image_config(tag))
    layout.write_index()


def push_command(layout: Path, tag: str, repository: str) -> list[str]:
    """The command that copies one tag to ``repository`` on a registry without TLS, as on this machine's loopback."""
    target = f"docker://{repository}:{tag}"
    return ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{tag}", target]


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and push if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--push", metavar="REPOSITORY", help="where to push the tags, such as 127.0.0.1:5000/etcd")
    asked = parser.parse_args(arguments)
    layout = build_layout()
    print(layout)
    for tag in TAGS if asked.push else ():
        subprocess.run(push_command(layout, tag, asked.push), check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
