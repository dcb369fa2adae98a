from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from syscontainers.errors import DigestError, NotFoundError, RefusedError, SyscontainersError, UsageError
from syscontainers.images.containers_storage import ContainersStorageSource
from syscontainers.images.documents import DOCKER_MANIFEST, Manifest, Platform
from syscontainers.images.pull import Resolved, resolve
from syscontainers.images.reference import Reference
from syscontainers.images.sources import fetch_blob
from syscontainers.images.transfers import Transfers
from syscontainers.images.transports import open_source
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from tests.archive import GNU, file, header, pax
from tests.images import (
    Entry,
    Image,
    build_image,
    build_index,
    docker_archive_files,
    hardlink,
    layer,
    layout_files,
    make_tar,
    symlink,
    to_json,
    write_directory,
    write_docker_archive,
    write_oci_archive,
    write_oci_layout,
)

AMD64 = Platform("linux", "amd64")
IMAGE = build_image([layer({"a": "b"}), layer({"c": "d" * 600_000}, "plain"), layer({"e": "f"}, "zstd")])
OTHER = build_image([layer({"other": "image"})])


def read(text: str) -> tuple[Resolved, list[bytes], str]:
    """Everything there is to read behind a reference: documents, config and layers, name."""
    reference = Reference.parse(text)
    with open_source(reference, Settings(storage=Path("/var/tmp/storage")), Transfers()) as source:
        found = resolve(source, AMD64, text)
        blobs = [fetch_blob(source, each, "blob") for each in (found.manifest.config, *found.manifest.layers)]
        return found, blobs, source.stored_name()


def content(image: Image) -> list[bytes]:
    return [image.config, *(each.blob for each in image.layers)]


@pytest.mark.parametrize(("transport", "write"), [("oci", write_oci_layout), ("oci-archive", write_oci_archive)])
def test_layouts(tmp_path: Path, transport: str, write: Callable[[Path, dict[str, Image]], None]) -> None:
    path = tmp_path / "etcd"
    index = build_index({"linux/arm64": OTHER, "linux/amd64": IMAGE})
    write(path, {"3.5": index, "quay.io/x/other:1": OTHER})
    found, blobs, name = read(f"{transport}:{path}:3.5")
    assert found.manifest.raw.digest == IMAGE.digest
    assert found.indexes == {index.digest: index.manifest}
    assert blobs == content(IMAGE)
    assert name == "localhost/etcd:3.5"
    assert read(f"{transport}:{path}:quay.io/x/other:1")[1:] == (content(OTHER), "quay.io/x/other:1")
    assert read(f"{transport}:{path}:@1")[1:] == (content(OTHER), "quay.io/x/other:1")
    with pytest.raises(UsageError, match="holds 2 images") as caught:
        read(f"{transport}:{path}")
    assert "3.5, quay.io/x/other:1" in caught.value.hint
    for missing in ("4", "@2"):
        with pytest.raises(NotFoundError):
            read(f"{transport}:{path}:{missing}")


def test_the_only_image_needs_no_name(tmp_path: Path) -> None:
    write_oci_layout(tmp_path / "x", {"": IMAGE})
    assert read(f"oci:{tmp_path}/x")[2] == "localhost/x:latest"


def test_directory(tmp_path: Path) -> None:
    write_directory(tmp_path / "x", IMAGE)
    found, blobs, name = read(f"dir:{tmp_path}/x")
    assert (found.manifest.raw.data, blobs, name) == (IMAGE.manifest, content(IMAGE), "localhost/x:latest")


def test_docker_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_docker_archive(path, IMAGE, ["r.example/x:1", "etcd:3"])
    found, blobs, name = read(f"docker-archive:{path}")
    assert blobs == [IMAGE.config, *(each.tar for each in IMAGE.layers)]
    assert found.manifest.raw.media_type == DOCKER_MANIFEST
    assert [each.digest for each in found.manifest.layers] == [each.diff_id for each in IMAGE.layers]
    assert name == "r.example/x:1"
    assert read(f"docker-archive:{path}:etcd:3")[0] == found
    with pytest.raises(NotFoundError):
        read(f"docker-archive:{path}:etcd:4")


def test_docker_archive_with_links_and_compressed_layers(tmp_path: Path) -> None:
    # Old Docker linked equal layers to each other; other tools compress them.
    same = layer({"a": "b"})
    image = build_image([same, same, same, OTHER.layers[0]])
    files = docker_archive_files(image, [])
    names = ["one/layer.tar", "two/layer.tar", "three/layer.tar", "four/layer.tar"]
    packed = gzip.compress(OTHER.layers[0].tar)
    files |= {names[0]: same.tar, names[1]: symlink("../one/layer.tar"), names[2]: hardlink(names[1]), names[3]: packed}
    files["manifest.json"] = to_json([{"Config": f"{image.image_id}.json", "RepoTags": None, "Layers": names}])
    path = tmp_path / "my image.tar"
    path.write_bytes(make_tar(files, parents=False))
    _, blobs, name = read(f"docker-archive:{path}")
    assert blobs == [image.config, same.tar, same.tar, same.tar, packed]
    assert name == "localhost/my-image:latest"


def test_docker_archive_of_docker_25_is_a_layout_too(tmp_path: Path) -> None:
    files: dict[str, Entry | str | bytes] = {**layout_files({"1": IMAGE})}
    names = [f"blobs/sha256/{each.digest[7:]}" for each in IMAGE.layers]
    config = f"blobs/sha256/{IMAGE.image_id}"
    files["manifest.json"] = to_json([{"Config": config, "RepoTags": ["r.example/x:1"], "Layers": names}])
    (tmp_path / "x.tar").write_bytes(make_tar(files, parents=False))
    assert read(f"oci-archive:{tmp_path}/x.tar")[1] == content(IMAGE)
    assert read(f"docker-archive:{tmp_path}/x.tar")[1] == content(IMAGE)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lzma.compress, bz2.compress])
def test_compressed_archives(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    write_docker_archive(tmp_path / "x.tar", IMAGE, ["r.example/x:1"])
    (tmp_path / "packed").write_bytes(pack((tmp_path / "x.tar").read_bytes()))
    assert read(f"docker-archive:{tmp_path}/packed")[1] == read(f"docker-archive:{tmp_path}/x.tar")[1]


def test_a_bomb(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(80 << 20), 9)
    (tmp_path / "x").write_bytes(gzip.compress(bomb, 9))
    with pytest.raises(SyscontainersError, match="no tar archive"):
        read(f"oci-archive:{tmp_path}/x")
    (tmp_path / "x").write_bytes(bomb)
    with pytest.raises(RefusedError, match="a decompression bomb"):
        read(f"oci-archive:{tmp_path}/x")


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_nothing_there(tmp_path: Path, transport: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        read(f"{transport}:{tmp_path}/absent")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("data", [b"", b"no tar" * 1000, gzip.compress(b"x", mtime=0)[:7], b"\0" * 2048])
def test_no_archive(tmp_path: Path, transport: str, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(SyscontainersError) as caught:
        read(f"{transport}:{tmp_path}/x")
    assert str(tmp_path) in caught.value.message


def test_a_fifo_does_not_hang_us(tmp_path: Path) -> None:
    write_oci_layout(tmp_path, {"1": IMAGE})
    (tmp_path / "index.json").unlink()
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(RefusedError, match="no regular file"):
        read(f"oci:{tmp_path}")


def test_a_blob_of_another_size(tmp_path: Path) -> None:
    write_oci_layout(tmp_path, {"1": IMAGE})
    blob = tmp_path / "blobs/sha256" / IMAGE.layers[0].digest[7:]
    blob.write_bytes(blob.read_bytes() + b"x")
    with pytest.raises(DigestError, match="bytes long"):
        read(f"oci:{tmp_path}")


def test_a_manifest_of_another_digest(tmp_path: Path) -> None:
    write_oci_layout(tmp_path, {"1": IMAGE})
    blob = tmp_path / "blobs/sha256" / IMAGE.digest[7:]
    blob.write_bytes(blob.read_bytes().replace(b"2", b"3", 1))
    with pytest.raises(DigestError, match="has the digest"):
        read(f"oci:{tmp_path}")


@pytest.mark.parametrize("name", ["../../../../etc/hostname", "/etc/hostname", "outside"])
def test_no_name_in_an_archive_becomes_a_path(tmp_path: Path, name: str) -> None:
    # CVE-2019-14271's family: a config or layer that lies elsewhere on the host
    files = docker_archive_files(IMAGE, [])
    files["outside"] = symlink("/etc/hostname")
    files["manifest.json"] = to_json([{"Config": name, "RepoTags": [], "Layers": []}])
    (tmp_path / "x.tar").write_bytes(make_tar(files, parents=False))
    with pytest.raises(RefusedError, match="leads out of the archive"):
        read(f"docker-archive:{tmp_path}/x.tar")


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (header(b"x", b"x", size=(1 << 20) + 1), "an extended header of"),
        (header(b"x", b"g", size=1 << 32), "an extended header of"),
        (header(b"x", b"L", size=1 << 32, magic=GNU), "an extended header of"),
        (header(b"x", b"S", size=1 << 32, magic=GNU), "a sparse file"),
        (pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}) + file(b"x", b"9\n" * 600), "a sparse file"),
    ],
)
def test_headers_that_would_fill_the_memory(tmp_path: Path, member: bytes, reason: str) -> None:
    first = file(b"oci-layout", b"{}")
    (tmp_path / "x.tar").write_bytes(first + member + bytes(4 << 20))
    with pytest.raises(RefusedError, match=reason):
        read(f"oci-archive:{tmp_path}/x.tar")


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_extended_headers_without_end(tmp_path: Path, kind: bytes) -> None:
    """The library that reads the table calls itself for each."""
    (tmp_path / "x.tar").write_bytes(pax({b"comment": b"x"}, kind) * 2000 + file(b"manifest.json", b"[]"))
    with pytest.raises(RefusedError, match="extended headers in a row"):
        read(f"docker-archive:{tmp_path}/x.tar")


def test_links_in_a_circle(tmp_path: Path) -> None:
    files = {"manifest.json": symlink("a"), "a": symlink("b"), "b": symlink("a")}
    (tmp_path / "x.tar").write_bytes(make_tar(files))
    with pytest.raises(NotFoundError):
        read(f"docker-archive:{tmp_path}/x.tar")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("manifest.json"))
    with pytest.raises(RefusedError, match="two members"):
        read(f"docker-archive:{tmp_path}/x.tar")


def test_layers_and_config_must_agree(tmp_path: Path) -> None:
    files = docker_archive_files(IMAGE, [])
    document = json.loads(bytes(files["manifest.json"]))  # type: ignore[arg-type]
    document[0]["Layers"].pop()
    files["manifest.json"] = to_json(document)
    (tmp_path / "x.tar").write_bytes(make_tar(files, parents=False))
    with pytest.raises(RefusedError, match="Layers are 2, but the config has 3"):
        read(f"docker-archive:{tmp_path}/x.tar")


def test_indexes_within_indexes(tmp_path: Path) -> None:
    nested = IMAGE
    for depth in range(1, 6):
        nested = build_index({"": nested})
        write_oci_layout(tmp_path / str(depth), {"1": nested})
    found = read(f"oci:{tmp_path}/4")[0]
    assert isinstance(found.manifest, Manifest)
    assert len(found.indexes) == 4
    with pytest.raises(RefusedError, match="indexes within each other"):
        read(f"oci:{tmp_path}/5")


def test_an_entry_that_is_something_else_than_promised(tmp_path: Path) -> None:
    # CVE-2021-41190 again: the index says manifest, the blob says index
    inner = build_index({"linux/amd64": IMAGE})
    lying = Image(inner.manifest, IMAGE.media_type, children=inner.children)
    write_oci_layout(tmp_path, {"1": build_index({"linux/amd64": lying})})
    with pytest.raises(RefusedError, match="mediaType"):
        read(f"oci:{tmp_path}")


def test_an_image_that_no_store_has(tmp_path: Path) -> None:
    (tmp_path / "etc/containers").mkdir(parents=True)
    (tmp_path / "etc/containers/storage.conf").write_text(f'[storage]\ngraphroot = "{tmp_path}/store"\n')
    reference = Reference.parse("containers-storage:localhost/x")
    with pytest.raises(NotFoundError, match=f"containers-storage:localhost/x:latest: not in {tmp_path}/store"):
        ContainersStorageSource(reference, Settings(host=tmp_path), Progress(quiet=True))
