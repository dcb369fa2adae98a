"""Layers and images made by hand, and podman as the judge of what the store does with them."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastcrc

from syscontainers.storage.images import Image, NewImage
from syscontainers.storage.staged import StagedLayer
from syscontainers.storage.store import Store

BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class Item:
    """One member of a layer's tar; a name that ends in ``/`` is a directory."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_600_000_000
    link: str = ""


def make_tar(items: Sequence[Item]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            info = tarfile.TarInfo(item.name.rstrip("/"))
            info.mode, info.uid, info.gid, info.mtime = item.mode, item.uid, item.gid, item.mtime
            info.size = len(item.data)
            if item.name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif item.link:
                info.type, info.linkname = tarfile.SYMTYPE, item.link
            archive.addfile(info, io.BytesIO(item.data))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_tar_split(tar: bytes) -> bytes:
    """Written independently of the code under test, from what podman writes."""
    entries: list[dict[str, Any]] = []
    at = 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            entries.append({"type": 2, "payload": base64.b64encode(tar[at : member.offset_data]).decode()})
            size = member.size if member.isreg() else 0
            data = tar[member.offset_data : member.offset_data + size]
            crc = base64.b64encode(fastcrc.crc64.go_iso(data).to_bytes(8, "big")).decode() if size else None
            name = member.name + ("/" if member.isdir() else "")
            entries.append({"type": 1, "name": name, **({"size": size} if size else {}), "payload": crc})
            at = member.offset_data + size
    entries.append({"type": 2, "payload": base64.b64encode(tar[at:]).decode()})
    lines = (json.dumps({**entry, "position": number}) for number, entry in enumerate(entries))
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1)


def make_staged(directory: Path, items: Sequence[Item], implied: Sequence[bytes] = ()) -> StagedLayer:
    """A staged layer of ``items`` in the new ``directory``, as the unpacker would leave it."""
    tar = make_tar(items)
    diff = directory / "diff"
    diff.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        archive.extractall(diff, [m for m in archive if not is_whiteout(m.name)])
    for item in items:
        if item.link:  # tarfile leaves the times of links alone
            os.utime(diff / item.name, (item.mtime, item.mtime), follow_symlinks=False)
        if is_whiteout(item.name):
            path = diff / item.name.replace(".wh.", "")
            path.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(path, 0o020000, os.makedev(0, 0))
    (directory / "tar-split.gz").write_bytes(make_tar_split(tar))
    blob = compressed(tar)
    named = {item.name.rstrip("/").encode() for item in items}
    owners = [item for item in items if not is_whiteout(item.name)]
    return StagedLayer(
        directory=directory,
        diff_id=sha256(tar),
        diff_size=len(tar),
        digest=sha256(blob),
        size=len(blob),
        compression=2,
        uids=tuple(sorted({item.uid for item in owners})),
        gids=tuple(sorted({item.gid for item in owners})),
        implied=tuple(path for path in implied if path not in named and is_directory(diff / os.fsdecode(path))),
    )


def is_directory(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def is_whiteout(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".wh.")


def compressed(tar: bytes) -> bytes:
    return gzip.compress(tar, 1, mtime=0)


def make_image(layers: Sequence[StagedLayer], names: Sequence[str], **config: Any) -> NewImage:
    """Manifest and config over ``layers``."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-06T07:08:09.123456789Z",
        "config": {"Cmd": ["/bin/sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
    }
    text = json.dumps(document).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", sha256(text), len(text)),
        "layers": [
            descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer.digest, layer.size) for layer in layers
        ],
    }
    raw = json.dumps(manifest).encode()
    return NewImage(raw, sha256(raw), text, tuple(names), created=str(document["created"]))


def descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def base_items() -> list[Item]:
    return [
        Item("bin/", mode=0o755),
        Item("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        Item("bin/sh", link="busybox"),
        Item("etc/", mode=0o750, uid=5, gid=6, mtime=1_500_000_000),
        Item("etc/motd", b"base\n"),
        Item("etc/old", b"old\n", uid=7),
    ]


def top_items(text: bytes = b"top\n") -> list[Item]:
    return [Item("etc/motd", text, uid=8, gid=9), Item("etc/.wh.old")]


def add_image(
    store: Store, name: str, *contents: Sequence[Item], implied: Sequence[bytes] = (), **config: Any
) -> Image:
    """Stage and commit an image; layers that are there are re-used by the commit."""
    with store.staging_directory() as staging:
        layers = [make_staged(staging.path / str(n), items, implied if n else ()) for n, items in enumerate(contents)]
        return store.commit_image(make_image(layers, [name], **config), layers, staging)


@dataclass(frozen=True)
class Podman:
    """A podman whose primary store is ``root``."""

    root: Path
    runroot: Path
    additional: tuple[Path, ...] = field(default=())

    def __call__(self, *words: str | Path, check: bool = True) -> str:
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, check=False, timeout=300)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def argv(self, *words: str | Path) -> list[str | Path]:
        options = [f"additionalimagestore={path}" for path in self.additional]
        return [
            *("podman", "--root", self.root, "--runroot", self.runroot, "--storage-driver", "overlay"),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"),
            *(word for option in options for word in ("--storage-opt", option)),
            *words,
        ]

    def json(self, *words: str | Path) -> Any:
        return json.loads(self(*words))


@contextlib.contextmanager
def podman_on(root: Path, *additional: Path) -> Iterator[Podman]:
    """podman with ``root`` as its primary store; unmounts on exit what it left mounted."""
    # podman refuses longer names of the run root than 50 characters.
    with tempfile.TemporaryDirectory(prefix="run-", dir="/run") as runroot:
        podman = Podman(root, Path(runroot), additional)
        try:
            yield podman
        finally:
            podman("umount", "--all", check=False)
            # The driver mounts the home of each store that it opens for writing on itself.
            for home in (root, *additional):
                subprocess.run(["umount", home / "overlay"], capture_output=True, check=False)


def read_split(path: Path) -> list[tuple[str, bytes]]:
    """The entries of a tar-split; how the bytes between two files are cut is a matter of taste."""
    entries: list[tuple[str, bytes]] = []
    with gzip.open(path) as lines:
        for entry in map(json.loads, lines):
            payload = base64.b64decode(entry["payload"] or "")
            if entry["type"] == 2 and entries and not entries[-1][0]:
                entries[-1] = ("", entries[-1][1] + payload)
            else:
                entries.append((entry.get("name", ""), payload))
    return entries


def tree_of(root: Path) -> Iterator[tuple[str, int, int, int, int, bytes]]:
    """Everything that must be equal in two copies of a tree."""
    for directory, names, others in os.walk(root):
        for name in (*names, *others):
            path = Path(directory, name)
            status = path.lstat()
            content = os.fsencode(os.readlink(path)) if path.is_symlink() else b""
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
            # No archive tells the time of a whiteout.
            time = 0 if stat.S_ISCHR(status.st_mode) else status.st_mtime_ns
            yield str(path.relative_to(root)), status.st_mode, status.st_uid, status.st_gid, time, content
