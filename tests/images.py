"""Images for tests, built from dictionaries: layers, manifests, indexes; pushed to a registry or written as files.

image = build_image([layer({"etc/hello": "world\n"}), layer({"bin/sh": Script("…")}, compression="zstd")])
push(image, "127.0.0.1:5000", "group/name", "1.0")
write_oci_layout(path, {"1.0": image})
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

if TYPE_CHECKING:
    import http.client

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

_OCI_SUFFIX = {"plain": "", "gzip": "+gzip", "zstd": "+zstd"}
_DOCKER_SUFFIX = {"plain": "", "gzip": ".gzip", "zstd": ".zstd"}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Entry:
    """One member of a layer: a file, unless ``kind`` is a tarfile type such as tarfile.SYMTYPE."""

    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mtime: float = 1_700_000_000
    xattrs: Mapping[str, str] = field(default_factory=dict)
    device: tuple[int, int] = (0, 0)


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(mode=mode, uid=uid, gid=gid, kind=tarfile.DIRTYPE)


def symlink(target: str) -> Entry:
    return Entry(mode=0o777, kind=tarfile.SYMTYPE, link=target)


def hardlink(target: str) -> Entry:
    return Entry(kind=tarfile.LNKTYPE, link=target)


def program(data: bytes | str) -> Entry:
    return Entry(data.encode() if isinstance(data, str) else data, mode=0o755)


def program_from(path: str | Path) -> Entry:
    """A program of this machine, such as /bin/busybox (package busybox-static)."""
    return Entry(Path(path).read_bytes(), mode=0o755)


Tree = Mapping[str, "Entry | str | bytes"]


def make_tar(tree: Tree, *, parents: bool = True) -> bytes:
    """A pax tar of ``tree`` in the order given; ``parents`` adds entries for directories that have none."""
    buffer = io.BytesIO()
    named = {name.rstrip("/") for name in tree}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, value in tree.items():
            if parents:
                for parent in _parents(name):
                    if parent not in named:
                        named.add(parent)
                        _add(tar, parent, directory())
            _add(tar, name, _entry(value))
    return buffer.getvalue()


def _parents(name: str) -> list[str]:
    parts = name.strip("/").split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _entry(value: Entry | str | bytes) -> Entry:
    if isinstance(value, Entry):
        return value
    return Entry(value.encode() if isinstance(value, str) else value)


def _add(tar: tarfile.TarFile, name: str, entry: Entry) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = entry.kind, entry.mode, entry.uid, entry.gid
    info.mtime, info.linkname, info.size = entry.mtime, entry.link, len(entry.data)
    info.devmajor, info.devminor = entry.device
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs.items()}
    tar.addfile(info, io.BytesIO(entry.data))


def tar_of_directory(path: Path) -> bytes:
    """A tar of a real tree with its owners and modes, names relative to it, in sorted order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for found in sorted(path.rglob("*")):
            if not stat.S_ISSOCK(found.lstat().st_mode):
                tar.add(found, str(found.relative_to(path)), recursive=False)
    return buffer.getvalue()


@dataclass(frozen=True)
class Layer:
    """A layer blob; ``blob`` is what is stored and ``tar`` what it contains."""

    tar: bytes
    blob: bytes
    compression: str

    @property
    def diff_id(self) -> str:
        return digest_of(self.tar)

    @property
    def digest(self) -> str:
        return digest_of(self.blob)


def layer(content: Tree | bytes, compression: str = "gzip") -> Layer:
    """A layer from a tree or from a finished tar; compressed ``gzip``, ``zstd`` or ``plain``."""
    tar = content if isinstance(content, bytes) else make_tar(content)
    return Layer(tar, _compress(tar, compression), compression)


def _compress(tar: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(tar, compresslevel=6, mtime=0)
    if compression == "zstd":
        return zstandard.compress(tar)
    return tar


@dataclass(frozen=True)
class Image:
    """A manifest or index with everything below it. ``blobs`` are its config and layers."""

    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    children: tuple[Image, ...] = ()
    config: bytes = b""
    layers: tuple[Layer, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def image_id(self) -> str:
        """As in containers/storage: the hex digest of the config."""
        return hashlib.sha256(self.config).hexdigest()

    def descriptor(self, **more: object) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), **more}

    def all_blobs(self) -> dict[str, bytes]:
        found = dict(self.blobs)
        for child in self.children:
            found.update(child.all_blobs())
        return found

    def all_manifests(self) -> list[Image]:
        """Children before parents, the order in which they must be pushed."""
        return [found for child in self.children for found in child.all_manifests()] + [self]


def make_config(
    layers: Sequence[Layer], run: Mapping[str, object] | None = None, architecture: str = "amd64", **more: object
) -> bytes:
    """An image config; ``run`` is its ``config`` object (Entrypoint, Cmd, Env …)."""
    return to_json(
        {
            "created": "2026-01-02T03:04:05.678Z",
            "architecture": architecture,
            "os": "linux",
            "config": dict(run or {}),
            "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
            "history": [{"created": "2026-01-02T03:04:05Z", "created_by": f"layer {n}"} for n, _ in enumerate(layers)],
            **more,
        }
    )


def build_image(
    layers: Sequence[Layer],
    run: Mapping[str, object] | None = None,
    *,
    docker: bool = False,
    architecture: str = "amd64",
    config: bytes | None = None,
    change: Mapping[str, object] | None = None,
) -> Image:
    """One manifest with its config and layers. ``change`` overrides top-level keys of the manifest."""
    config = make_config(layers, run, architecture) if config is None else config
    suffixes, base = (_DOCKER_SUFFIX, DOCKER_LAYER) if docker else (_OCI_SUFFIX, OCI_LAYER)
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": {
            "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
            "digest": digest_of(config),
            "size": len(config),
        },
        "layers": [
            {"mediaType": base + suffixes[each.compression], "digest": each.digest, "size": len(each.blob)}
            for each in layers
        ],
        **(change or {}),
    }
    blobs = {digest_of(config): config, **{each.digest: each.blob for each in layers}}
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    return Image(to_json(manifest), media_type, blobs, (), config, tuple(layers))


def build_index(images: Mapping[str, Image] | Iterable[tuple[str, Image]], *, docker: bool = False) -> Image:
    """An index of images by platform: ``{"linux/amd64": a, "linux/arm/v7": b}``; an empty platform is left out."""
    pairs = list(images.items() if isinstance(images, Mapping) else images)
    media_type = DOCKER_LIST if docker else OCI_INDEX
    entries = [image.descriptor(**_platform(platform)) for platform, image in pairs]
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return Image(to_json(document), media_type, children=tuple(image for _, image in pairs))


def _platform(text: str) -> dict[str, object]:
    if not text:
        return {}
    return {"platform": dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))}


def push(image: Image, registry: str, repository: str, tag: str) -> str:
    """Push over plain http to ``host:port``; returns ``registry/repository:tag``."""
    import http.client  # a third of what this module costs, and the commands of fault campaigns do not push

    connection = http.client.HTTPConnection(registry, timeout=60)
    for digest, blob in image.all_blobs().items():
        _push_blob(connection, repository, digest, blob)
    for each in image.all_manifests():
        name = tag if each is image else each.digest
        _request(connection, "PUT", f"/v2/{repository}/manifests/{name}", each.manifest, each.media_type, 201)
    connection.close()
    return f"{registry}/{repository}:{tag}"


def _push_blob(connection: http.client.HTTPConnection, repository: str, digest: str, blob: bytes) -> None:
    if _request(connection, "HEAD", f"/v2/{repository}/blobs/{digest}", None, "", 200, 404).status == 200:
        return
    started = _request(connection, "POST", f"/v2/{repository}/blobs/uploads/", b"", "", 202)
    location = started.headers["Location"]
    separator = "&" if "?" in location else "?"
    target = f"{location}{separator}digest={digest}"
    _request(connection, "PUT", target, blob, "application/octet-stream", 201)


def _request(
    connection: http.client.HTTPConnection, method: str, url: str, body: bytes | None, media_type: str, *expected: int
) -> http.client.HTTPResponse:
    connection.request(method, url, body, {"Content-Type": media_type} if media_type else {})
    response = connection.getresponse()
    said = response.read()
    assert response.status in expected, f"{method} {url}: {response.status} {said[:300]!r}"
    return response


def layout_files(images: Mapping[str, Image]) -> dict[str, bytes]:
    """The files of an OCI layout with these images by name (``org.opencontainers.image.ref.name``; "" for none)."""
    files: dict[str, bytes] = {"oci-layout": to_json({"imageLayoutVersion": "1.0.0"})}
    entries = []
    for name, image in images.items():
        annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        entries.append(image.descriptor(**annotations))
        blobs = {**image.all_blobs(), **{each.digest: each.manifest for each in image.all_manifests()}}
        files.update({f"blobs/sha256/{digest.removeprefix('sha256:')}": blob for digest, blob in blobs.items()})
    files["index.json"] = to_json({"schemaVersion": 2, "manifests": entries})
    return files


def write_oci_layout(path: Path, images: Mapping[str, Image]) -> None:
    for name, data in layout_files(images).items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def write_oci_archive(path: Path, images: Mapping[str, Image]) -> None:
    path.write_bytes(make_tar(layout_files(images), parents=False))


def write_directory(path: Path, image: Image) -> None:
    """The ``dir:`` transport of containers-transports(5)."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "version").write_text("Directory Transport Version: 1.1\n")
    (path / "manifest.json").write_bytes(image.manifest)
    for digest, blob in image.blobs.items():
        (path / digest.removeprefix("sha256:")).write_bytes(blob)


def docker_archive_files(image: Image, tags: Sequence[str]) -> dict[str, Entry | str | bytes]:
    """What ``docker save`` wrote before version 25: uncompressed layers, a Docker-made manifest.json."""
    names = [f"{each.diff_id.removeprefix('sha256:')}/layer.tar" for each in image.layers]
    config = f"{image.image_id}.json"
    files: dict[str, Entry | str | bytes] = dict(zip(names, (each.tar for each in image.layers), strict=True))
    files[config] = image.config
    files["manifest.json"] = to_json([{"Config": config, "RepoTags": list(tags), "Layers": names}])
    return files


def write_docker_archive(path: Path, image: Image, tags: Sequence[str]) -> None:
    path.write_bytes(make_tar(docker_archive_files(image, tags), parents=False))
